"""The OpenAPI documents of each port and of single models.

Paths and operation ids are TorchServe's, where they are valid: an operation id stands once in a document, and a
default is the value that this server uses. What Flambeau adds is described beside them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from flambeau.api import ModelDescription, ModelPage
from flambeau.version import __version__

Document = dict[str, Any]
Operation = dict[str, Any]
Paths = dict[str, dict[str, Operation]]

_SCHEMA_PLACE = "#/components/schemas/{name}"


def inference_document() -> Document:
    """What the inference port serves."""
    return _document(_API_TITLE, __version__, _inference_paths())


def management_document() -> Document:
    """What the management port serves."""
    return _document(_API_TITLE, __version__, _management_paths())


def metrics_document() -> Document:
    """What the metrics port serves."""
    return _document(_API_TITLE, __version__, _metrics_paths())


def combined_document() -> Document:
    """What a port serves that is both."""
    return _document(_API_TITLE, __version__, {**_inference_paths(), **_management_paths()})


def inference_model_document(model: str) -> Document:
    """How one model is asked for predictions."""
    paths: Paths = {
        f"/predictions/{model}": {"post": _prediction(model)},
        f"/v1/models/{model}:predict": {"post": _prediction(f"{model}_v1")},
        f"/v2/models/{model}/infer": {"post": _prediction(f"{model}_v2")},
    }
    return _document(f"RESTful API for: {model}", "1.0.0", paths)


def management_model_document(model: str) -> Document:
    """How one model is managed."""
    paths: Paths = {
        f"/models/{model}": {
            "get": _describe_model("describeModel", []),
            "put": _scale_model("setAutoScale", []),
            "delete": _unregister_model("unregisterModel", []),
        },
        f"/models/{model}/{{model_version}}": {
            "get": _describe_model("version_describeModel", [_MODEL_VERSION]),
            "put": _scale_model("version_setAutoScale", [_MODEL_VERSION]),
            "delete": _unregister_model("version_unregisterModel", [_MODEL_VERSION]),
        },
        f"/models/{model}/{{model_version}}/set-default": {"put": _set_default([_MODEL_VERSION])},
    }
    return _document(f"RESTful Management API for: {model}", "1.0.0", paths)


def _document(title: str, version: str, paths: Paths) -> Document:
    return {
        "openapi": "3.0.1",
        "info": {"title": title, "description": "TorchServe's APIs, served by Flambeau.", "version": version},
        "paths": paths,
        "components": {"headers": {"RequestId": _REQUEST_ID}, "schemas": _SCHEMAS, "securitySchemes": _SECURITY},
        "security": [{}, {"token": []}],
    }


# Parameters


def _parameter(
    name: str, kind: str, description: str, default: object = None, *, required: bool = False, place: str = "query"
) -> Operation:
    schema: dict[str, Any] = {"type": kind}
    if default is not None:
        schema["default"] = default
    return {"in": place, "name": name, "description": description, "required": required, "schema": schema}


def _runtime() -> Operation:
    parameter = _parameter("runtime", "string", "The language of the handler. Default: what the archive says.")
    parameter["schema"]["enum"] = ["python", "python3", "LSP"]
    return parameter


_API_TITLE = "TorchServe APIs"
_REQUEST_ID = {"description": "A new id for each request, also in the logs.", "schema": {"type": "string"}}
_SECURITY = {"token": {"type": "http", "scheme": "bearer", "description": "The port's key, where tokens are on."}}
_MODEL_NAME = _parameter("model_name", "string", "Name of the model.", required=True, place="path")
_MODEL_VERSION = _parameter("model_version", "string", "Version of the model.", required=True, place="path")
_S3_SSE_KMS = _parameter("s3_sse_kms", "boolean", "Whether the archive is encrypted by S3 with KMS.", False)

_REGISTRATION = [
    _parameter("url", "string", "Archive or folder in the model store, or a URL.", required=True),
    _parameter("model_name", "string", "Name to serve it under. Default: what the archive says."),
    _parameter("handler", "string", "Entry point. Default: what the archive says."),
    _runtime(),
    _parameter("batch_size", "integer", "Most requests in a batch. Default: the model's configuration, else 1."),
    _parameter(
        "max_batch_delay",
        "integer",
        "Longest wait for a batch to fill, in milliseconds. Default: the model's configuration, else 100.",
    ),
    _parameter("response_timeout", "integer", "Longest time for an answer, in seconds. Default: the server's."),
    _parameter("startup_timeout", "integer", "Longest time to load the model, in seconds. Default: the server's."),
    _parameter("initial_workers", "integer", "Workers to start. Default: default_workers_per_model."),
    _parameter("synchronous", "boolean", "Whether to answer when the workers are ready.", True),
    _S3_SSE_KMS,
]

_SCALING = [
    _parameter("min_worker", "integer", "Fewest workers. Default: 1, or as they are where a setting is given."),
    _parameter("max_worker", "integer", "Most workers. Default: min_worker."),
    _parameter("number_gpu", "integer", "Accepted and not used.", 0),
    _parameter("synchronous", "boolean", "Whether to answer when the workers are ready.", False),
    _parameter("timeout", "integer", "Accepted and not used.", -1),
    _parameter("batch_size", "integer", "Most requests in a batch, from now on."),
    _parameter("max_batch_delay", "integer", "Longest wait for a batch to fill, in milliseconds, from now on."),
    _parameter("response_timeout", "integer", "Longest time for an answer, in seconds, from now on."),
]


# Replies


def _reply(description: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
    reply: dict[str, Any] = {
        "description": description,
        "headers": {"x-request-id": {"$ref": "#/components/headers/RequestId"}},
    }
    if content is not None:
        reply["content"] = content
    return reply


def _json_reply(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return _reply(description, {"application/json": {"schema": schema}})


def _component(name: str) -> dict[str, str]:
    return {"$ref": _SCHEMA_PLACE.format(name=name)}


def _errors(**descriptions: str) -> dict[str, Any]:
    """Replies with the error body: ``_404="…"``."""
    return {status[1:]: _json_reply(text, _component("Error")) for status, text in descriptions.items()}


def _done(*statuses: int) -> dict[str, Any]:
    descriptions = {200: "Done.", 202: "Accepted; workers are being changed.", 206: "Workers are still being changed."}
    return {str(status): _json_reply(descriptions[status], _component("Status")) for status in statuses}


def _schemas() -> dict[str, Any]:
    any_json = {"description": "Any JSON value."}
    _, schemas = msgspec.json.schema_components(
        (ModelDescription, ModelPage), schema_hook=lambda _: any_json, ref_template=_SCHEMA_PLACE
    )
    text = {"type": "string"}
    error = {"code": {"type": "integer", "description": "The status."}, "type": text, "message": text}
    return {
        "Error": {"type": "object", "required": ["code", "type", "message"], "properties": error},
        "Status": {"type": "object", "required": ["status"], "properties": {"status": text}},
        **schemas,
    }


_SCHEMAS = _schemas()


# Operations


def _operation(
    operation_id: str, description: str, responses: dict[str, Any], parameters: list[Operation] | None = None
) -> Operation:
    return {
        "description": description,
        "operationId": operation_id,
        "parameters": parameters or [],
        "responses": responses,
    }


def _prediction(operation_id: str, parameters: list[Operation] | None = None) -> Operation:
    responses = {
        "200": _reply("What the handler answers.", {"*/*": {}}),
        **_errors(
            _404="There is no such model or version.",
            _500="The worker died.",
            _503="The handler failed, the queue is full, or the model has no worker.",
            _507="The handler ran out of memory.",
        ),
    }
    operation = _operation(operation_id, "Predict with a model.", responses, parameters)
    operation["requestBody"] = {
        "description": "What the handler takes: the raw input, or a form with a field for each part of it.",
        "content": {"*/*": {}},
    }
    return operation


def _api_description_paths() -> Paths:
    document = {"200": _json_reply("An OpenAPI document.", {"type": "object"})}
    deprecated = _operation("api-description", "This document; OPTIONS / is the way to ask for it.", document)
    return {
        "/": {"options": _operation("apiDescription", "This document.", document)},
        "/api-description": {"get": {**deprecated, "deprecated": True}},
    }


def _metrics_paths() -> Paths:
    names = _parameter("name[]", "array", "Samples to show. Default: all.")
    names["schema"]["items"] = {"type": "string"}
    text = {"200": _reply("Prometheus' text format.", {"text/plain": {"schema": {"type": "string"}}})}
    return {"/metrics": {"get": _operation("metrics", "The server's and the models' metrics.", text, [names])}}


def _inference_paths() -> Paths:
    health = {
        "200": _json_reply("Every model has its workers, or may still get them.", _component("Status")),
        "500": _json_reply("A model has fewer workers than it should have.", _component("Status")),
    }
    named = [_MODEL_NAME]
    versioned = [_MODEL_NAME, _MODEL_VERSION]
    return {
        **_api_description_paths(),
        "/ping": {"get": _operation("ping", "The server's health.", health)},
        "/predictions/{model_name}": {"post": _prediction("predictions", named)},
        "/predictions/{model_name}/{model_version}": {"post": _prediction("version_predictions", versioned)},
        "/v1/models/{model_name}:predict": {"post": _prediction("v1_predictions", named)},
        "/v2/models/{model_name}/infer": {"post": _prediction("v2_predictions", named)},
        "/explanations/{model_name}": {"post": _prediction("explanations", named)},
        "/explanations/{model_name}/{model_version}": {"post": _prediction("version_explanations", versioned)},
        **_metrics_paths(),
    }


def _management_paths() -> Paths:
    named = [_MODEL_NAME]
    versioned = [_MODEL_NAME, _MODEL_VERSION]
    return {
        **_api_description_paths(),
        "/models": {"get": _list_models(), "post": _register_model()},
        "/models/{model_name}": {
            "get": _describe_model("describeModel", named),
            "put": _scale_model("setAutoScale", named),
            "delete": _unregister_model("unregisterModel", named),
        },
        "/models/{model_name}/{model_version}": {
            "get": _describe_model("version_describeModel", versioned),
            "put": _scale_model("version_setAutoScale", versioned),
            "delete": _unregister_model("version_unregisterModel", versioned),
        },
        "/models/{model_name}/{model_version}/set-default": {"put": _set_default(versioned)},
        "/v1/models/{model_name}": {"get": _model_readiness(named)},
        "/token": {"get": _renew_token()},
        **_metrics_paths(),
    }


def _list_models() -> Operation:
    parameters = [
        _parameter("limit", "integer", "Most models to list, up to 100.", 100),
        _parameter("next_page_token", "string", "Where to go on: nextPageToken of the reply before."),
    ]
    replies = {"200": _json_reply("Models and the archives of their default versions.", _component("ModelPage"))}
    return _operation("listModels", "List the models.", replies, parameters)


def _register_model() -> Operation:
    properties = {parameter["name"]: parameter["schema"] for parameter in _REGISTRATION}
    body = {"type": "object", "required": ["url"], "properties": properties}
    replies = {
        **_done(200, 202),
        **_errors(
            _400="A parameter or the archive is unusable.",
            _404="There is no archive at this URL.",
            _405="The model API is off (enable_model_api).",
            _409="This version of the model is registered already.",
            _500="The workers could not be started.",
            _507="The model does not fit into memory.",
        ),
    }
    # The parameters are optional in the query because they may come in the body instead.
    in_query = [{**parameter, "required": False} for parameter in _REGISTRATION]
    operation = _operation("registerModel", "Register a model, from query or JSON body.", replies, in_query)
    operation["requestBody"] = {"content": {"application/json": {"schema": body}}}
    return operation


def _describe_model(operation_id: str, parameters: list[Operation]) -> Operation:
    customized = _parameter("customized", "boolean", "Whether to ask the handler about itself too.", False)
    replies = {
        "200": _json_reply("One object for each version.", {"type": "array", "items": _component("ModelDescription")}),
        **_errors(
            _404="There is no such model or version.",
            _503="The model has no worker to ask about itself.",
        ),
    }
    return _operation(operation_id, "Describe a model.", replies, [*parameters, customized])


def _scale_model(operation_id: str, parameters: list[Operation]) -> Operation:
    replies = {
        **_done(200, 202, 206),
        **_errors(
            _400="A parameter is unusable.",
            _404="There is no such model or version.",
            _500="The workers could not be started.",
        ),
    }
    return _operation(operation_id, "Change a model's workers and batching.", replies, [*parameters, *_SCALING])


def _unregister_model(operation_id: str, parameters: list[Operation]) -> Operation:
    replies = {
        **_done(200),
        **_errors(
            _403="This is the default version and there are others.",
            _404="There is no such model or version.",
            _405="The model API is off (enable_model_api).",
            _408="The workers did not end in time.",
        ),
    }
    return _operation(operation_id, "Unregister a version of a model, by default its default.", replies, parameters)


def _set_default(parameters: list[Operation]) -> Operation:
    replies = {**_done(200), **_errors(_404="There is no such model or version.")}
    return _operation("setDefault", "Make a version the default.", replies, parameters)


def _model_readiness(parameters: list[Operation]) -> Operation:
    readiness = {"type": "object", "properties": {"name": {"type": "string"}, "ready": {"type": "boolean"}}}
    replies = {
        "200": _json_reply("Whether the model has a worker.", readiness),
        **_errors(_404="There is no such model."),
    }
    return _operation("modelReady", "KServe's readiness of a model.", replies, parameters)


def _renew_token() -> Operation:
    key_type = _parameter("type", "string", "The key to replace.", required=True)
    key_type["schema"]["enum"] = ["management", "inference"]
    replies = {
        "200": _reply("The key file has the new key."),
        **_errors(_400="The API key or the type is wrong."),
    }
    return _operation("renewToken", "Replace a key; needs the API key. Only where tokens are on.", replies, [key_type])
