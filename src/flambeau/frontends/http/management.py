"""The management port: the models of the server, each route one call of ``api.Management``."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from flambeau.api import Management
from flambeau.errors import MethodNotAllowed
from flambeau.frontends.http import management_parameters as parameters
from flambeau.frontends.http import openapi
from flambeau.frontends.http.chain import Call
from flambeau.frontends.http.json import PrettyJsonResponse, status_response
from flambeau.request import ModelRef


class ManagementLink:
    """``/models…``, and KServe v1's readiness of a model."""

    def __init__(self, management: Management, *, model_api_enabled: bool) -> None:
        """Serve one server's models.

        Args:
            model_api_enabled: whether clients may register and unregister models; scaling is always allowed.
        """
        self._management = management
        self._model_api_enabled = model_api_enabled

    async def __call__(self, call: Call) -> Response | None:
        match call.segments:
            case ["models"]:
                return await self._models(call)
            case ["models", name]:
                return await self._model(call, ModelRef(name))
            case ["models", name, "all"] if call.method == "GET":
                return PrettyJsonResponse(self._management.describe_all(name))
            case ["models", name, version]:
                return await self._model(call, ModelRef(name, version))
            case ["models", name, version, "set-default"]:
                _require(call.method == "PUT")
                return status_response(self._management.set_default(name, version).message)
            case ["v1", "models", name]:
                _require(call.method == "GET")
                return PrettyJsonResponse({"name": name, "ready": self._management.is_ready(name)})
        return None

    async def _models(self, call: Call) -> Response:
        match call.method:
            case "GET":
                limit, offset = parameters.page(call.request.query_params)
                return PrettyJsonResponse(self._management.list_models(limit, offset))
            case "POST":
                return await self._register(call.request)
        raise MethodNotAllowed

    async def _model(self, call: Call, model: ModelRef) -> Response:
        match call.method:
            case "GET":
                return await self._describe(call.request, model)
            case "PUT":
                return await self._scale(call.request, model)
            case "DELETE":
                _require(self._model_api_enabled)
                return status_response((await self._management.unregister(model)).message)
            case "OPTIONS":
                self._management.describe(model)
                return PrettyJsonResponse(openapi.management_model_document(model.name))
        raise MethodNotAllowed

    async def _register(self, request: Request) -> Response:
        _require(self._model_api_enabled)
        media_type = request.headers.get("content-type", "").partition(";")[0].strip()
        if media_type.lower() == "application/json":
            registration = parameters.registration_from_json(await request.body())
        else:
            registration = parameters.registration_from_query(request.query_params)
        done = await self._management.register(registration)
        return status_response(done.message, 200 if done.is_complete else 202)

    async def _describe(self, request: Request, model: ModelRef) -> Response:
        description = self._management.describe(model)
        if parameters.flag(request.query_params, "customized"):
            metadata = await self._management.customized_metadata(model)
            if metadata is not None:
                description = msgspec.structs.replace(description, customized_metadata=dict(metadata))
        return PrettyJsonResponse([description])

    async def _scale(self, request: Request, model: ModelRef) -> Response:
        scaling = parameters.scaling(request.query_params)
        version = model.version or request.query_params.get("model_version")
        done = await self._management.scale(ModelRef(model.name, version), scaling)
        in_progress = 206 if scaling.synchronous else 202
        return status_response(done.message, 200 if done.is_complete else in_progress)


def _require(allowed: bool) -> None:
    if not allowed:
        raise MethodNotAllowed
