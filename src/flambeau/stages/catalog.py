"""The stages that there are, by name; each is imported when it is first asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flambeau.stages.stage import Stage

MODULES = {
    "DecodeImage": "decode",
    "Resize": "resize",
    "CenterCrop": "crop",
    "Crop": "crop",
    "Normalize": "normalize",
    "ToTensor": "tensors",
    "Tokenize": "tokenize",
    "TopK": "topk",
    "NMS": "nms",
}
"""By class: its module."""

TORCHPIPE_NAMES = ("DecodeMat", "ResizeMat", "PillowResizeMat", "PillowResizeTensor", "CropMat", "CropTensor")
"""Backends of torchpipe's that mean the same as one of these stages."""

PREFIX = "stages."


def names() -> list[str]:
    """The classes that there are, torchpipe's names aside."""
    return list(MODULES)


def find(name: str) -> type[Stage]:
    """The class of a name.

    Args:
        name: as pipeline files write it: the class, with or without ``stages.`` in front (``DecodeImage``,
            ``stages.DecodeImage``), the same in small letters (``decode_image``), or torchpipe's name (``DecodeMat``).

    Raises:
        KeyError: there is no such stage; its argument says which there are.
    """
    found = _BY_PLAIN_NAME.get(_plain(name.removeprefix(PREFIX)))
    if found is None:
        raise KeyError(f"there is no stage {name!r}; there are {', '.join(names())}")
    module = importlib.import_module(f"flambeau.stages.{MODULES.get(found, 'torchpipe')}")
    stage: type[Stage] = getattr(module, found)
    return stage


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


_BY_PLAIN_NAME = {_plain(name): name for name in (*MODULES, *TORCHPIPE_NAMES)}
