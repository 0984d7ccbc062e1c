from __future__ import annotations

import pytest

from flambeau.errors import (
    BadRequest,
    ErrorKind,
    HandlerFailed,
    HandlerRejected,
    ModelNotFound,
    NoWorker,
    QueueFull,
    ServingError,
    StartFailed,
    WorkerDied,
)
from flambeau.frontends.http.errors import error_body, error_headers, error_response, error_status, malformed


@pytest.mark.parametrize("kind", ErrorKind)
def test_every_kind_of_error_has_a_status_and_a_type(kind: ErrorKind):
    error = ServingError("words")
    error.kind = kind
    assert 400 <= error_status(error) <= 599
    assert error_body(error).endswith(b'Exception",\n  "message": "words"\n}\n')


@pytest.mark.parametrize(
    ("error", "status", "type_name"),
    [
        (NoWorker("m"), 503, "ServiceUnavailableException"),
        (QueueFull("m", "100 jobs"), 503, "ServiceUnavailableException"),
        (HandlerFailed(), 503, "InternalServerException"),
        (WorkerDied(), 500, "InternalServerException"),
        (WorkerDied(out_of_memory=True), 507, "InternalServerException"),
        (StartFailed("m", None), 500, "InternalServerException"),
        (StartFailed("m", None, out_of_memory=True), 507, "InternalServerException"),
        (HandlerRejected("no", 418), 418, "InternalServerException"),
    ],
)
def test_errors_have_torchserves_status_and_type(error: ServingError, status: int, type_name: str):
    assert error_status(error) == status
    assert f'"type": "{type_name}"'.encode() in error_body(error)


def test_the_body_is_torchserves_json():
    assert error_body(ModelNotFound.named("ö<m>")) == (
        '{\n  "code": 404,\n  "type": "ModelNotFoundException",\n  "message": "Model not found: ö<m>"\n}\n'.encode()
    )


def test_a_handlers_413_becomes_507():
    assert error_status(HandlerRejected("too long", 413)) == 507


@pytest.mark.parametrize("status", [-1, 0, 100, 200, 204, 304, 399, 600, 1000])
def test_a_status_that_is_not_an_errors_becomes_500(status: int):
    assert error_status(HandlerRejected("odd", status)) == 500
    assert b'"code": 500' in error_body(HandlerRejected("odd", status))


def test_retry_after_is_there_only_where_it_is_known():
    assert error_headers(QueueFull("m", "100 jobs")) == [(b"retry-after", b"1")]
    assert error_headers(HandlerFailed()) == []


def test_a_response_has_status_body_and_headers():
    response = error_response(QueueFull("m", "100 jobs"))
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/json"
    assert response.headers["retry-after"] == "1"
    assert response.headers["content-length"] == str(len(response.body))


def test_a_malformed_request_begins_with_torchserves_sentence():
    error = malformed("Because.")
    assert isinstance(error, BadRequest)
    assert error.message == "Invalid HTTP message. Because."
