"""The Open Inference Protocol (KServe v2): health, metadata, inference, and Triton's extensions.

It answers under two names: TorchServe's, for those methods that TorchServe has, and ``inference``, which every other
client of the protocol asks for.
"""

from __future__ import annotations

import msgspec
from google.protobuf.json_format import ParseDict

from flambeau.api import Inference
from flambeau.errors import BadRequest, ErrorKind
from flambeau.frontends.grpc.call import Call, Method
from flambeau.frontends.grpc.errors import INFERENCE_ERRORS, MANAGEMENT_ERRORS, ErrorTable, ModelApiDisabled
from flambeau.frontends.grpc.infer_streams import InferStream
from flambeau.frontends.grpc.methods import answering, awaiting, parse
from flambeau.frontends.grpc.predictions import Fields, Predictions
from flambeau.frontends.grpc.protos.open_inference_extensions_pb2 import (
    ModelConfigRequest,
    ModelConfigResponse,
    ModelStatisticsRequest,
    ModelStatisticsResponse,
    RepositoryIndexRequest,
    RepositoryIndexResponse,
    RepositoryModelLoadRequest,
    RepositoryModelLoadResponse,
    RepositoryModelUnloadRequest,
    RepositoryModelUnloadResponse,
)
from flambeau.frontends.grpc.protos.open_inference_pb2 import (
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataRequest,
    ModelMetadataResponse,
    ModelReadyRequest,
    ModelReadyResponse,
    ServerLiveRequest,
    ServerLiveResponse,
    ServerMetadataRequest,
    ServerMetadataResponse,
    ServerReadyRequest,
    ServerReadyResponse,
)
from flambeau.frontends.grpc.raw_tensors import raw_fields, raw_response, typed_response
from flambeau.frontends.grpc.status import Status
from flambeau.frontends.grpc.targets import Target, Targets
from flambeau.frontends.grpc.tensors import request_json
from flambeau.frontends.http.responder import MetricsRecorder
from flambeau.frontends.open_inference import OpenInferenceModels, server_metadata
from flambeau.request import InferenceReply, InferenceRequest, ModelRef, Purpose

SERVICE = "org.pytorch.serve.grpc.openinference.GRPCInferenceService"
TRITON_SERVICE = "inference.GRPCInferenceService"
SERVICES = (SERVICE, TRITON_SERVICE)

MODEL_ERRORS: ErrorTable = {
    **INFERENCE_ERRORS,
    ErrorKind.MODEL_NOT_FOUND: MANAGEMENT_ERRORS[ErrorKind.MODEL_NOT_FOUND],
    ErrorKind.VERSION_NOT_FOUND: MANAGEMENT_ERRORS[ErrorKind.VERSION_NOT_FOUND],
}
"""Of TorchServe's methods that ask about a model."""

TRITON_ERRORS: ErrorTable = {kind: (status, "") for kind, (status, _) in MANAGEMENT_ERRORS.items()} | {
    ErrorKind.NO_WORKER: (Status.UNAVAILABLE, ""),
    ErrorKind.OVERLOADED: (Status.UNAVAILABLE, ""),
    ErrorKind.HANDLER_FAILED: (Status.INTERNAL, ""),
}
"""Of the methods under :data:`TRITON_SERVICE`: gRPC's own meanings, and no names of Java classes."""


