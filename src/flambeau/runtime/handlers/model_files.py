"""A model's files to a model, by what they hold."""

from __future__ import annotations

import importlib
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from flambeau.errors import InvalidModel
from flambeau.runtime.entry_point import list_classes_from_module


def load_eager(model_dir: str | Path, model_file: str, weights: str | Path | None, device: Any) -> Any:
    """Instantiate the one class of a model file, with its weights if there are any.

    Args:
        model_file: a Python file in ``model_dir``, which is on ``sys.path``.
        weights: a state dict, in whatever form ``torch.load`` takes without unpickling code.
        device: where the weights are loaded to.

    Raises:
        RuntimeError: the file is missing.
        ValueError: it does not have exactly one class.
    """
    if not (Path(model_dir) / model_file).is_file():
        raise RuntimeError(f"Missing the model.py file: {model_file} is not in the archive")
    module = importlib.import_module(Path(model_file).stem)
    classes = list_classes_from_module(module)
    if len(classes) != 1:
        names = ", ".join(cls.__name__ for cls in classes) or "none"
        raise ValueError(f"Expected only one class as model definition in {model_file}: {names}")
    model: Any = classes[0]()
    if weights:
        model.load_state_dict(torch.load(weights, map_location=device))
    return model


def load_torchscript(path: str | Path, device: Any) -> Any:
    """
    Raises:
        InvalidModel: the file is of another kind; says what it looks like.
        RuntimeError: whatever else torch finds wrong with it.
    """
    if not _is_torchscript(path):
        raise InvalidModel(
            f"{Path(path).name} is not TorchScript: it looks like a state dict or a pickled model; "
            "archive it with the file of its class (--model-file)"
        )
    with warnings.catch_warnings():  # that torch.jit is deprecated is nothing that whoever serves an archive can change
        warnings.filterwarnings("ignore", r"`torch\.jit", FutureWarning)
        return torch.jit.load(path, map_location=device)


def load_onnx(path: str | Path) -> Any:
    """An ``onnxruntime.InferenceSession``, on CUDA where torch has it.

    Raises:
        InvalidModel: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise InvalidModel(f"{Path(path).name} needs onnxruntime; install it with pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    cuda = ["CUDAExecutionProvider"] if torch.cuda.is_available() else []
    return onnxruntime.InferenceSession(str(path), options, providers=[*cuda, "CPUExecutionProvider"])


def _is_torchscript(path: str | Path) -> bool:
    """Whether a file has what TorchScript archives have. One that is no archive at all is left to torch to refuse."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return True
