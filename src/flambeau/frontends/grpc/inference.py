"""TorchServe's inference API: predictions, and whether the server is well."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from flambeau.api import Inference
from flambeau.frontends.grpc.call import Call, Method
from flambeau.frontends.grpc.errors import INFERENCE_ERRORS
from flambeau.frontends.grpc.methods import answering, parse
from flambeau.frontends.grpc.predictions import Predictions
from flambeau.frontends.grpc.protos.inference_pb2 import PredictionsRequest, TorchServeHealthResponse
from flambeau.frontends.grpc.sequences import SequenceKeys, Sequences, prediction_message
from flambeau.frontends.grpc.targets import Targets
from flambeau.frontends.http.json import pretty
from flambeau.frontends.http.responder import MetricsRecorder

SERVICE = "org.pytorch.serve.grpc.inference.InferenceAPIsService"


class InferenceApi:
    """The methods of :data:`SERVICE`."""

    def __init__(self, inference: Inference, metrics: MetricsRecorder, sequence_keys: SequenceKeys) -> None:
        self._inference = inference
        self._targets = Targets(inference, metrics)
        queue_time = metrics.series("QueueTime", "Host")
        self._predictions = Predictions(queue_time, prediction_message)
        self._sequences = Sequences(self._targets, queue_time, sequence_keys)

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
        self._predictions.start(call, target, [(name, "", value) for name, value in request.input.items()])
