"""A model without queue and worker: what is left of a prediction is its HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from flambeau.api import Caller
from flambeau.errors import ModelNotFound
from flambeau.request import InferenceReply, InferenceRequest, ModelRef


class InstantTicket(NamedTuple):
    """See ``api.Ticket``."""

    arrived_at: float
    cut_at: float
    abandon: Callable[[], None]


class InstantEcho:
    """Answers each request with its first value, on the next turn of the loop. An ``api.ServedModel``."""

    def __init__(self, ref: ModelRef) -> None:
        self.ref = ref
        self._loop = asyncio.get_running_loop()

    def submit(self, request: InferenceRequest, caller: Caller, arrived_at: float) -> InstantTicket:
        _, _, value = request.parameters[0]
        answer = self._loop.call_soon(caller.answer, InferenceReply(value))
        return InstantTicket(arrived_at, arrived_at, answer.cancel)


class InstantInference:
    """An ``api.Inference`` with one model."""

    generation = 0

    def __init__(self, name: str) -> None:
        self._model = InstantEcho(ModelRef(name, "1.0"))

    def resolve(self, model: ModelRef) -> InstantEcho:
        if model.name != self._model.ref.name:
            raise ModelNotFound.named(model.name)
        return self._model

    def sole_model(self) -> str | None:
        return self._model.ref.name

    def is_healthy(self) -> bool:
        return True
