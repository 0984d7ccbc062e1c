"""The inference port's cold routes: ``/ping``, descriptions of models, and KServe v2's health and metadata.

Predictions do not come this way; the HTTP protocol answers them itself.
"""

from __future__ import annotations

from starlette.responses import Response

from flambeau.api import Inference
from flambeau.frontends.http import openapi
from flambeau.frontends.http.chain import Call
from flambeau.frontends.http.json import PrettyJsonResponse, status_response
from flambeau.frontends.http.routes import invoked_model, match_predict_route
from flambeau.version import __version__


class InferenceLink:
    """``/ping`` with any method, and ``OPTIONS`` on every route that predicts or explains."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    async def __call__(self, call: Call) -> Response | None:
        if call.segments[:1] == ("ping",):
            return self._ping()
        if call.method == "OPTIONS":
            return self._describe(call)
        return None

    def _ping(self) -> Response:
        return status_response("Healthy") if self._inference.is_healthy() else status_response("Unhealthy", 500)

    def _describe(self, call: Call) -> Response | None:
        route = match_predict_route(call.segments, call.query)
        if route is None:
            return None
        model = route.model or invoked_model(self._inference.sole_model(), ())
        self._inference.resolve(model)
        return PrettyJsonResponse(openapi.inference_model_document(model.name))


async def open_inference_link(call: Call) -> Response | None:
    """KServe v2 beside ``infer``, with any method. A server that answers is live and ready: TorchServe's reading."""
    match call.segments:
        case ["v2", "health", "ready"]:
            return PrettyJsonResponse({"ready": True})
        case ["v2", "health", "live"]:
            return PrettyJsonResponse({"live": True})
        case ["v2"]:
            extensions = ["kserve", "kubeflow"]
            # Clients of TorchServe read its spelling; the protocol's own is there for the others.
            metadata = {"extenstion": extensions, "extensions": extensions}
            return PrettyJsonResponse({"name": "Torchserve", "version": __version__, **metadata})
        case ["v2", *rest] if "versions" in rest and len(rest) >= 4:
            return PrettyJsonResponse({"error": "Model versioning is not yet supported."}, 501)
    return None
