"""TorchServe's inference API: predictions, and whether the server is well."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from flambeau.api import Inference, Ticket
from flambeau.errors import ServingError
from flambeau.frontends.grpc.call import Call
from flambeau.frontends.grpc.errors import INFERENCE_ERRORS
from flambeau.frontends.grpc.methods import Method, answering, parse
from flambeau.frontends.grpc.protos.inference_pb2 import PredictionsRequest, TorchServeHealthResponse
from flambeau.frontends.grpc.sequences import SequenceKeys, Sequences, prediction_message
from flambeau.frontends.grpc.targets import Targets
from flambeau.frontends.http.json import pretty
from flambeau.frontends.http.responder import MetricsRecorder, Series
from flambeau.request import InferenceReply, InferenceRequest

SERVICE = "org.pytorch.serve.grpc.inference.InferenceAPIsService"


class InferenceApi:
    """The methods of :data:`SERVICE`."""

    def __init__(self, inference: Inference, metrics: MetricsRecorder, sequence_keys: SequenceKeys) -> None:
        self._inference = inference
        self._targets = Targets(inference, metrics)
        self._queue_time = metrics.series("QueueTime", "Host")
        self._sequences = Sequences(self._targets, self._queue_time, sequence_keys)

    def methods(self) -> list[Method]:
        return [
            Method(path=f"{SERVICE}/Ping", errors=INFERENCE_ERRORS, handle=answering(Empty, self._ping)),
            Method(path=f"{SERVICE}/Predictions", errors=INFERENCE_ERRORS, handle=self._predict),
            Method(path=f"{SERVICE}/StreamPredictions", errors=INFERENCE_ERRORS, handle=self._predict),
            Method(path=f"{SERVICE}/StreamPredictions2", errors=INFERENCE_ERRORS, open=self._sequences.open),
        ]

    def _ping(self, request: Empty) -> TorchServeHealthResponse:
        status = "Healthy" if self._inference.is_healthy() else "Unhealthy"
        return TorchServeHealthResponse(health=pretty({"status": status}).rstrip().decode())

    def _predict(self, call: Call, message: bytes) -> None:
        """The hot path. A stream of predictions has one, the handler's answer, so it looks the same on the wire."""
        request = parse(PredictionsRequest, message)
        target = self._targets.find(request.model_name, request.model_version)
        target.inferences.record(1)
        fields = [(name, "", value) for name, value in request.input.items()]
        prediction = _Prediction(call, self._queue_time)
        ticket = target.submit(InferenceRequest(call.request_id, (), fields), prediction, call.arrived_at)
        prediction.ticket = ticket
        call.on_abandon = ticket.abandon


class _Prediction:
    """The caller of one job: a call that waits for its answer."""

    __slots__ = ("_call", "_queue_time", "ticket")

    ticket: Ticket

    def __init__(self, call: Call, queue_time: Series) -> None:
        self._call = call
        self._queue_time = queue_time

    def answer(self, outcome: InferenceReply | ServingError) -> None:
        """See ``api.Caller.answer``."""
        if isinstance(outcome, ServingError):
            self._call.fail(outcome)
            return
        self._call.reply(prediction_message(outcome))
        self._queue_time.record(int((self.ticket.cut_at - self.ticket.arrived_at) * 1e3))
