"""The OpenAPI documents of each port and of single models.

Paths and operation ids are TorchServe's where they are true and valid: an operation id stands once in a document, and
a default is the one that this server uses. What Flambeau adds is described beside them.
"""

from __future__ import annotations

from typing import Any

from flambeau.frontends.http import openapi_operations as operations
from flambeau.frontends.http.openapi_parts import MODEL_NAME, MODEL_VERSION, WORKFLOW_NAME, Parameter, components
from flambeau.version import __version__

Document = dict[str, Any]
Paths = dict[str, dict[str, operations.Operation]]


def inference_document() -> Document:
    """What the inference port serves."""
    return _api_document(_inference_paths())


def management_document() -> Document:
    """What the management port serves."""
    return _api_document(_management_paths())


def metrics_document() -> Document:
    """What the metrics port serves."""
    return _api_document(_metrics_paths())


def combined_document() -> Document:
    """What a port serves that is both."""
    return _api_document({**_inference_paths(), **_management_paths()})


def inference_model_document(model: str) -> Document:
    """How one model is asked."""
    paths: Paths = {
        f"/predictions/{model}": {"post": operations.prediction(model, [])},
        f"/v1/models/{model}:predict": {"post": operations.prediction(f"{model}_v1", [])},
        f"/v2/models/{model}/infer": {"post": operations.prediction(f"{model}_v2", [])},
    }
    return _document(f"RESTful API for: {model}", "1.0.0", paths)


def management_model_document(model: str) -> Document:
    """How one model is managed."""
    return _document(f"RESTful Management API for: {model}", "1.0.0", _model_paths(f"/models/{model}", []))


def _api_document(paths: Paths) -> Document:
    return _document("TorchServe APIs", __version__, paths)


def _document(title: str, version: str, paths: Paths) -> Document:
    return {
        "openapi": "3.0.1",
        "info": {"title": title, "description": "TorchServe's APIs, served by Flambeau.", "version": version},
        "paths": paths,
        "components": components(),
        "security": [{}, {"token": []}],
    }


def _inference_paths() -> Paths:
    named = [MODEL_NAME]
    versioned = [MODEL_NAME, MODEL_VERSION]
    predictions = {
        "/predictions/{model_name}": operations.prediction("predictions", named),
        "/predictions/{model_name}/{model_version}": operations.prediction("version_predictions", versioned),
        "/v1/models/{model_name}:predict": operations.prediction("v1_predictions", named),
        "/v2/models/{model_name}/infer": operations.prediction("v2_predictions", named),
        "/explanations/{model_name}": operations.prediction("explanations", named),
        "/explanations/{model_name}/{model_version}": operations.prediction("version_explanations", versioned),
    }
    return {
        **_api_description_paths(),
        "/ping": {"get": operations.ping()},
        **{path: {"post": operation} for path, operation in predictions.items()},
        "/wfpredict/{workflow_name}": {"post": operations.workflow_prediction([WORKFLOW_NAME])},
        **_metrics_paths(),
    }


def _management_paths() -> Paths:
    return {
        **_api_description_paths(),
        "/models": {"get": operations.list_models(), "post": operations.register_model()},
        **_model_paths("/models/{model_name}", [MODEL_NAME]),
        "/v1/models/{model_name}": {"get": operations.model_readiness([MODEL_NAME])},
        "/workflows": {"get": operations.list_workflows(), "post": operations.register_workflow()},
        "/workflows/{workflow_name}": {
            "get": operations.describe_workflow([WORKFLOW_NAME]),
            "delete": operations.unregister_workflow([WORKFLOW_NAME]),
        },
        "/token": {"get": operations.renew_token()},
        **_metrics_paths(),
    }


def _model_paths(path: str, named: list[Parameter]) -> Paths:
    versioned = [*named, MODEL_VERSION]
    return {
        path: {
            "get": operations.describe_model("describeModel", named),
            "put": operations.scale_model("setAutoScale", named),
            "delete": operations.unregister_model("unregisterModel", named),
        },
        f"{path}/{{model_version}}": {
            "get": operations.describe_model("version_describeModel", versioned),
            "put": operations.scale_model("version_setAutoScale", versioned),
            "delete": operations.unregister_model("version_unregisterModel", versioned),
        },
        f"{path}/{{model_version}}/set-default": {"put": operations.set_default(versioned)},
    }


def _api_description_paths() -> Paths:
    return {
        "/": {"options": operations.api_description("apiDescription")},
        "/api-description": {"get": {**operations.api_description("api-description"), "deprecated": True}},
    }


def _metrics_paths() -> Paths:
    return {"/metrics": {"get": operations.metrics()}}
