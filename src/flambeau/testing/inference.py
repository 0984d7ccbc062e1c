"""An ``Inference`` in memory, whose models answer with what the test gave them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from flambeau.api import Caller, Inference, ServedModel, Ticket
from flambeau.errors import ModelNotFound, ServingError, VersionNotFound
from flambeau.request import InferenceReply, InferenceRequest, ModelRef

Answer = Callable[[InferenceRequest], "InferenceReply | ServingError"]


@dataclass
class FakeTicket:
    """Remembers whether its caller has left."""

    arrived_at: float
    cut_at: float
    is_abandoned: bool = False

    def abandon(self) -> None:
        self.is_abandoned = True


@dataclass
class FakeServedModel:
    """Answers each request on the event loop's next turn."""

    ref: ModelRef
    reply: Answer
    requests: list[InferenceRequest] = field(default_factory=list)
    """Everything submitted, in order."""
    takes_tensors: bool = False

    def submit(self, request: InferenceRequest, caller: Caller, arrived_at: float) -> Ticket:
        self.requests.append(request)
        ticket = FakeTicket(arrived_at, arrived_at)
        asyncio.get_running_loop().call_soon(self._settle, request, caller, ticket)
        return ticket

    def _settle(self, request: InferenceRequest, caller: Caller, ticket: FakeTicket) -> None:
        if not ticket.is_abandoned:
            caller.answer(self.reply(request))


class FakeInference(Inference):
    """Serves a fixed set of models; the first version given of a name is its default."""

    def __init__(self, *models: FakeServedModel, sole_model: str | None = None, is_healthy: bool = True) -> None:
        self.generation = 0
        self.healthy = is_healthy
        self._sole_model = sole_model
        self._models: dict[str, dict[str | None, FakeServedModel]] = {}
        for model in models:
            self._models.setdefault(model.ref.name, {})[model.ref.version] = model

    def resolve(self, model: ModelRef) -> ServedModel:
        versions = self._models.get(model.name)
        if versions is None:
            raise ModelNotFound.named(model.name)
        if model.version is None:
            return next(iter(versions.values()))
        if model.version not in versions:
            raise VersionNotFound(model.name, model.version)
        return versions[model.version]

    def sole_model(self) -> str | None:
        return self._sole_model

    def is_healthy(self) -> bool:
        return self.healthy
