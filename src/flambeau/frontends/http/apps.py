"""What each port serves beside predictions, as one chain each."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import ASGIApp

from flambeau.api import Inference, Management, WorkflowManagement
from flambeau.errors import MethodNotAllowed
from flambeau.frontends.http import openapi
from flambeau.frontends.http.auth import Tokens
from flambeau.frontends.http.chain import Call, Chain, Link
from flambeau.frontends.http.inference import InferenceLink
from flambeau.frontends.http.json import PrettyJsonResponse
from flambeau.frontends.http.management import ManagementLink
from flambeau.frontends.http.metrics import MetricsLink, MetricsRenderer
from flambeau.frontends.http.open_inference import OpenInferenceLink, changes_models
from flambeau.frontends.http.routes import match_predict_route
from flambeau.frontends.http.workflows import WorkflowLink
from flambeau.frontends.open_inference import OpenInferenceModels


def inference_app(
    inference: Inference, tokens: Tokens | None, *, open_inference: OpenInferenceModels | None = None
) -> ASGIApp:
    """The inference port.

    Args:
        tokens: None where calls need no token.
        open_inference: None where of KServe's protocols only predictions are served.
    """
    return Chain(
        _api_description(openapi.inference_document()),
        *([_inference_check(tokens)] if tokens else []),
        InferenceLink(inference),
        *([OpenInferenceLink(open_inference)] if open_inference else []),
    )


def management_app(
    management: Management,
    tokens: Tokens | None,
    *,
    model_api_enabled: bool,
    workflows: WorkflowManagement | None = None,
) -> ASGIApp:
    """The management port.

    Args:
        tokens: None where calls need no token; there is no ``/token`` then.
        model_api_enabled: whether clients may register and unregister models.
        workflows: None where there are none.
    """
    return Chain(
        _api_description(openapi.management_document()),
        *([_token_renewal(tokens), _management_check(tokens)] if tokens else []),
        ManagementLink(management, model_api_enabled=model_api_enabled),
        *([WorkflowLink(workflows)] if workflows else []),
    )


def metrics_app(renderer: MetricsRenderer) -> ASGIApp:
    """The metrics port, which never needs a token."""
    return Chain(_api_description(openapi.metrics_document()), MetricsLink(renderer))


def combined_app(
    inference: Inference,
    management: Management,
    renderer: MetricsRenderer | None,
    tokens: Tokens | None,
    *,
    model_api_enabled: bool,
    open_inference: OpenInferenceModels | None = None,
    workflows: WorkflowManagement | None = None,
) -> ASGIApp:
    """One port for all, where inference and management address are equal.

    What belongs to the inference port needs the inference key, everything else the management key.

    Args:
        renderer: None where the metrics API is off.
        open_inference: as in :func:`inference_app`.
        workflows: None where there are none.
    """
    return Chain(
        _api_description(openapi.combined_document()),
        *([_token_renewal(tokens), _check_by_port(tokens)] if tokens else []),
        InferenceLink(inference),
        *([OpenInferenceLink(open_inference)] if open_inference else []),
        ManagementLink(management, model_api_enabled=model_api_enabled),
        *([WorkflowLink(workflows)] if workflows else []),
        *([MetricsLink(renderer)] if renderer else []),
    )


def _api_description(document: openapi.Document) -> Link:
    async def describe(call: Call) -> Response | None:
        if call.segments[:1] == ("api-description",) or (call.segments == () and call.method == "OPTIONS"):
            return PrettyJsonResponse(document)
        if call.segments == ():
            raise MethodNotAllowed
        return None

    return describe


def _token_renewal(tokens: Tokens) -> Link:
    async def renew(call: Call) -> Response | None:
        if call.segments != ("token",):
            return None
        tokens.renew(call.request.query_params.get("type"), call.authorization)
        return Response(b"\n", media_type="application/json")

    return renew


def _inference_check(tokens: Tokens) -> Link:
    async def check(call: Call) -> None:
        if changes_models(call.segments):
            tokens.check_management(call.authorization)
        else:
            tokens.check_inference(call.authorization)

    return check


def _management_check(tokens: Tokens) -> Link:
    async def check(call: Call) -> None:
        tokens.check_management(call.authorization)

    return check


def _check_by_port(tokens: Tokens) -> Link:
    async def check(call: Call) -> None:
        if changes_models(call.segments):
            tokens.check_management(call.authorization)
        elif call.segments[:1] in (("ping",), ("v2",)) or match_predict_route(call.segments, call.query):
            tokens.check_inference(call.authorization)
        else:
            tokens.check_management(call.authorization)

    return check
