"""The inference port's own cold routes: ``/ping``, and descriptions of models.

Predictions do not come this way; the HTTP protocol answers them itself.
"""

from __future__ import annotations

from starlette.responses import Response

from flambeau.api import Inference
from flambeau.frontends.http import openapi
from flambeau.frontends.http.chain import Call
from flambeau.frontends.http.json import PrettyJsonResponse, status_response
from flambeau.frontends.http.routes import invoked_model, match_predict_route


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
