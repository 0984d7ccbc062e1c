"""``ModelStreamInfer``: many requests in one call, each answered when its model has done it, in whichever order.

What goes wrong with one request is said in its answer, and the call goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from flambeau.api import Ticket
from flambeau.errors import ServingError, ShuttingDown
from flambeau.frontends.grpc.call import Call
from flambeau.frontends.grpc.methods import parse
from flambeau.frontends.grpc.protos.open_inference_extensions_pb2 import ModelStreamInferResponse
from flambeau.frontends.grpc.protos.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from flambeau.frontends.grpc.status import Status
from flambeau.frontends.grpc.targets import Target
from flambeau.request import InferenceReply, InferenceRequest

_MAX_UNANSWERED = 64
"""Requests of one call; beyond it the client has to wait before it sends more."""

_FINAL = "triton_final_response"
_WANTS_FINAL = "triton_enable_empty_final_response"
"""Parameter of a request whose last answer is to be marked with the other; here every answer is the last."""

Prepare = Callable[[Call, ModelInferRequest], tuple[Target, InferenceRequest]]
Answer = Callable[[ModelInferRequest, InferenceReply], ModelInferResponse]


class InferStream:
    """The requests of one call. Implements ``call.Inbox``."""

    def __init__(self, call: Call, prepare: Prepare, answer: Answer) -> None:
        """
        Args:
            prepare: a request to its model and what that is given.
            answer: the model's reply to the answer; both raise ServingError.
        """
        self._call = call
        self._prepare = prepare
        self._answer = answer
        self._tickets: dict[int, Ticket] = {}
        """Of the requests that models have, by number."""
        self._count = 0
        self._has_ended = False
        """Whether no more requests will come."""
        self._ending: ServingError | None = None
        call.on_abandon = self._abandon

    def message(self, message: bytes) -> None:
        """See ``call.Inbox``."""
        request = parse(ModelInferRequest, message)
        self._count += 1
        number = self._count
        try:
            target, job = self._prepare(self._call, request)
            self._tickets[number] = target.submit(job, _StreamCaller(self, number, request), time.monotonic())
        except ServingError as error:
            self._refuse(request, error)
        self._call.hold(len(self._tickets) >= _MAX_UNANSWERED)

    def end(self) -> None:
        """See ``call.Inbox``."""
        self._has_ended = True
        self._finish_if_done()

    def drain(self) -> None:
        """See ``call.Inbox``."""
        self._ending = ShuttingDown()
        self._finish_if_done()

    def answered(self, number: int, request: ModelInferRequest, outcome: InferenceReply | ServingError) -> None:
        """A model's answer."""
        del self._tickets[number]
        try:
            if isinstance(outcome, ServingError):
                raise outcome
            response = self._answer(request, outcome)
        except ServingError as error:
            self._refuse(request, error)
        else:
            if _WANTS_FINAL in request.parameters:
                response.parameters[_FINAL].bool_param = True
            self._call.send(ModelStreamInferResponse(infer_response=response).SerializeToString())
        self._call.hold(len(self._tickets) >= _MAX_UNANSWERED)
        self._finish_if_done()

    def _refuse(self, request: ModelInferRequest, error: ServingError) -> None:
        response = ModelStreamInferResponse(error_message=error.message)
        response.infer_response.id = request.id
        self._call.send(response.SerializeToString())

    def _finish_if_done(self) -> None:
        if self._tickets:
            return
        if self._has_ended:
            self._call.finish(Status.OK)
        elif self._ending is not None:
            self._call.finish(Status.UNAVAILABLE, self._ending.message)

    def _abandon(self) -> None:
        for ticket in self._tickets.values():
            ticket.abandon()


class _StreamCaller:
    """The caller of one job of a stream."""

    __slots__ = ("_number", "_request", "_stream")

    def __init__(self, stream: InferStream, number: int, request: ModelInferRequest) -> None:
        self._stream = stream
        self._number = number
        self._request = request

    def answer(self, outcome: InferenceReply | ServingError) -> None:
        """See ``api.Caller.answer``."""
        self._stream.answered(self._number, self._request, outcome)
