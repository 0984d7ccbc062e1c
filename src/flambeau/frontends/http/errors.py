"""How errors look over HTTP: one table from :class:`ErrorKind` to status and type name, and the JSON body.

The type names are those of TorchServe's exceptions, because clients compare them.
"""

from __future__ import annotations

from starlette.responses import Response

from flambeau.errors import BadRequest, ErrorKind, ServingError
from flambeau.frontends.http.json import pretty

_STATUS_AND_TYPE: dict[ErrorKind, tuple[int, str]] = {
    ErrorKind.ROUTE_NOT_FOUND: (404, "ResourceNotFoundException"),
    ErrorKind.MODEL_NOT_FOUND: (404, "ModelNotFoundException"),
    ErrorKind.VERSION_NOT_FOUND: (404, "ModelVersionNotFoundException"),
    ErrorKind.METHOD_NOT_ALLOWED: (405, "MethodNotAllowedException"),
    ErrorKind.BAD_REQUEST: (400, "BadRequestException"),
    ErrorKind.PAYLOAD_TOO_LARGE: (413, "PayloadTooLargeException"),
    ErrorKind.UNAUTHORIZED: (400, "InvalidKeyException"),
    ErrorKind.INVALID_MODEL: (400, "InvalidModelException"),
    ErrorKind.DOWNLOAD_FAILED: (400, "DownloadArchiveException"),
    ErrorKind.CONFLICT: (409, "ConflictStatusException"),
    ErrorKind.DEFAULT_VERSION: (403, "InvalidModelVersionException"),
    ErrorKind.CLEANUP_TIMED_OUT: (408, "RequestTimeoutException"),
    ErrorKind.NO_WORKER: (503, "ServiceUnavailableException"),
    ErrorKind.OVERLOADED: (503, "ServiceUnavailableException"),
    ErrorKind.QUEUE_TIMED_OUT: (503, "ServiceUnavailableException"),
    ErrorKind.HANDLER_FAILED: (503, "InternalServerException"),
    ErrorKind.HANDLER_REJECTED: (500, "InternalServerException"),
    ErrorKind.OUT_OF_MEMORY: (507, "InternalServerException"),
    ErrorKind.WORKER_DIED: (500, "InternalServerException"),
    ErrorKind.START_FAILED: (500, "InternalServerException"),
    ErrorKind.WORKFLOW_NOT_FOUND: (404, "WorkflowNotFoundException"),
    ErrorKind.INVALID_WORKFLOW: (400, "InvalidWorkflowException"),
    ErrorKind.INVALID_GRAPH: (400, "InvalidDAGException"),
    ErrorKind.REGISTRATION_FAILED: (500, "WorkflowException"),
    ErrorKind.NODE_FAILED: (500, "InternalServerException"),
    ErrorKind.INTERNAL: (500, "InternalServerException"),
}


def error_status(error: ServingError) -> int:
    """The status to answer with: the one that the handler chose, else the one of the error's kind.

    A handler's 413 becomes 507, as in TorchServe. A status that is not an error's (below 400 or above 599) would tell
    the client something untrue, or break the framing of the reply: it is answered as 500.
    """
    chosen = error.status
    if chosen is None:
        return _STATUS_AND_TYPE[error.kind][0]
    if chosen == 413:
        return 507
    return chosen if 400 <= chosen <= 599 else 500


def error_body(error: ServingError, target: bytes = b"") -> bytes:
    """``{"code", "type", "message"}``, and ``"error"``, which the Open Inference Protocol asks for, on its routes.

    Args:
        target: of the request.
    """
    _, type_name = _STATUS_AND_TYPE[error.kind]
    body: dict[str, object] = {"code": error_status(error), "type": type_name, "message": error.message}
    if target.startswith(b"/v2"):
        body["error"] = error.message
    return pretty(body)


def error_headers(error: ServingError) -> list[tuple[bytes, bytes]]:
    """What an error's reply says beside the content type and the common headers: ``Retry-After``, where it is known."""
    if error.retry_after_s is None:
        return []
    return [(b"retry-after", b"%d" % error.retry_after_s)]


def error_response(error: ServingError, target: bytes = b"") -> Response:
    """The whole reply. ``target``: of the request."""
    response = Response(error_body(error, target), error_status(error), media_type="application/json")
    response.raw_headers.extend(error_headers(error))
    return response


def malformed(detail: str) -> BadRequest:
    """A request that is not what HTTP, its content type or its encoding promise; ``detail`` is a sentence."""
    return BadRequest(f"Invalid HTTP message. {detail}")
