"""gRPC's statuses, and what HTTP's mean in them."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """How a call ended, by the numbers of the wire."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


_OF_HTTP = {
    400: Status.INVALID_ARGUMENT,
    401: Status.UNAUTHENTICATED,
    403: Status.PERMISSION_DENIED,
    404: Status.NOT_FOUND,
    409: Status.ABORTED,
    413: Status.RESOURCE_EXHAUSTED,
    416: Status.OUT_OF_RANGE,
    429: Status.RESOURCE_EXHAUSTED,
    499: Status.CANCELLED,
    501: Status.UNIMPLEMENTED,
    503: Status.UNAVAILABLE,
    504: Status.DEADLINE_EXCEEDED,
}


def status_of_http(code: int) -> Status:
    """The status of a failure that a handler named by an HTTP status: TorchServe's table.

    A handler that fails with a status of success has contradicted itself: UNKNOWN, as for numbers that mean nothing.
    """
    if code in _OF_HTTP:
        return _OF_HTTP[code]
    if 400 <= code < 500:
        return Status.FAILED_PRECONDITION
    return Status.INTERNAL if 500 <= code < 600 else Status.UNKNOWN