class OpenInferenceApi:
    """The methods of :data:`SERVICES`."""

    def __init__(self, inference: Inference, models: OpenInferenceModels, metrics: MetricsRecorder) -> None:
        self._models = models
        self._targets = Targets(inference, metrics)
        queue_time = metrics.series("QueueTime", "Host")
        self._raw = Predictions(queue_time, lambda reply: raw_response(reply).SerializeToString())
        self._typed = Predictions(queue_time, lambda reply: typed_response(reply).SerializeToString())

    def methods(self) -> list[Method]:
        live = answering(ServerLiveRequest, lambda _: ServerLiveResponse(live=True))
        ready = answering(ServerReadyRequest, lambda _: ServerReadyResponse(ready=True))
        metadata = answering(ServerMetadataRequest, _server_metadata)
        model_ready = answering(ModelReadyRequest, self._model_ready)
        model_metadata = answering(ModelMetadataRequest, self._model_metadata)
        methods: list[Method] = []
        for service, errors, model_errors in (
            (SERVICE, INFERENCE_ERRORS, MODEL_ERRORS),
            (TRITON_SERVICE, TRITON_ERRORS, TRITON_ERRORS),
        ):
            methods += [
                Method(path=f"{service}/ServerLive", errors=errors, handle=live),
                Method(path=f"{service}/ServerReady", errors=errors, handle=ready),
                Method(path=f"{service}/ServerMetadata", errors=errors, handle=metadata),
                Method(path=f"{service}/ModelReady", errors=model_errors, handle=model_ready),
                Method(path=f"{service}/ModelMetadata", errors=model_errors, handle=model_metadata),
                Method(path=f"{service}/ModelInfer", errors=errors, handle=self._infer),
            ]
        return methods + self._extensions()

    def _extensions(self) -> list[Method]:
        config = answering(ModelConfigRequest, self._config)
        statistics = answering(ModelStatisticsRequest, self._statistics)
        index = awaiting(RepositoryIndexRequest, self._index)
        load = awaiting(RepositoryModelLoadRequest, self._load)
        unload = awaiting(RepositoryModelUnloadRequest, self._unload)
        return [
            Method(path=f"{TRITON_SERVICE}/ModelStreamInfer", errors=TRITON_ERRORS, open=self._open_stream),
            Method(path=f"{TRITON_SERVICE}/ModelConfig", errors=TRITON_ERRORS, handle=config),
            Method(path=f"{TRITON_SERVICE}/ModelStatistics", errors=TRITON_ERRORS, handle=statistics),
            Method(path=f"{TRITON_SERVICE}/RepositoryIndex", errors=TRITON_ERRORS, handle=index),
            Method(
                path=f"{TRITON_SERVICE}/RepositoryModelLoad",
                errors=TRITON_ERRORS,
                needs_management_key=True,
                handle=load,
            ),
            Method(
                path=f"{TRITON_SERVICE}/RepositoryModelUnload",
                errors=TRITON_ERRORS,
                needs_management_key=True,
                handle=unload,
            ),
        ]

    # --- models ----------------------------------------------------------------------------------------------------

    def _model_ready(self, request: ModelReadyRequest) -> ModelReadyResponse:
        if not request.name:
            raise BadRequest("Parameter name is required.")
        return ModelReadyResponse(ready=self._models.is_ready(_ref(request.name, request.version)))

    def _model_metadata(self, request: ModelMetadataRequest) -> ModelMetadataResponse:
        described = self._models.metadata(_named(request.name, request.version))
        return ParseDict(msgspec.to_builtins(described), ModelMetadataResponse())

    def _config(self, request: ModelConfigRequest) -> ModelConfigResponse:
        config = self._models.config(_named(request.name, request.version))
        return ParseDict({"config": msgspec.to_builtins(config)}, ModelConfigResponse())

    def _statistics(self, request: ModelStatisticsRequest) -> ModelStatisticsResponse:
        model = _ref(request.name, request.version) if request.name else None
        found = [msgspec.to_builtins(entry) for entry in self._models.statistics(model)]
        return ParseDict({"model_stats": found}, ModelStatisticsResponse())

    # --- the repository ----------------------------------------------------------------------------------------------

    async def _index(self, request: RepositoryIndexRequest) -> RepositoryIndexResponse:
        found = [msgspec.to_builtins(entry) for entry in await self._models.index(only_ready=request.ready)]
        return ParseDict({"models": found}, RepositoryIndexResponse())

    async def _load(self, request: RepositoryModelLoadRequest) -> RepositoryModelLoadResponse:
        self._check_change(request)
        await self._models.load(request.model_name)
        return RepositoryModelLoadResponse()

    async def _unload(self, request: RepositoryModelUnloadRequest) -> RepositoryModelUnloadResponse:
        self._check_change(request)
        await self._models.unload(request.model_name)
        return RepositoryModelUnloadResponse()

    def _check_change(self, request: RepositoryModelLoadRequest | RepositoryModelUnloadRequest) -> None:
        if not self._models.model_api_enabled:
            raise ModelApiDisabled
        self._models.check_parameters(request.parameters)

    # --- inference ---------------------------------------------------------------------------------------------------

    def _infer(self, call: Call, message: bytes) -> None:
        request = parse(ModelInferRequest, message)
        target = self._targets.find(request.model_name, request.model_version)
        predictions = self._raw if _wants_raw(request) else self._typed
        predictions.start(call, target, _fields(request, target), Purpose.INFER)

    def _open_stream(self, call: Call) -> InferStream:
        return InferStream(call, self._prepare, _answer)

    def _prepare(self, call: Call, request: ModelInferRequest) -> tuple[Target, InferenceRequest]:
        target = self._targets.find(request.model_name, request.model_version)
        return target, InferenceRequest(call.request_id, (), _fields(request, target), Purpose.INFER)


def _server_metadata(_: ServerMetadataRequest) -> ServerMetadataResponse:
    return ParseDict(msgspec.to_builtins(server_metadata()), ServerMetadataResponse())


def _named(name: str, version: str) -> ModelRef:
    if not name:
        raise BadRequest("Parameter model_name is required.")
    return _ref(name, version)


def _ref(name: str, version: str) -> ModelRef:
    return ModelRef(name, version or None)


def _wants_raw(request: ModelInferRequest) -> bool:
    """Answers have the form of their requests."""
    return bool(request.raw_input_contents)


def _fields(request: ModelInferRequest, target: Target) -> Fields:
    if target.takes_tensors or _wants_raw(request):
        return raw_fields(request)
    return [("body", "application/json", request_json(request))]


def _answer(request: ModelInferRequest, reply: InferenceReply) -> ModelInferResponse:
    return raw_response(reply) if _wants_raw(request) else typed_response(reply)
