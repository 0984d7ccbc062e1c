"""Errors over gRPC: complete tables, TorchServe's statuses, HTTP's sentences."""

from __future__ import annotations

import msgspec
import pytest

from flambeau.errors import (
    AlreadyRegistered,
    BadRequest,
    ErrorKind,
    HandlerFailed,
    HandlerRejected,
    ModelNotFound,
    NoWorker,
    OutOfMemory,
    QueueFull,
    ServingError,
    StartFailed,
    Unauthorized,
    VersionNotFound,
    WorkerDied,
)
from flambeau.frontends.grpc.errors import (
    INFERENCE_ERRORS,
    MANAGEMENT_ERRORS,
    ModelApiDisabled,
    error_status,
    error_text,
)
from flambeau.frontends.grpc.open_inference import MODEL_ERRORS
from flambeau.frontends.grpc.status import Status, status_of_http
from flambeau.frontends.http.errors import error_body

NOT_FOUND = "org.pytorch.serve.archive.model.ModelNotFoundException"
INTERNAL = "org.pytorch.serve.http.InternalServerException"


@pytest.mark.parametrize(
    "table", [INFERENCE_ERRORS, MANAGEMENT_ERRORS, MODEL_ERRORS], ids=["inference", "management", "oip"]
)
def test_every_kind_of_error_has_a_status_other_than_ok(table):
    assert set(table) == set(ErrorKind)
    assert Status.OK not in {status for status, _ in table.values()}


@pytest.mark.parametrize(
    ("error", "status", "marker"),
    [
        (BadRequest("b"), Status.INTERNAL, "BadRequestException.()"),
        (ModelNotFound.named("m"), Status.INTERNAL, NOT_FOUND),
        (VersionNotFound("m", "1"), Status.INTERNAL, NOT_FOUND.replace("ModelNot", "ModelVersionNot")),
        (NoWorker("m"), Status.INTERNAL, "InternalServerException.()"),
        (QueueFull("m", "100 jobs"), Status.INTERNAL, "InternalServerException.()"),
        (HandlerFailed(), Status.UNAVAILABLE, INTERNAL),
        (HandlerRejected("r", 404), Status.NOT_FOUND, INTERNAL),
        (HandlerRejected("r", 418), Status.FAILED_PRECONDITION, INTERNAL),
        (HandlerRejected("r", 413), Status.RESOURCE_EXHAUSTED, INTERNAL),
        (OutOfMemory(), Status.INTERNAL, INTERNAL),
        (WorkerDied(), Status.INTERNAL, INTERNAL),
        (Unauthorized("u"), Status.PERMISSION_DENIED, ""),
    ],
)
def test_predictions_fail_as_in_torchserve(error, status, marker):
    assert error_status(error, INFERENCE_ERRORS) is status
    assert error_text(error, INFERENCE_ERRORS) == (f"{error.message}\n{marker}" if marker else error.message)


@pytest.mark.parametrize(
    ("error", "status", "marker"),
    [
        (BadRequest("b"), Status.INVALID_ARGUMENT, "org.pytorch.serve.http.BadRequestException"),
        (ModelNotFound.named("m"), Status.NOT_FOUND, NOT_FOUND),
        (VersionNotFound("m", "1"), Status.NOT_FOUND, NOT_FOUND.replace("ModelNot", "ModelVersionNot")),
        (ModelApiDisabled(), Status.PERMISSION_DENIED, "org.pytorch.serve.archive.model.ModelException"),
        (StartFailed("m", "1"), Status.INTERNAL, INTERNAL),
        (NoWorker("m", purpose="describe"), Status.INTERNAL, "InternalServerException.()"),
        (AlreadyRegistered("m", "1"), Status.ALREADY_EXISTS, "org.pytorch.serve.archive.model.ModelException"),
    ],
)
def test_management_fails_as_in_torchserve(error, status, marker):
    assert error_status(error, MANAGEMENT_ERRORS) is status
    assert error_text(error, MANAGEMENT_ERRORS) == f"{error.message}\n{marker}"


@pytest.mark.parametrize("kind", ErrorKind)
def test_the_sentence_is_the_one_that_http_says(kind):
    error = ServingError("words for the client")
    error.kind = kind
    sentence = msgspec.json.decode(error_body(error))["message"]
    assert error_text(error, INFERENCE_ERRORS).splitlines()[0] == sentence


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (400, Status.INVALID_ARGUMENT),
        (401, Status.UNAUTHENTICATED),
        (403, Status.PERMISSION_DENIED),
        (404, Status.NOT_FOUND),
        (405, Status.FAILED_PRECONDITION),
        (409, Status.ABORTED),
        (413, Status.RESOURCE_EXHAUSTED),
        (416, Status.OUT_OF_RANGE),
        (418, Status.FAILED_PRECONDITION),
        (429, Status.RESOURCE_EXHAUSTED),
        (499, Status.CANCELLED),
        (500, Status.INTERNAL),
        (501, Status.UNIMPLEMENTED),
        (503, Status.UNAVAILABLE),
        (504, Status.DEADLINE_EXCEEDED),
        (507, Status.INTERNAL),
        (200, Status.UNKNOWN),
        (0, Status.UNKNOWN),
        (700, Status.UNKNOWN),
    ],
)
def test_a_handlers_status_is_translated(code, status):
    assert status_of_http(code) is status
