"""What the OpenAPI documents are made of: parameters, replies, schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from flambeau.api import ModelDescription, ModelPage, WorkflowDescription, WorkflowPage

Parameter = dict[str, Any]
Replies = dict[str, Any]
"""By status."""

_SCHEMA_PLACE = "#/components/schemas/{name}"


def parameter(
    name: str,
    kind: str,
    description: str,
    default: object = None,
    *,
    choices: Sequence[str] = (),
    required: bool = False,
    place: str = "query",
) -> Parameter:
    """One parameter of an operation; ``kind`` is JSON Schema's type, of the items where it is ``array``."""
    schema: dict[str, Any] = {"type": kind}
    if kind == "array":
        schema["items"] = {"type": "string"}
    if default is not None:
        schema["default"] = default
    if choices:
        schema["enum"] = list(choices)
    return {"in": place, "name": name, "description": description, "required": required, "schema": schema}


MODEL_NAME = parameter("model_name", "string", "Name of the model.", required=True, place="path")
MODEL_VERSION = parameter("model_version", "string", "Version of the model.", required=True, place="path")
WORKFLOW_NAME = parameter("workflow_name", "string", "Name of the workflow.", required=True, place="path")

PAGING = [
    parameter("limit", "integer", "Most to list, up to 100.", 100),
    parameter("next_page_token", "string", "Where to go on: nextPageToken of the reply before."),
]

REGISTRATION = [
    parameter("url", "string", "Archive or folder in the model store, or a URL.", required=True),
    parameter("model_name", "string", "Name to serve it under. Default: what the archive says."),
    parameter("handler", "string", "Entry point. Default: what the archive says."),
    parameter("runtime", "string", "Default: what the archive says.", choices=("python", "python3", "LSP")),
    parameter("batch_size", "integer", "Most requests in a batch. Default: the model's configuration, else 1."),
    parameter(
        "max_batch_delay",
        "integer",
        "Longest wait for a batch to fill, in milliseconds. Default: the model's configuration, else 100.",
    ),
    parameter("response_timeout", "integer", "Longest time for an answer, in seconds. Default: the server's."),
    parameter("startup_timeout", "integer", "Longest time to load the model, in seconds. Default: the server's."),
    parameter("initial_workers", "integer", "Workers to start. Default: default_workers_per_model."),
    parameter("synchronous", "boolean", "Whether to answer when the workers are ready.", True),
    parameter("s3_sse_kms", "boolean", "Not supported: true is refused.", False),
]

SCALING = [
    parameter("min_worker", "integer", "Fewest workers. Default: 1, or as they are where a setting is given."),
    parameter("max_worker", "integer", "Most workers. Default: min_worker."),
    parameter("number_gpu", "integer", "Accepted and not used.", 0),
    parameter("synchronous", "boolean", "Whether to answer when the workers are ready.", False),
    parameter("timeout", "integer", "Accepted and not used.", -1),
    parameter("batch_size", "integer", "Most requests in a batch, from now on."),
    parameter("max_batch_delay", "integer", "Longest wait for a batch to fill, in milliseconds, from now on."),
    parameter("response_timeout", "integer", "Longest time for an answer, in seconds, from now on."),
]


WORKFLOW_REGISTRATION = [
    parameter("url", "string", "Archive or folder in the workflow store, or a URL.", required=True),
    parameter("workflow_name", "string", "Name to serve it under. Default: what the archive says."),
    parameter("response_timeout", "integer", "Of every node, in seconds. Default: the server's."),
    parameter("startup_timeout", "integer", "Of every node, in seconds. Default: the server's."),
    parameter("synchronous", "boolean", "Whether to answer when all nodes are ready.", True),
    parameter("s3_sse_kms", "boolean", "Not supported: true is refused.", False),
]


def reply(description: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
    """One reply; ``content`` is by media type, None where nothing is promised about the body."""
    described: dict[str, Any] = {
        "description": description,
        "headers": {"x-request-id": {"$ref": "#/components/headers/RequestId"}},
    }
    if content is not None:
        described["content"] = content
    return described


def json_reply(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    """One reply with a JSON body."""
    return reply(description, {"application/json": {"schema": schema}})


def schema(name: str) -> dict[str, str]:
    """A reference to one of the schemas of :func:`components`."""
    return {"$ref": _SCHEMA_PLACE.format(name=name)}


def done(*statuses: int) -> Replies:
    """Replies with the status body."""
    descriptions = {200: "Done.", 202: "Accepted; workers are being changed.", 206: "Workers are still being changed."}
    return {str(status): json_reply(descriptions[status], schema("Status")) for status in statuses}


def errors(descriptions: Mapping[int, str]) -> Replies:
    """Replies with the error body."""
    return {str(status): json_reply(text, schema("Error")) for status, text in descriptions.items()}


def components() -> dict[str, Any]:
    """What the references in the other parts point to. Descriptions of models are taken from the types themselves."""
    any_json = {"description": "Any JSON value."}
    _, schemas = msgspec.json.schema_components(
        (ModelDescription, ModelPage, WorkflowDescription, WorkflowPage),
        schema_hook=lambda _: any_json,
        ref_template=_SCHEMA_PLACE,
    )
    schemas = msgspec.json.decode(msgspec.json.encode(schemas))  # defaults that are tuples become lists
    for described in schemas.values():
        if not described.get("required", True):
            del described["required"]  # OpenAPI 3.0 has no empty list of required members
    text = {"type": "string"}
    error = {"code": {"type": "integer", "description": "The status."}, "type": text, "message": text}
    schemas["Error"] = {"type": "object", "required": list(error), "properties": error}
    schemas["Status"] = {"type": "object", "required": ["status"], "properties": {"status": text}}
    return {
        "headers": {"RequestId": {"description": "The request's id, as in the logs.", "schema": text}},
        "schemas": schemas,
        "securitySchemes": {
            "token": {"type": "http", "scheme": "bearer", "description": "The port's key, where tokens are on."}
        },
    }
