"""The operations that the OpenAPI documents describe, one function each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.frontends.http.openapi_parts import (
    REGISTRATION,
    SCALING,
    Parameter,
    Replies,
    done,
    errors,
    json_reply,
    parameter,
    reply,
    schema,
)

Operation = dict[str, Any]


def _operation(
    operation_id: str, description: str, replies: Replies, parameters: Sequence[Parameter] = ()
) -> Operation:
    return {
        "description": description,
        "operationId": operation_id,
        "parameters": list(parameters),
        "responses": replies,
    }


def api_description(operation_id: str) -> Operation:
    document = {"200": json_reply("An OpenAPI document.", {"type": "object"})}
    return _operation(operation_id, "Describe the API of this port.", document)


def ping() -> Operation:
    replies = {
        "200": json_reply("Every model has its workers, or may still get them.", schema("Status")),
        "500": json_reply("A model has fewer workers than it should have.", schema("Status")),
    }
    return _operation("ping", "The server's health.", replies)


def metrics() -> Operation:
    text = {"200": reply("Prometheus' text format.", {"text/plain": {"schema": {"type": "string"}}})}
    names = parameter("name[]", "array", "Samples to show. Default: all.")
    return _operation("metrics", "The server's and the models' metrics.", text, [names])


def prediction(operation_id: str, parameters: Sequence[Parameter]) -> Operation:
    replies = {
        "200": reply("What the handler answers.", {"*/*": {}}),
        **errors(
            {
                400: "The request cannot be understood.",
                404: "There is no such model or version.",
                500: "The worker died.",
                503: "The handler failed, the queue is full, or the model has no worker.",
                507: "The handler ran out of memory.",
            }
        ),
    }
    operation = _operation(operation_id, "Ask a model.", replies, parameters)
    operation["requestBody"] = {
        "description": "What the handler takes: the raw input, or a form with a field for each part of it.",
        "content": {"*/*": {}},
    }
    return operation


def list_models() -> Operation:
    replies = {"200": json_reply("Models, and the archives of their default versions.", schema("ModelPage"))}
    parameters = [
        parameter("limit", "integer", "Most models to list, up to 100.", 100),
        parameter("next_page_token", "string", "Where to go on: nextPageToken of the reply before."),
    ]
    return _operation("listModels", "List the models.", replies, parameters)


def register_model() -> Operation:
    replies = {
        **done(200, 202),
        **errors(
            {
                400: "A parameter or the archive is unusable.",
                404: "There is no archive at this URL.",
                405: "The model API is off (enable_model_api).",
                409: "This version of the model is registered already.",
                500: "The workers could not be started.",
                507: "The model does not fit into memory.",
            }
        ),
    }
    # None is required in the query, because all may come in the body instead.
    in_query = [{**one, "required": False} for one in REGISTRATION]
    operation = _operation("registerModel", "Register a model, from the query or a JSON body.", replies, in_query)
    properties = {one["name"]: {"description": one["description"], **one["schema"]} for one in REGISTRATION}
    body = {"type": "object", "required": ["url"], "properties": properties}
    operation["requestBody"] = {"content": {"application/json": {"schema": body}}}
    return operation


def describe_model(operation_id: str, parameters: Sequence[Parameter]) -> Operation:
    customized = parameter("customized", "boolean", "Whether to ask the handler about itself too.", False)
    replies = {
        "200": json_reply("One object for each version.", {"type": "array", "items": schema("ModelDescription")}),
        **errors({404: "There is no such model or version.", 503: "The model has no worker to ask about itself."}),
    }
    return _operation(operation_id, "Describe a model.", replies, [*parameters, customized])


def scale_model(operation_id: str, parameters: Sequence[Parameter]) -> Operation:
    replies = {
        **done(200, 202, 206),
        **errors(
            {
                400: "A parameter is unusable.",
                404: "There is no such model or version.",
                500: "The workers could not be started.",
            }
        ),
    }
    return _operation(operation_id, "Change a model's workers and batching.", replies, [*parameters, *SCALING])


def unregister_model(operation_id: str, parameters: Sequence[Parameter]) -> Operation:
    replies = {
        **done(200),
        **errors(
            {
                403: "This is the default version and there are others.",
                404: "There is no such model or version.",
                405: "The model API is off (enable_model_api).",
                408: "The workers did not end in time.",
            }
        ),
    }
    return _operation(operation_id, "Unregister a version, by default the default version.", replies, parameters)


def set_default(parameters: Sequence[Parameter]) -> Operation:
    replies = {**done(200), **errors({404: "There is no such model or version."})}
    return _operation("setDefault", "Make a version the default.", replies, parameters)


def model_readiness(parameters: Sequence[Parameter]) -> Operation:
    readiness = {"type": "object", "properties": {"name": {"type": "string"}, "ready": {"type": "boolean"}}}
    replies = {
        "200": json_reply("Whether the model has a worker.", readiness),
        **errors({404: "There is no such model."}),
    }
    return _operation("modelReady", "KServe's readiness of a model.", replies, parameters)


def renew_token() -> Operation:
    replies = {"200": reply("The key file has the new key."), **errors({400: "The API key or the type is wrong."})}
    key_type = parameter("type", "string", "The key to replace.", choices=("management", "inference"), required=True)
    return _operation("renewToken", "Replace a key, with the API key. Only where tokens are on.", replies, [key_type])
