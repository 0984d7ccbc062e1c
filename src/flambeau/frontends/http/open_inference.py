"""KServe's routes beside predictions: version 1's list of models, and version 2, the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from flambeau.errors import BadRequest, MethodNotAllowed
from flambeau.frontends.http.chain import Call
from flambeau.frontends.http.json import PrettyJsonResponse
from flambeau.frontends.open_inference import EXTENSIONS, OpenInferenceModels, server_metadata
from flambeau.request import ModelRef


class OpenInferenceLink:
    """``/v2…`` and ``/v1/models…``, with any method. A server that answers is live and ready: TorchServe's reading."""

    def __init__(self, models: OpenInferenceModels) -> None:
        self._models = models

    async def __call__(self, call: Call) -> Response | None:
        match call.segments:
            case ["v2"]:
                # Clients of TorchServe read its spelling; the protocol's own is there for the others.
                described = msgspec.to_builtins(server_metadata())
                return PrettyJsonResponse({**described, "extenstion": EXTENSIONS[:2]})
            case ["v2", "health", "ready"]:
                return PrettyJsonResponse({"ready": True})
            case ["v2", "health", "live"]:
                return PrettyJsonResponse({"live": True})
            case ["v2", "models", "stats"]:
                return _statistics_response(self._models, None)
            case ["v2", "models", name, "versions", version, *rest]:
                return self._model(ModelRef(name, version), rest)
            case ["v2", "models", name, *rest]:
                return self._model(ModelRef(name), rest)
            case ["v2", "repository", *rest]:
                return await self._repository(call, rest)
            case ["v1", "models"]:
                return PrettyJsonResponse({"models": self._models.names()})
            case ["v1", "models", name] if ":" not in name:
                return PrettyJsonResponse({"name": name, "ready": self._models.is_ready(ModelRef(name))})
        return None

    def _model(self, model: ModelRef, rest: Sequence[str]) -> Response | None:
        match rest:
            case []:
                return PrettyJsonResponse(self._models.metadata(model))
            case ["ready"]:
                is_ready = self._models.is_ready(model)
                return PrettyJsonResponse({"name": model.name, "ready": is_ready}, 200 if is_ready else 503)
            case ["config"]:
                return PrettyJsonResponse(self._models.config(model))
            case ["stats"]:
                return _statistics_response(self._models, model)
        return None

    async def _repository(self, call: Call, rest: Sequence[str]) -> Response | None:
        match rest:
            case ["index"]:
                wanted = await _object_in(call)
                entries = await self._models.index(only_ready=wanted.get("ready") is True)
                return PrettyJsonResponse(entries)
            case ["models", name, "load"]:
                await self._check_change(call)
                await self._models.load(name)
                return PrettyJsonResponse({})
            case ["models", name, "unload"]:
                await self._check_change(call)
                await self._models.unload(name)
                return PrettyJsonResponse({})
        return None

    async def _check_change(self, call: Call) -> None:
        if call.method != "POST" or not self._models.model_api_enabled:
            raise MethodNotAllowed
        parameters = (await _object_in(call)).get("parameters") or {}
        if not isinstance(parameters, dict):
            raise BadRequest("The parameters are not a JSON object.")
        self._models.check_parameters(parameters)


def changes_models(segments: Sequence[str]) -> bool:
    """Whether a route needs the management key, on whichever port it is."""
    match segments:
        case ["v2", "repository", "models", _, "load" | "unload"]:
            return True
    return False


def _statistics_response(models: OpenInferenceModels, model: ModelRef | None) -> Response:
    return PrettyJsonResponse({"model_stats": models.statistics(model)})


async def _object_in(call: Call) -> dict[str, Any]:
    """The JSON object of a request's body; an empty one where there is no body."""
    body = await call.request.body()
    try:
        return msgspec.json.decode(body, type=dict[str, Any]) if body else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"The body is not a JSON object: {error}") from None
