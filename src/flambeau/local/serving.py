"""What is called in a program, served as it is: pipelines, loaded models, functions of rows and modules as handlers.

A worker looks this module up by name, as it does with handlers, when a model's handler is a pipeline's description
(``pipeline.yaml``) or an object that is no handler (``app.py:pipeline``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

from flambeau.errors import ErrorKind, InvalidModel, ServingError
from flambeau.local.calls import LocalCallable
from flambeau.local.engine import RunBatch
from flambeau.local.rows import Fields
from flambeau.local.runners import runner_of
from flambeau.runtime.entry_point import FoundHandler
from flambeau.runtime.failures import PredictionException

_ONLY_FIELDS = ("body", "data")
"""Names under which TorchServe's clients send the one value of a request."""

_BAD_REQUEST = 400


def entry_of_description(path: Path) -> FoundHandler:
    """A pipeline's description as a handler; the pipeline is loaded when the handler is initialised."""
    from flambeau.local.pipeline import Pipeline  # a model without one need not import it

    return _entry(lambda context: _of_callable(Pipeline.from_file(path)))


def entry_of_object(source: Any) -> FoundHandler:
    """An object of a Python file as a handler: anything that ``flambeau.load`` takes, and what it returns."""
    if isinstance(source, LocalCallable):
        return _entry(lambda context: _of_callable(source))

    def make(context: Any) -> RunBatch:
        properties = context.system_properties
        gpu_id = properties["gpu_id"]
        device = None if gpu_id is None else f"cuda:{gpu_id}"
        run = runner_of(source, name=context.model_name, batch_size=properties["batch_size"], device=device)
        return _of_numbers(run) if _is_module(source) else run

    return _entry(make)


def row_value(row: dict[str, Any]) -> Any:
    """The value that a request brought, or its fields where it brought several."""
    if len(row) == 1:
        ((name, value),) = row.items()
        if name in _ONLY_FIELDS:
            return value
    return Fields(row)


def response_value(value: Any) -> Any:
    """A result with its tensors and arrays as lists, which JSON can say; a failure as what its client is to read."""
    if isinstance(value, Exception):
        return _rejection(value) or value
    if isinstance(value, dict):
        return {key: response_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [response_value(item) for item in value]
    to_list = getattr(value, "tolist", None)  # torch's and numpy's, scalars included
    return to_list() if callable(to_list) else value


def _entry(make: Callable[[Any], RunBatch]) -> FoundHandler:
    run: list[RunBatch] = []

    def initialize(context: Any) -> None:
        run.append(make(context))

    def handle(rows: Sequence[dict[str, Any]], context: Any) -> list[Any]:
        if not run:
            raise InvalidModel("the model has not been initialised")
        return [response_value(result) for result in run[0]([row_value(row) for row in rows])]

    return FoundHandler(handle, initialize)


def _of_callable(model: LocalCallable) -> RunBatch:
    """Rows of one batch go in together, so that every stage can batch them."""

    def run(rows: list[Any]) -> list[Any]:
        if len(rows) == 1:
            try:
                return [model(rows[0])]  # on this thread, which has nothing else to do
            except Exception as error:  # the border to user code: it costs this row
                return [error]
        return [_outcome(future) for future in [model.submit(row) for row in rows]]

    return run


def _outcome(future: Any) -> Any:
    try:
        error = future.exception()
    except CancelledError as cancelled:
        return cancelled
    return future.result() if error is None else error


def _of_numbers(run: RunBatch) -> RunBatch:
    """A module's rows come as the lists that JSON has for tensors."""
    import torch

    return lambda rows: run([torch.as_tensor(row) if isinstance(row, (list, int, float)) else row for row in rows])


def _is_module(source: Any) -> bool:
    torch = sys.modules.get("torch")  # who has a module has imported it
    return torch is not None and isinstance(source, torch.nn.Module)


def _rejection(error: Exception) -> PredictionException | None:
    """The client's own fault, told to the client; None: not its fault."""
    if isinstance(error, ServingError) and error.kind is ErrorKind.BAD_REQUEST:
        return PredictionException(str(error), _BAD_REQUEST)
    return None
