"""How errors look over gRPC: tables from :class:`ErrorKind` to status and class name, and the text.

The text of a failed call is the sentence that HTTP's clients get, and below it the name of the Java class that stood
for the error in TorchServe, because clients compare it. The inference API says INTERNAL to what the management API
tells apart; that is TorchServe's doing, too.
"""

from __future__ import annotations

from collections.abc import Mapping

from flambeau.errors import ErrorKind, ServingError
from flambeau.frontends.grpc.status import Status, status_of_http

ErrorTable = Mapping[ErrorKind, tuple[Status, str]]
"""Status, and the class name; empty: the text is the sentence alone."""

_MODEL = "org.pytorch.serve.archive.model.ModelException"
_MODEL_NOT_FOUND = "org.pytorch.serve.archive.model.ModelNotFoundException"
_VERSION_NOT_FOUND = "org.pytorch.serve.archive.model.ModelVersionNotFoundException"
_INVALID_MODEL = "org.pytorch.serve.archive.model.InvalidModelException"
_DOWNLOAD = "org.pytorch.serve.archive.DownloadArchiveException"
_BAD_REQUEST = "org.pytorch.serve.http.BadRequestException"
_INTERNAL = "org.pytorch.serve.http.InternalServerException"

INFERENCE_ERRORS: ErrorTable = {
    ErrorKind.ROUTE_NOT_FOUND: (Status.UNIMPLEMENTED, ""),
    ErrorKind.MODEL_NOT_FOUND: (Status.INTERNAL, _MODEL_NOT_FOUND),
    ErrorKind.VERSION_NOT_FOUND: (Status.INTERNAL, _VERSION_NOT_FOUND),
    ErrorKind.METHOD_NOT_ALLOWED: (Status.PERMISSION_DENIED, _MODEL),
    ErrorKind.BAD_REQUEST: (Status.INTERNAL, "BadRequestException.()"),
    ErrorKind.PAYLOAD_TOO_LARGE: (Status.RESOURCE_EXHAUSTED, ""),
    ErrorKind.UNAUTHORIZED: (Status.PERMISSION_DENIED, ""),
    ErrorKind.INVALID_MODEL: (Status.INVALID_ARGUMENT, _INVALID_MODEL),
    ErrorKind.DOWNLOAD_FAILED: (Status.INVALID_ARGUMENT, _DOWNLOAD),
    ErrorKind.CONFLICT: (Status.ALREADY_EXISTS, _MODEL),
    ErrorKind.DEFAULT_VERSION: (Status.FAILED_PRECONDITION, _MODEL),
    ErrorKind.CLEANUP_TIMED_OUT: (Status.FAILED_PRECONDITION, _INTERNAL),
    ErrorKind.NO_WORKER: (Status.INTERNAL, "InternalServerException.()"),
    ErrorKind.OVERLOADED: (Status.INTERNAL, "InternalServerException.()"),
    ErrorKind.QUEUE_TIMED_OUT: (Status.UNAVAILABLE, _INTERNAL),
    ErrorKind.HANDLER_FAILED: (Status.UNAVAILABLE, _INTERNAL),
    ErrorKind.HANDLER_REJECTED: (Status.INTERNAL, _INTERNAL),
    ErrorKind.OUT_OF_MEMORY: (Status.INTERNAL, _INTERNAL),
    ErrorKind.WORKER_DIED: (Status.INTERNAL, _INTERNAL),
    ErrorKind.START_FAILED: (Status.INTERNAL, _INTERNAL),
    # TorchServe has no gRPC API for workflows; these keep the table complete.
    ErrorKind.WORKFLOW_NOT_FOUND: (Status.NOT_FOUND, ""),
    ErrorKind.INVALID_WORKFLOW: (Status.INVALID_ARGUMENT, ""),
    ErrorKind.INVALID_GRAPH: (Status.INVALID_ARGUMENT, ""),
    ErrorKind.REGISTRATION_FAILED: (Status.INTERNAL, _INTERNAL),
    ErrorKind.NODE_FAILED: (Status.INTERNAL, _INTERNAL),
    ErrorKind.INTERNAL: (Status.INTERNAL, _INTERNAL),
}

MANAGEMENT_ERRORS: ErrorTable = {
    **INFERENCE_ERRORS,
    ErrorKind.MODEL_NOT_FOUND: (Status.NOT_FOUND, _MODEL_NOT_FOUND),
    ErrorKind.VERSION_NOT_FOUND: (Status.NOT_FOUND, _VERSION_NOT_FOUND),
    ErrorKind.BAD_REQUEST: (Status.INVALID_ARGUMENT, _BAD_REQUEST),
}


def error_status(error: ServingError, table: ErrorTable) -> Status:
    """The status to end a call with: the one that the handler chose, else the one of the error's kind."""
    if error.status is not None:
        return status_of_http(error.status)
    return table[error.kind][0]


def error_marker(error: ServingError, table: ErrorTable) -> str:
    """The class name."""
    return table[error.kind][1]


def error_text(error: ServingError, table: ErrorTable) -> str:
    """The sentence and, on a line of its own, the class name."""
    marker = error_marker(error, table)
    return f"{error.message}\n{marker}" if marker else error.message


class ModelApiDisabled(ServingError):
    """Clients may not register and unregister models on this server."""

    kind = ErrorKind.METHOD_NOT_ALLOWED

    def __init__(self) -> None:
        super().__init__("Model API disabled")
