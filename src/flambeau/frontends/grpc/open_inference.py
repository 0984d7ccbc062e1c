"""The Open Inference Protocol (KServe v2), as TorchServe has it: health, metadata, and inference through JSON."""

from __future__ import annotations

from flambeau.api import Inference, Management
from flambeau.errors import BadRequest, ErrorKind
from flambeau.frontends.grpc.call import Call, Method
from flambeau.frontends.grpc.errors import INFERENCE_ERRORS, MANAGEMENT_ERRORS, ErrorTable
from flambeau.frontends.grpc.methods import answering, parse
from flambeau.frontends.grpc.predictions import Predictions
from flambeau.frontends.grpc.protos.open_inference_pb2 import (
    ModelInferRequest,
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelReadyRequest,
    ModelReadyResponse,
    ServerLiveRequest,
    ServerLiveResponse,
    ServerReadyRequest,
    ServerReadyResponse,
)
from flambeau.frontends.grpc.status import Status
from flambeau.frontends.grpc.targets import Targets
from flambeau.frontends.grpc.tensors import request_json, response_message
from flambeau.frontends.http.responder import MetricsRecorder
from flambeau.request import InferenceReply, ModelRef

SERVICE = "org.pytorch.serve.grpc.openinference.GRPCInferenceService"

MODEL_ERRORS: ErrorTable = {
    **INFERENCE_ERRORS,
    ErrorKind.MODEL_NOT_FOUND: MANAGEMENT_ERRORS[ErrorKind.MODEL_NOT_FOUND],
    ErrorKind.VERSION_NOT_FOUND: MANAGEMENT_ERRORS[ErrorKind.VERSION_NOT_FOUND],
}
"""Of the methods that ask about a model."""


class OpenInferenceApi:
    """The methods of :data:`SERVICE`."""

    def __init__(self, inference: Inference, management: Management, metrics: MetricsRecorder) -> None:
        self._management = management
        self._targets = Targets(inference, metrics)
        self._inferences = Predictions(metrics.series("QueueTime", "Host"), _encode)

    def methods(self) -> list[Method]:
        live = answering(ServerLiveRequest, lambda _: ServerLiveResponse(live=True))
        ready = answering(ServerReadyRequest, lambda _: ServerReadyResponse(ready=True))
        model_ready = answering(ModelReadyRequest, self._model_ready)
        model_metadata = answering(ModelMetadataRequest, self._model_metadata)
        return [
            Method(path=f"{SERVICE}/ServerLive", errors=INFERENCE_ERRORS, handle=live),
            Method(path=f"{SERVICE}/ServerReady", errors=INFERENCE_ERRORS, handle=ready),
            Method(path=f"{SERVICE}/ServerMetadata", errors=INFERENCE_ERRORS, handle=_unimplemented),
            Method(path=f"{SERVICE}/ModelReady", errors=MODEL_ERRORS, handle=model_ready),
            Method(path=f"{SERVICE}/ModelMetadata", errors=MODEL_ERRORS, handle=model_metadata),
            Method(path=f"{SERVICE}/ModelInfer", errors=INFERENCE_ERRORS, handle=self._infer),
        ]

    def _model_ready(self, request: ModelReadyRequest) -> ModelReadyResponse:
        if not request.name:
            raise BadRequest("Parameter name is required.")
        model = self._management.describe(ModelRef(request.name, request.version or None))
        ready = sum(worker.status == "READY" for worker in model.workers)
        return ModelReadyResponse(ready=ready >= model.min_workers)

    def _model_metadata(self, request: ModelMetadataRequest) -> ModelMetadataResponse:
        if not request.name:
            raise BadRequest("Parameter model_name is required.")
        self._management.describe(ModelRef(request.name, request.version or None))
        versions = [model.model_version for model in self._management.describe_all(request.name)]
        return ModelMetadataResponse(name=request.name, versions=versions)

    def _infer(self, call: Call, message: bytes) -> None:
        request = parse(ModelInferRequest, message)
        target = self._targets.find(request.model_name, request.model_version)
        self._inferences.start(call, target, [("body", "application/json", request_json(request))])


def _encode(reply: InferenceReply) -> bytes:
    return response_message(reply.body).SerializeToString()  # type: ignore[arg-type]


def _unimplemented(call: Call, message: bytes) -> None:
    call.finish(Status.UNIMPLEMENTED, f"Method {call.method.path} is unimplemented")
