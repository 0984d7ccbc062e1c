"""A call that is one request to a model: from its fields to its reply."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flambeau.api import Ticket
from flambeau.errors import ServingError
from flambeau.frontends.grpc.call import Call
from flambeau.frontends.grpc.targets import Target
from flambeau.frontends.http.responder import Series
from flambeau.request import InferenceReply, InferenceRequest, Purpose, RequestValue

Fields = Sequence[tuple[str, str, RequestValue]]
"""Name, content type, value: the handler's row."""


class Predictions:
    """Answers calls of one kind."""

    def __init__(self, queue_time: Series, encode: Callable[[InferenceReply], bytes]) -> None:
        """
        Args:
            encode: the reply as the client's message; raises ServingError where it cannot be one.
        """
        self.queue_time = queue_time
        self.encode = encode

    def start(self, call: Call, target: Target, fields: Fields, purpose: Purpose = Purpose.PREDICT) -> None:
        """Queue the request; the call is answered when the model has. Raises what ``api.ServedModel.submit`` does."""
        prediction = _Prediction(call, self)
        # The handler sees no headers: those of gRPC's clients are not meant for it, as in TorchServe.
        ticket = target.submit(InferenceRequest(call.request_id, (), fields, purpose), prediction, call.arrived_at)
        prediction.ticket = ticket
        call.on_abandon = ticket.abandon


class _Prediction:
    """The caller of one job."""

    __slots__ = ("_call", "_predictions", "ticket")

    ticket: Ticket

    def __init__(self, call: Call, predictions: Predictions) -> None:
        self._call = call
        self._predictions = predictions

    def answer(self, outcome: InferenceReply | ServingError) -> None:
        """See ``api.Caller.answer``."""
        if isinstance(outcome, ServingError):
            self._call.fail(outcome)
            return
        try:
            message = self._predictions.encode(outcome)
        except ServingError as error:
            self._call.fail(error)
        else:
            self._call.reply(message)
        self._predictions.queue_time.record(queue_milliseconds(self.ticket))


def queue_milliseconds(ticket: Ticket) -> int:
    """What the gauge ``QueueTime`` counts: whole milliseconds in the queue."""
    return int((ticket.cut_at - ticket.arrived_at) * 1e3)
