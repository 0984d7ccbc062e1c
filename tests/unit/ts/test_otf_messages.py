"""TorchServe's own protocol, byte by byte."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.runtime import Context, RequestProcessor
from ts.protocol.otf_message_handler import (
    create_load_model_response,
    create_predict_response,
    encode_response_headers,
    retrieve_msg,
)


def number(value):
    return struct.pack("!i", value)


def text(value):
    encoded = value if isinstance(value, bytes) else value.encode()
    return number(len(encoded)) + encoded


def context_of(rows):
    context = Context("m", "", None, rows, None, "0.12.0")
    context.request_processor = [RequestProcessor({}) for _ in range(rows)]
    return context


def received(data):
    near, far = socket.socketpair()
    with near, far:
        near.sendall(data)
        near.shutdown(socket.SHUT_WR)
        return retrieve_msg(far)


def test_a_load_is_answered_with_code_and_message():
    assert create_load_model_response(200, "löaded") == number(200) + text("löaded") + number(-1)


def test_headers_are_preceded_by_their_number():
    assert encode_response_headers({"a": "b", "ü": ""}) == number(2) + text("a") + text("b") + text("ü") + text("")


def test_answers_have_the_status_and_headers_that_the_handler_set():
    context = context_of(2)
    context.set_response_content_type(0, "text/plain")
    context.set_response_status(201, "Created", 0)
    written = create_predict_response(["yes", {"x": 1}], {0: "a", 1: "b"}, "fine", 200, context)
    first = text("a") + text("text/plain") + number(201) + text("Created") + number(1)
    first += text("content-type") + text("text/plain") + text("yes")
    second = text("b") + text("") + number(200) + text("") + number(0) + text('{\n  "x": 1\n}')
    assert written == number(200) + text("fine") + first + second + number(-1)


def test_a_batch_that_failed_has_its_code_on_every_row():
    written = create_predict_response(None, {0: "a"}, "Prediction failed", 503)
    row = text("a") + text("") + number(503) + text("") + number(0) + text("error")
    assert written == number(503) + text("Prediction failed") + row + number(-1)


def test_what_json_cannot_say_fails_the_batch():
    written = create_predict_response([object()], {0: "a"}, "fine", 200, context_of(1))
    assert written == create_predict_response(None, {0: "a"}, "Unsupported model output data type.", 503)


def test_only_the_first_of_several_processes_answers(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert create_predict_response(["x"], {0: "a"}, "", 200, context_of(1)) is None


@pytest.mark.parametrize(
    ("stream_next", "criteria", "before", "after"),
    [
        (True, None, {}, "true"),
        (False, None, {"ts_stream_next": "true"}, "false"),
        (False, None, {}, None),
        (False, [lambda answer: answer == "end"], {}, "true"),
        (False, [lambda answer: answer == "more"], {}, "false"),
        (False, [lambda answer: None], {}, None),
    ],
)
def test_a_header_says_whether_more_answers_follow(stream_next, criteria, before, after):
    context = context_of(1)
    context.stopping_criteria = criteria
    context.get_response_headers(0).update(before)
    create_predict_response(["more"], {0: "a"}, "", 200, context, stream_next)
    assert context.get_response_headers(0).get("ts_stream_next") == after


def test_a_load_is_read():
    data = b"L" + text("m") + text("/models/m") + number(4) + text("h.py:f") + number(-1) + text("json") + b"\x01"
    assert received(data) == (
        b"L",
        {
            "modelName": b"m",
            "modelPath": b"/models/m",
            "batchSize": 4,
            "handler": b"h.py:f",
            "envelope": b"json",
            "limitMaxImagePixels": True,
        },
    )


def test_a_load_may_name_a_gpu():
    data = b"L" + text("m") + text("/m") + number(1) + text("h") + number(3) + text("") + b"\x00"
    _, load = received(data)
    assert (load["gpu"], load["limitMaxImagePixels"]) == (3, False)


def parameter(name, content_type, value):
    return text(name) + text(content_type) + text(value)


def request(request_id, headers, *parameters):
    lines = b"".join(text(name) + text(value) for name, value in headers.items())
    return text(request_id) + lines + number(-1) + b"".join(parameters) + number(-1)


def test_a_batch_is_read_and_its_values_decoded_by_their_type():
    parameters = [
        parameter("a", "application/json", b'{"x": 1}'),
        parameter("b", "text/plain", b"hello"),
        parameter("c", "image/png", b"\x89PNG"),
        parameter("d", "application/json", b"{"),
    ]
    command, batch = received(b"I" + request("r1", {"h": "v"}, *parameters) + request("r2", {}) + number(-1))
    assert command == b"I"
    assert [one["requestId"] for one in batch] == [b"r1", b"r2"]
    assert batch[0]["headers"] == [{"name": b"h", "value": b"v"}]
    assert [one["value"] for one in batch[0]["parameters"]] == [{"x": 1}, "hello", b"\x89PNG", b"{"]
    assert batch[1] == {"requestId": b"r2", "headers": [], "parameters": []}


def test_values_stay_bytes_where_the_server_says_so(monkeypatch):
    monkeypatch.setenv("TS_DECODE_INPUT_REQUEST", "false")
    _, (only,) = received(b"I" + request("r", {}, parameter("a", "application/json", b"1")) + number(-1))
    assert only["parameters"][0]["value"] == b"1"


@given(st.binary(max_size=40))
def test_any_garbage_is_an_error_or_an_end_and_never_hangs(data):
    with pytest.raises((ValueError, SystemExit, struct.error)):
        received(b"X" + data)
    with pytest.raises(SystemExit):
        received(b"I" + number(5))
