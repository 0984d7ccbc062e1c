"""A model without queue and worker: what is left of a prediction is its HTTP."""

from __future__ import annotations

import asyncio

from flambeau.api import Caller
from flambeau.errors import ModelNotFound
from flambeau.request import InferenceReply, InferenceRequest, ModelRef


class InstantTicket:
    """See ``api.Ticket``. Does not know its caller, who knows it: a request must leave no cycle to be collected."""

    __slots__ = ("arrived_at", "cut_at", "is_abandoned")

    def __init__(self, arrived_at: float) -> None:
        self.arrived_at = self.cut_at = arrived_at
        self.is_abandoned = False

    def abandon(self) -> None:
        self.is_abandoned = True


class InstantEcho:
    """Answers each request with its first value, on the next turn of the loop. An ``api.ServedModel``."""

    def __init__(self, ref: ModelRef) -> None:
        self.ref = ref
        self._loop = asyncio.get_running_loop()

    def submit(self, request: InferenceRequest, caller: Caller, arrived_at: float) -> InstantTicket:
        ticket = InstantTicket(arrived_at)
        self._loop.call_soon(self._answer, request, caller, ticket)
        return ticket

    def _answer(self, request: InferenceRequest, caller: Caller, ticket: InstantTicket) -> None:
        if not ticket.is_abandoned:
            _, _, value = request.parameters[0]
            caller.answer(InferenceReply(value))


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
