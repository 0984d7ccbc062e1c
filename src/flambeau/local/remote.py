"""The handler of a local model's worker process: values in, values out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import GeneratorType
from typing import Any

from flambeau.local.engine import RunBatch
from flambeau.local.payload import Parts, decode, encode, encode_error
from flambeau.local.rows import Fields
from flambeau.local.runners import runner_of, runner_of_folder
from flambeau.local.shipping import Shipment, unpack
from flambeau.request import Gathered, Payload

ONLY_VALUE = ""
"""Name of the parameter of a row that is one value; a row of named fields has a parameter for each of them."""


class RemoteHandler:
    """Runs what the program has shipped. Arrays among the rows are views, valid until the batch is answered."""

    def __init__(self) -> None:
        self._run: RunBatch | None = None
        self._isolates = True

    def initialize(self, context: Any) -> None:
        """Make the shipment ready to run, and warm it up.

        Raises:
            Exception: whatever that raised.
        """
        shipment, source = unpack(Path(context.system_properties["model_dir"]))
        self._isolates = shipment.isolate_failures
        self._run = _runner(shipment, source)
        for row in shipment.warm_up:
            (outcome,) = self._outcomes([row])
            if isinstance(outcome, Exception):
                raise outcome

    def handle(self, rows: Sequence[dict[str, Any]], context: Any) -> list[Payload | Gathered]:
        """Answer a batch. What is raised for a row travels in place of its result."""
        return [_travelling(outcome) for outcome in self._outcomes([_row(parameters) for parameters in rows])]

    def _outcomes(self, rows: list[Any]) -> list[Any]:
        """A result or an exception for each row."""
        if self._run is None:
            raise RuntimeError("a batch came before the load; this is a bug")
        try:
            return self._run(rows)
        except Exception as error:  # the border to user code: what it raises is those rows' answer
            if len(rows) == 1 or not self._isolates:
                return [error] * len(rows)
        return [self._outcomes([row])[0] for row in rows]


def _runner(shipment: Shipment, source: Any) -> RunBatch:
    if shipment.folder is None:
        return runner_of(source, name=shipment.name, batch_size=shipment.batch_size, device=shipment.device)
    return runner_of_folder(
        shipment.folder,
        name=shipment.model,
        handler=shipment.handler,
        batch_size=shipment.batch_size,
        device=shipment.device,
        threads=None,  # set for the whole process already
    )


def _row(parameters: dict[str, Any]) -> Any:
    if ONLY_VALUE in parameters:
        return decode(parameters[ONLY_VALUE])
    return Fields({name: decode(value) for name, value in parameters.items()})


def _travelling(outcome: Any) -> Payload | Gathered:
    if isinstance(outcome, GeneratorType):
        outcome = _collected(outcome)
    try:
        if not isinstance(outcome, Exception):
            return encode(outcome)
    except Exception as error:  # the border to user code: a result that does not pickle
        outcome = error
    return encode_error(outcome)


def _collected(generator: GeneratorType[Any, Any, Any]) -> Parts:
    parts = Parts([], None)
    try:
        for value in generator:
            parts.values.append(value)
    except Exception as error:  # the border to user code: it comes after the parts
        parts.error = error
    return parts
