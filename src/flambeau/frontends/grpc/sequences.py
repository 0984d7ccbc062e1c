"""``StreamPredictions2``: many requests in one call, each of them part of a sequence.

Every request gets one answer, on the same stream. Requests of one sequence go to the model one after another; those of
different sequences do not wait for each other. What goes wrong with one request is said in its answer, and the call
goes on.
"""

from __future__ import annotations

import time
from collections import deque
from typing import NamedTuple

from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status as RpcStatus

from flambeau.api import Ticket
from flambeau.errors import BadRequest, ServingError, ShuttingDown
from flambeau.frontends.grpc.call import Call
from flambeau.frontends.grpc.errors import INFERENCE_ERRORS, error_marker, error_status
from flambeau.frontends.grpc.methods import parse
from flambeau.frontends.grpc.predictions import queue_milliseconds
from flambeau.frontends.grpc.protos.inference_pb2 import PredictionResponse, PredictionsRequest
from flambeau.frontends.grpc.status import Status
from flambeau.frontends.grpc.targets import Targets
from flambeau.frontends.http.responder import Series
from flambeau.request import InferenceReply, InferenceRequest, Payload

_MAX_UNANSWERED = 64
"""Requests of one call; beyond it the client has to wait before it sends more."""


class SequenceKeys(NamedTuple):
    """Names, in a request's ``input`` and of the headers that the handler sees."""

    sequence_id: str
    start: str
    end: str


class Sequences:
    """Opens calls."""

    def __init__(self, targets: Targets, queue_time: Series, keys: SequenceKeys) -> None:
        self.targets = targets
        self.queue_time = queue_time
        self.keys = keys

    def open(self, call: Call) -> SequenceCall:
        """Take one call's messages."""
        return SequenceCall(call, self)


class SequenceCall:
    """The requests of one call. Implements ``methods.Inbox``."""

    def __init__(self, call: Call, sequences: Sequences) -> None:
        self._call = call
        self._sequences = sequences
        self._started_id: str | None = None
        """The sequence that the last start key without an id began: it has the requests that come without one."""
        self._waiting: dict[str, deque[PredictionsRequest]] = {}
        """By sequence, behind the request that the model has; a sequence of which it has none is not in it."""
        self._tickets: dict[str, Ticket] = {}
        self._unanswered = 0
        self._ending: ServingError | None = None
        self._has_ended = False
        """Whether no more requests will come."""
        call.on_abandon = self._abandon

    def message(self, message: bytes) -> None:
        """See ``methods.Inbox``."""
        request = parse(PredictionsRequest, message)
        self._unanswered += 1
        sequence_id = self._sequence_of(request)
        if sequence_id is None:
            self._refuse(BadRequest("Parameter sequenceId is required."))
            return
        if sequence_id in self._waiting:
            self._waiting[sequence_id].append(request)
        else:
            self._waiting[sequence_id] = deque((request,))
            self._advance(sequence_id)
        self._call.hold(self._unanswered >= _MAX_UNANSWERED)

    def end(self) -> None:
        """See ``methods.Inbox``."""
        self._has_ended = True
        self._finish_if_done()

    def drain(self) -> None:
        """See ``methods.Inbox``."""
        self._ending = ShuttingDown()
        self._finish_if_done()

    def answered(self, sequence_id: str, outcome: InferenceReply | ServingError) -> None:
        """The model's answer to the request of a sequence that it had."""
        ticket = self._tickets.pop(sequence_id)
        if isinstance(outcome, ServingError):
            self._refuse(outcome)
        else:
            self._settle(prediction_message(outcome))
            self._sequences.queue_time.record(queue_milliseconds(ticket))
        self._advance(sequence_id)

    def _sequence_of(self, request: PredictionsRequest) -> str | None:
        if request.sequence_id:
            return request.sequence_id
        if _is_true(request, self._sequences.keys.start):
            self._started_id = f"{self._call.request_id}-{self._unanswered}"
        return self._started_id

    def _advance(self, sequence_id: str) -> None:
        """Give the model the next request of a sequence, if there is one."""
        waiting = self._waiting[sequence_id]
        while waiting:
            try:
                self._tickets[sequence_id] = self._submit(sequence_id, waiting.popleft())
            except ServingError as error:
                self._refuse(error)
            else:
                return
        del self._waiting[sequence_id]

    def _submit(self, sequence_id: str, request: PredictionsRequest) -> Ticket:
        target = self._sequences.targets.find(request.model_name, request.model_version)
        target.inferences.record(1)
        keys = self._sequences.keys
        headers = [(keys.sequence_id.encode(), sequence_id.encode())]
        headers += [(key.encode(), b"true") for key in (keys.start, keys.end) if _is_true(request, key)]
        fields = [(name, "", value) for name, value in request.input.items()]
        job = InferenceRequest(self._call.request_id, headers, fields)
        return target.submit(job, _SequenceCaller(self, sequence_id), time.monotonic())

    def _refuse(self, error: ServingError) -> None:
        self._settle(error_message(error))

    def _settle(self, message: bytes) -> None:
        self._unanswered -= 1
        self._call.send(message)
        self._call.hold(self._unanswered >= _MAX_UNANSWERED)
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self._unanswered:
            return
        if self._has_ended:
            self._call.finish(Status.OK)
        elif self._ending is not None:
            self._call.finish(Status.UNAVAILABLE, self._ending.message)

    def _abandon(self) -> None:
        self._waiting.clear()
        for ticket in self._tickets.values():
            ticket.abandon()


class _SequenceCaller:
    """The caller of one job of a sequence."""

    __slots__ = ("_call", "_sequence_id")

    def __init__(self, call: SequenceCall, sequence_id: str) -> None:
        self._call = call
        self._sequence_id = sequence_id

    def answer(self, outcome: InferenceReply | ServingError) -> None:
        """See ``api.Caller.answer``."""
        self._call.answered(self._sequence_id, outcome)


def _is_true(request: PredictionsRequest, key: str) -> bool:
    return bool(request.input.get(key, b"").lower() == b"true")


def prediction_message(reply: InferenceReply) -> bytes:
    """A reply as the wire has it. What the handler set beside the body has no place there."""
    body: Payload = reply.body  # type: ignore[assignment]
    return PredictionResponse(prediction=bytes(body)).SerializeToString()


def error_message(error: ServingError) -> bytes:
    """An error as the answer to one request."""
    reason = Any()
    reason.Pack(ErrorInfo(reason=error_marker(error, INFERENCE_ERRORS)))
    status = RpcStatus(code=error_status(error, INFERENCE_ERRORS), message=error.message, details=[reason])
    return PredictionResponse(status=status).SerializeToString()
