"""Whatever may be loaded, as a function from rows to results."""

from __future__ import annotations

import inspect
import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flambeau.errors import ConfigError, WrongResults
from flambeau.local.engine import RunBatch
from flambeau.local.rows import handler_row
from flambeau.request import InferenceRequest
from flambeau.runtime.context import TORCHSERVE_VERSION, Context
from flambeau.runtime.failures import NOT_A_LIST, WRONG_LENGTH
from flambeau.runtime.loader import load_handler
from flambeau.runtime.metrics import MetricsCache
from flambeau.runtime.service import LoadedHandler

_request_numbers = itertools.count(1)


def runner_of(source: Any, *, name: str, batch_size: int = 1, device: str | None = None) -> RunBatch:
    """One worker's function of rows.

    Args:
        source: a function, a class (TorchServe's kind, with ``initialize`` and ``handle``, or one whose instances are
            called), an object that is called, or an ``nn.Module``.
        device: as torch names it; None: the CPU.

    Raises:
        ConfigError: it is none of these.
        Exception: whatever making it raised.
    """
    if inspect.isclass(source):
        if callable(getattr(source, "initialize", None)) and callable(getattr(source, "handle", None)):
            return _of_handler_class(source, name, batch_size, device)
        source = source()
    if _is_module(source):
        return _of_module(source, device)
    if not callable(source):
        raise ConfigError("source", source_name(source), "is not a function, class, nn.Module, archive or folder")
    if inspect.iscoroutinefunction(source) or inspect.iscoroutinefunction(type(source).__call__):
        raise ConfigError(
            "source", source_name(source), "is asynchronous; a plain function of a list of rows is needed"
        )
    return _of_function(source, name)


def runner_of_folder(
    directory: Path,
    *,
    name: str,
    handler: str | None,
    batch_size: int,
    device: str | None,
    threads: int | None,
) -> RunBatch:
    """One worker's function of rows, from a model folder; see :func:`flambeau.runtime.load_handler`."""
    loaded = load_handler(
        directory,
        model_name=name,
        handler=handler,
        batch_size=batch_size,
        gpu_id=gpu_id_of(device),
        threads=threads,
    )
    return _of_handler(loaded)


def gpu_id_of(device: str | None) -> int | None:
    """``cuda`` and ``cuda:1`` to the number that handlers are told; None for the CPU.

    Raises:
        ConfigError: it is neither.
    """
    if device is None or device == "cpu":
        return None
    kind, _, index = str(device).partition(":")
    if kind not in ("cuda", "gpu") or not (index or "0").isdecimal():
        raise ConfigError("device", device, "must be cpu, cuda or cuda:N")
    return int(index or 0)


def check_results(results: Any, count: int, name: str) -> list[Any]:
    """The results of ``count`` rows.

    Raises:
        WrongResults: they are not a list or a tuple of that length.
    """
    if not isinstance(results, (list, tuple)):
        raise WrongResults(NOT_A_LIST, f"{name} returned {type(results).__name__}, not a list with one result a row")
    if len(results) != count:
        raise WrongResults(WRONG_LENGTH, f"{name} returned {len(results)} results for {count} rows")
    return list(results)


def _of_function(function: Callable[[list[Any]], Any], name: str) -> RunBatch:
    def run(rows: list[Any]) -> list[Any]:
        results = function(rows)
        if type(results) is list and len(results) == len(rows):
            return results
        return check_results(results, len(rows), name)

    return run


def _of_module(module: Any, device: str | None) -> RunBatch:
    """Rows are tensors, arrays, numbers, or dicts and tuples of them: stacked, and the module's output taken apart."""
    import torch
    from torch.utils.data import default_collate

    module = module.to(device or "cpu").eval()

    def run(rows: list[Any]) -> list[Any]:
        with torch.inference_mode():
            return take_apart(module(_moved(default_collate(rows), device)), len(rows))

    return run


def take_apart(output: Any, count: int) -> list[Any]:
    """A module's output for a batch, as one value a row: along the first dimension of every tensor in it.

    Raises:
        WrongResults: a tensor in it has another first dimension, or there is none in it.
    """
    import torch

    if isinstance(output, torch.Tensor):
        if output.ndim == 0 or len(output) != count:
            raise WrongResults(
                WRONG_LENGTH, f"the module returned a tensor of shape {tuple(output.shape)} for {count} rows"
            )
        return list(output.unbind(0))
    if isinstance(output, dict):
        columns = {key: take_apart(value, count) for key, value in output.items()}
        return [{key: column[row] for key, column in columns.items()} for row in range(count)]
    if isinstance(output, (list, tuple)):
        parts = [take_apart(value, count) for value in output]
        return [tuple(part[row] for part in parts) for row in range(count)]
    raise WrongResults(NOT_A_LIST, f"the module returned {type(output).__name__}, not tensors")


def _moved(batch: Any, device: str | None) -> Any:
    if device is None:
        return batch
    if isinstance(batch, dict):
        return {key: _moved(value, device) for key, value in batch.items()}
    if isinstance(batch, (list, tuple)):
        return [_moved(value, device) for value in batch]
    return batch.to(device) if hasattr(batch, "to") else batch


def _of_handler_class(cls: type, name: str, batch_size: int, device: str | None) -> RunBatch:
    handler: Any = cls()
    metrics = MetricsCache(name)
    folder = os.path.dirname(inspect.getsourcefile(cls) or "") or os.getcwd()
    context = Context(name, folder, None, batch_size, gpu_id_of(device), TORCHSERVE_VERSION, True, metrics)
    handler.initialize(context)
    return _of_handler(LoadedHandler(handler.handle, context, metrics))


def _of_handler(handler: LoadedHandler) -> RunBatch:
    def run(rows: list[Any]) -> list[Any]:
        requests = [InferenceRequest(f"local-{next(_request_numbers)}", (), ()) for _ in rows]
        try:
            return handler.call(requests, [handler_row(row) for row in rows])
        finally:
            handler.take_metrics()  # nobody collects them here, and they must not pile up

    return run


def _is_module(source: Any) -> bool:
    torch = sys.modules.get("torch")  # who has a module has imported it
    return torch is not None and isinstance(source, torch.nn.Module)


def source_name(source: Any) -> str:
    """What a source calls itself: a function's or a class's name, or that of an object's class."""
    return str(getattr(source, "__name__", None) or type(source).__name__)
