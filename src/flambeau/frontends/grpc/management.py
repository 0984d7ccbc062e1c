"""TorchServe's management API: the models of the server, each method one call of ``api.Management``.

A number that is not positive counts as not given, and so does an empty text: proto3 does not tell them apart.
"""

from __future__ import annotations

import msgspec

from flambeau.api import Management, Registration, Scaling
from flambeau.errors import BadRequest
from flambeau.frontends.grpc.call import Method
from flambeau.frontends.grpc.errors import MANAGEMENT_ERRORS, ModelApiDisabled
from flambeau.frontends.grpc.methods import answering, awaiting
from flambeau.frontends.grpc.protos.management_pb2 import (
    DescribeModelRequest,
    ListModelsRequest,
    ManagementResponse,
    RegisterModelRequest,
    ScaleWorkerRequest,
    SetDefaultRequest,
    UnregisterModelRequest,
)
from flambeau.frontends.http.json import pretty
from flambeau.frontends.http.management_parameters import MAX_PAGE
from flambeau.request import ModelRef

SERVICE = "org.pytorch.serve.grpc.management.ManagementAPIsService"

_ALL_VERSIONS = "all"


class ManagementApi:
    """The methods of :data:`SERVICE`."""

    def __init__(self, management: Management, *, model_api_enabled: bool) -> None:
        """
        Args:
            model_api_enabled: whether clients may register and unregister models; scaling is always allowed.
        """
        self._management = management
        self._model_api_enabled = model_api_enabled

    def methods(self) -> list[Method]:
        handles = {
            "DescribeModel": awaiting(DescribeModelRequest, self._describe),
            "ListModels": answering(ListModelsRequest, self._list),
            "RegisterModel": awaiting(RegisterModelRequest, self._register),
            "ScaleWorker": awaiting(ScaleWorkerRequest, self._scale),
            "SetDefault": answering(SetDefaultRequest, self._set_default),
            "UnregisterModel": awaiting(UnregisterModelRequest, self._unregister),
        }
        return [
            Method(path=f"{SERVICE}/{name}", errors=MANAGEMENT_ERRORS, handle=handle)
            for name, handle in handles.items()
        ]

    async def _describe(self, request: DescribeModelRequest) -> ManagementResponse:
        name, version = request.model_name, request.model_version
        if version == _ALL_VERSIONS:
            return _json(self._management.describe_all(name))
        model = ModelRef(name, version or None)
        description = self._management.describe(model)
        if request.customized:
            metadata = await self._management.customized_metadata(model)
            if metadata is not None:
                description = msgspec.structs.replace(description, customized_metadata=dict(metadata))
        return _json([description])

    def _list(self, request: ListModelsRequest) -> ManagementResponse:
        limit = request.limit if 0 <= request.limit <= MAX_PAGE else MAX_PAGE
        return _json(self._management.list_models(limit, max(0, request.next_page_token)))

    async def _register(self, request: RegisterModelRequest) -> ManagementResponse:
        self._require_model_api()
        if not request.url:
            raise BadRequest("Parameter url is required.")
        done = await self._management.register(
            Registration(
                url=request.url,
                model_name=request.model_name or None,
                runtime=request.runtime or None,
                handler=request.handler or None,
                batch_size=_positive(request.batch_size),
                max_batch_delay_s=_seconds(request.max_batch_delay, per_second=1000),
                initial_workers=_positive(request.initial_workers),
                synchronous=request.synchronous,
                response_timeout_s=_seconds(request.response_timeout),
                startup_timeout_s=_seconds(request.startup_timeout),
                s3_sse_kms=request.s3_sse_kms,
            )
        )
        return ManagementResponse(msg=done.message)

    async def _scale(self, request: ScaleWorkerRequest) -> ManagementResponse:
        scaling = Scaling(
            min_worker=_positive(request.min_worker) or 1,
            max_worker=_positive(request.max_worker),
            synchronous=request.synchronous,
        )
        model = ModelRef(request.model_name, request.model_version or None)
        return ManagementResponse(msg=(await self._management.scale(model, scaling)).message)

    def _set_default(self, request: SetDefaultRequest) -> ManagementResponse:
        return ManagementResponse(msg=self._management.set_default(request.model_name, request.model_version).message)

    async def _unregister(self, request: UnregisterModelRequest) -> ManagementResponse:
        self._require_model_api()
        if not request.model_name:
            raise BadRequest("Parameter url is required.")  # TorchServe's words for it
        model = ModelRef(request.model_name, request.model_version or None)
        return ManagementResponse(msg=(await self._management.unregister(model)).message)

    def _require_model_api(self) -> None:
        if not self._model_api_enabled:
            raise ModelApiDisabled


def _json(value: object) -> ManagementResponse:
    return ManagementResponse(msg=pretty(value).rstrip(b"\n").decode())


def _positive(value: int) -> int | None:
    return value if value > 0 else None


def _seconds(value: int, *, per_second: int = 1) -> float | None:
    return value / per_second if value > 0 else None
