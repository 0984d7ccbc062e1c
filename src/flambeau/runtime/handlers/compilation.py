"""``pt2`` of a model's YAML: which compiler, with which options."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from enum import Enum
from typing import Any

logger = logging.getLogger(__name__)

DEFAULT_BACKEND = "inductor"


class PT2Backend(str, Enum):
    """The compilers that ``torch.compile`` may be asked for."""

    EAGER = "eager"
    AOT_EAGER = "aot_eager"
    INDUCTOR = "inductor"
    NVFUSER = "nvfuser"
    AOT_NVFUSER = "aot_nvfuser"
    AOT_CUDAGRAPHS = "aot_cudagraphs"
    OFI = "ofi"
    FX2TRT = "fx2trt"
    ONNXRT = "onnxrt"
    IPEX = "ipex"
    TORCHXLA_TRACE_ONCE = "torchxla_trace_once"
    OPENVINO = "openvino"
    TENSORRT = "tensorrt"
    HPU_BACKEND = "hpu_backend"


def check_valid_pt2_backend(backend: object) -> bool:
    """Whether ``torch.compile`` may be asked for a backend of this name; an unknown one is logged as a warning."""
    if any(backend == known.value for known in PT2Backend):
        return True
    logger.warning("%s is not a supported backend of torch.compile", backend)
    return False


def compile_options(pt2: object) -> dict[str, Any] | None:
    """The keyword arguments for ``torch.compile``; None if nothing is to be compiled.

    Args:
        pt2: a backend's name; ``{compile: {enable: bool, ...}}``; or (deprecated) the arguments themselves.

    Raises:
        ValueError: it is neither a text nor a mapping.
    """
    if not pt2:
        return None
    if isinstance(pt2, str):
        options: dict[str, Any] = {"backend": pt2}
    elif not isinstance(pt2, Mapping):
        raise ValueError("pt2 should be str or dict")
    elif "compile" in pt2:
        options = dict(pt2["compile"] or {})
        if not options.pop("enable", False):
            return None
    elif "export" in pt2:
        return None
    else:
        options = dict(pt2)
    options.setdefault("backend", DEFAULT_BACKEND)
    return options if check_valid_pt2_backend(options["backend"]) else None


def wants_aot_export(pt2: object) -> bool:
    """Whether the serialized file is what ``torch.export`` compiled ahead of time (``export: {aot_compile: true}``)."""
    return isinstance(pt2, Mapping) and bool((pt2.get("export") or {}).get("aot_compile"))
