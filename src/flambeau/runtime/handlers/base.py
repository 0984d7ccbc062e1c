"""The handler that others are made from: loads a PyTorch model and runs preprocess, inference, postprocess."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from flambeau.errors import InvalidModel
from flambeau.runtime.handlers import profiling
from flambeau.runtime.handlers.compilation import compile_options, wants_aot_export
from flambeau.runtime.handlers.explanations import not_explainable
from flambeau.runtime.handlers.labels import load_label_mapping
from flambeau.runtime.handlers.model_files import load_eager, load_onnx, load_torchscript
from flambeau.runtime.handlers.timer import timed

logger = logging.getLogger(__name__)

if torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0):
    torch.set_float32_matmul_precision("high")


class BaseHandler:
    """Loads what the archive holds and answers batches with it. Override any stage.

    Attributes are public, as subclasses written for TorchServe read and set them.
    """

    def __init__(self) -> None:
        self.model: Any = None
        self.mapping: dict[str, str] | None = None
        self.device: Any = None
        self.initialized = False
        self.context: Any = None
        self.model_pt_path: str | None = None
        self.manifest: dict[str, Any] | None = None
        self.map_location: str | None = None
        self.explain = False
        self.target = 0
        self.profiler_args: dict[str, Any] = {}
        self.model_yaml_config: dict[str, Any] = {}

    def initialize(self, context: Any) -> None:
        """Choose the device, load the model on it, compile it if the YAML says so, read the class names.

        Raises:
            InvalidModel, RuntimeError, ValueError: the archive has no model that can be loaded; says why.
        """
        properties = context.system_properties
        model_dir = properties.get("model_dir")
        self.context = context
        self.model_yaml_config = context.model_yaml_config or {}
        self.manifest = context.manifest
        self.device, self.map_location = _choose_device(properties.get("gpu_id"))
        described = (self.manifest or {}).get("model") or {}
        serialized_file = described.get("serializedFile")
        self.model_pt_path = os.path.join(model_dir, serialized_file) if serialized_file else None

        pt2 = self.model_yaml_config.get("pt2")
        self.model = self._load_model(model_dir, described.get("modelFile"))
        if isinstance(self.model, torch.nn.Module):
            self.model.eval()
        if options := compile_options(pt2):
            self._compile(options)
        elif _is_ipex_enabled():
            self._optimize_for_intel()
        self.mapping = load_label_mapping(os.path.join(model_dir, "index_to_name.json"))
        self.initialized = True

    @timed
    def preprocess(self, data: Sequence[Any]) -> Any:
        """Rows to what the model takes; by default one tensor on the device."""
        return torch.as_tensor(data, device=self.device)

    @timed
    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the model, without gradients."""
        with torch.inference_mode():
            return self.model(data.to(self.device), *args, **kwargs)

    @timed
    def postprocess(self, data: Any) -> list[Any]:
        """The model's output to one answer per row."""
        answers: list[Any] = data.tolist()
        return answers

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """Answer a batch.

        Returns:
            One answer per row; for a describe request what :meth:`describe_handle` says.
        """
        started_at = perf_counter()
        self.context = context
        if self._is_describe():
            answers = [self.describe_handle()]
        elif profiling.is_enabled():
            answers = self._infer_with_profiler(data)
        else:
            answers = self._run_stages(data)
        elapsed_ms = (perf_counter() - started_at) * 1000
        context.metrics.add_time("HandlerTime", round(elapsed_ms, 2), None, "ms")
        return answers

    def explain_handle(self, data_preprocess: Any, raw_data: list[Any]) -> Any:
        """Explain the first row with the subclass's ``get_insights(preprocessed, inputs, target)``.

        Raises:
            PredictionException: the subclass has none; the client gets 501.
        """
        row = raw_data[0]
        get_insights = getattr(self, "get_insights", None)
        if get_insights is None:
            raise not_explainable(type(self).__name__)
        if not isinstance(row, Mapping):  # a service envelope took the input out
            return get_insights(data_preprocess, row, 0)
        return get_insights(data_preprocess, row.get("data") or row.get("body"), row.get("target") or 0)

    def describe_handle(self) -> Any:
        """What the describe API shows as ``customizedMetadata``: a mapping, or None."""
        return None

    def get_device(self) -> Any:
        return self.device

    def _run_stages(self, data: list[Any]) -> list[Any]:
        if not self._is_explain():
            return self.postprocess(self.inference(self.preprocess(data)))
        if len(data) == 1:
            explanations: list[Any] = self.explain_handle(self.preprocess(data), data)
            return explanations
        return [explanation for row in data for explanation in self._run_stages([row])]  # each has a target of its own

    def _infer_with_profiler(self, data: list[dict[str, Any]]) -> list[Any]:
        model_name = str(((self.manifest or {}).get("model") or {}).get("modelName") or "model")
        return profiling.run_profiled(lambda: self._run_stages(data), model_name, self.profiler_args)

    def _is_explain(self) -> bool:
        self.explain = bool(self.context) and self.context.get_request_header(0, "explain") == "True"
        return self.explain

    def _is_describe(self) -> bool:
        return bool(self.context) and self.context.get_request_header(0, "describe") == "True"

    def _load_model(self, model_dir: str, model_file: str | None) -> Any:
        if model_file:
            return self._load_pickled_model(model_dir, model_file, self.model_pt_path).to(self.device)
        if self.model_pt_path is None:
            raise InvalidModel(
                "No model weights could be loaded: the archive has neither serialized file nor model file"
            )
        extension = Path(self.model_pt_path).suffix
        if extension == ".pt":
            return self._load_torchscript_model(self.model_pt_path)
        if extension == ".onnx":
            return load_onnx(self.model_pt_path)
        if extension == ".so" and self._use_torch_export_aot_compile():
            return self._load_torch_export_aot_compile(self.model_pt_path)
        raise InvalidModel(
            f"No model weights could be loaded: {Path(self.model_pt_path).name} is neither TorchScript (.pt) nor "
            "ONNX (.onnx), and there is no model file with its class (--model-file)"
        )

    def _load_torchscript_model(self, model_pt_path: str) -> Any:
        return load_torchscript(model_pt_path, self.device)

    def _load_pickled_model(self, model_dir: str, model_file: str, model_pt_path: str | None) -> Any:
        return load_eager(model_dir, model_file, model_pt_path, self.device)

    def _use_torch_export_aot_compile(self) -> bool:
        return wants_aot_export(self.model_yaml_config.get("pt2"))

    def _load_torch_export_aot_compile(self, model_so_path: str) -> Any:
        return torch._export.aot_load(model_so_path, torch.device(self.device).type)

    def _compile(self, options: Mapping[str, Any]) -> None:
        try:
            self.model = torch.compile(self.model, **options)
        except Exception as error:  # compilers raise what they like; the model runs without one
            logger.warning("not compiled with %s: %s", dict(options), error)
        else:
            logger.info("compiled with %s", dict(options))

    def _optimize_for_intel(self) -> None:
        import intel_extension_for_pytorch as ipex  # type: ignore[import-not-found]

        self.model = ipex.optimize(self.model.to(memory_format=torch.channels_last))


def _choose_device(gpu_id: int | None) -> tuple[Any, str | None]:
    """The device for a model and the ``map_location`` that goes with it."""
    if gpu_id is not None:
        if torch.cuda.is_available():
            return torch.device(f"cuda:{gpu_id}"), "cuda"
        if os.environ.get("TS_IPEX_GPU_ENABLE") == "true" and torch.xpu.is_available():
            return torch.device(f"xpu:{gpu_id}"), "xpu"
        if torch.backends.mps.is_available():
            return torch.device("mps"), "mps"
    if importlib.util.find_spec("torch_xla") is not None:
        from torch_xla.core import xla_model  # type: ignore[import-not-found]

        return xla_model.xla_device(), None
    return torch.device("cpu"), "cpu"


def _is_ipex_enabled() -> bool:
    return os.environ.get("TS_IPEX_ENABLE") == "true" and _has_ipex()


def _has_ipex() -> bool:
    if importlib.util.find_spec("intel_extension_for_pytorch") is not None:
        return True
    logger.warning("ipex_enable is set, but intel_extension_for_pytorch is not installed")
    return False
