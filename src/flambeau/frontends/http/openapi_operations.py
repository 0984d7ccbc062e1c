"""The operations that the OpenAPI documents describe, one function each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.frontends.http.openapi_parts import (
    PAGING,
    REGISTRATION,
    SCALING,
    WORKFLOW_REGISTRATION,
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
    return _operation("listModels", "List the models.", replies, PAGING)


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
    return _registration("registerModel", "Register a model, from the query or a JSON body.", replies, REGISTRATION)


def _registration(operation_id: str, description: str, replies: Replies, parameters: Sequence[Parameter]) -> Operation:
    # None is required in the query, because all may come in the body instead.
    operation = _operation(operation_id, description, replies, [{**one, "required": False} for one in parameters])
    properties = {one["name"]: {"description": one["description"], **one["schema"]} for one in parameters}
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


def workflow_prediction(parameters: Sequence[Parameter]) -> Operation:
    replies = {
        "200": json_reply("What the last node answers, or an object with the answer of each last node.", {}),
        **errors(
            {
                400: "The request cannot be understood.",
                404: "There is no such workflow.",
                500: "A node failed, or took too long.",
                503: "The queue of a node is full.",
            }
        ),
    }
    operation = _operation("workflow_predictions", "Send a request through a workflow.", replies, parameters)
    operation["requestBody"] = {"description": "What the first node takes.", "content": {"*/*": {}}}
    return operation


def list_workflows() -> Operation:
    replies = {"200": json_reply("Workflows, and their archives.", schema("WorkflowPage"))}
    return _operation("listWorkflows", "List the workflows.", replies, PAGING)


def register_workflow() -> Operation:
    replies = {
        **done(200, 202),
        **errors(
            {
                400: "A parameter, the archive or its graph is unusable.",
                404: "There is no archive at this URL.",
                409: "A workflow of this name is registered already.",
                500: "A node could not be started.",
            }
        ),
    }
    description = "Register a workflow, from the query or a JSON body."
    return _registration("registerWorkflow", description, replies, WORKFLOW_REGISTRATION)


def describe_workflow(parameters: Sequence[Parameter]) -> Operation:
    described = {"type": "array", "items": schema("WorkflowDescription")}
    replies = {"200": json_reply("The workflow.", described), **errors({404: "There is no such workflow."})}
    return _operation("describeWorkflow", "Describe a workflow.", replies, parameters)


def unregister_workflow(parameters: Sequence[Parameter]) -> Operation:
    replies = {
        **done(200),
        **errors({404: "There is no such workflow.", 408: "What it had accepted was not answered in time."}),
    }
    return _operation("unregisterWorkflow", "Unregister a workflow.", replies, parameters)
