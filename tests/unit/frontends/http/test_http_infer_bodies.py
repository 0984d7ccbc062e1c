import gzip
import json
import zlib

import pytest
from http_sites import InferencePort, replying

from flambeau.errors import BadRequest, PayloadTooLarge
from flambeau.frontends.http.infer_bodies import infer_fields
from flambeau.request import InferenceReply, Purpose

LIMIT = 1000
LENGTH = b"inference-header-content-length"


def fields_of(body, **headers):
    named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    return [(name, kind, bytes(value)) for name, kind, value in infer_fields(named, "a/b", body, LIMIT)]


def test_json_is_one_value():
    assert fields_of(b"{}") == [("body", "a/b", b"{}")]


@pytest.mark.parametrize("length", [b"2", b"002"])
def test_json_with_bytes_behind_it_is_two_values_and_not_copied(length):
    body = bytearray(b"{}rest")
    header, binary = infer_fields({LENGTH: length}, "a/b", body, LIMIT)
    assert (header[:2], binary[:2]) == (("body", "application/json"), ("binary", "application/octet-stream"))
    assert header[2].obj is binary[2].obj is body
    assert bytes(binary[2]) == b"rest"


def test_nothing_need_be_behind_the_json():
    assert [len(value) for _, _, value in infer_fields({LENGTH: b"2"}, "", b"{}", LIMIT)] == [2, 0]


@pytest.mark.parametrize(
    "length", [b"", b"-1", b"3", b"2147483648", b"9" * 5000, b"0x2", b"1.0", b"\xb2", b" 2", b"two"]
)
def test_a_length_that_the_body_does_not_have_is_refused(length):
    with pytest.raises(BadRequest, match="the body has 2 bytes"):
        infer_fields({LENGTH: length}, "", b"{}", LIMIT)


def test_compressed_bodies_are_taken_apart_when_they_no_longer_are():
    for encoding, compressed in ((b"gzip", gzip.compress(b"{}rest")), (b"Deflate", zlib.compress(b"{}rest"))):
        fields = infer_fields({b"content-encoding": encoding, LENGTH: b"2"}, "", compressed, LIMIT)
        assert [bytes(value) for _, _, value in fields] == [b"{}", b"rest"]
    assert fields_of(b"{}", content_encoding=b"identity") == [("body", "a/b", b"{}")]


@pytest.mark.parametrize(
    ("encoding", "body", "problem"),
    [
        (b"br", b"", "neither gzip nor deflate"),
        (b"gzip", b"{}", "not gzip"),
        (b"gzip", b"", "ends too early"),
        (b"gzip", gzip.compress(b"{}")[:-1], "ends too early"),
        (b"deflate", gzip.compress(b"{}"), "not deflate"),
    ],
)
def test_bodies_that_are_not_compressed_as_they_say_are_refused(encoding, body, problem):
    with pytest.raises(BadRequest, match=problem):
        infer_fields({b"content-encoding": encoding}, "", body, LIMIT)


def test_a_small_body_cannot_become_a_large_one():
    with pytest.raises(PayloadTooLarge, match="1000 bytes"):
        infer_fields({b"content-encoding": b"gzip"}, "", gzip.compress(bytes(LIMIT + 1)), LIMIT)


def post(target, body, *headers):
    lines = [b"POST " + target + b" HTTP/1.1", *headers, b"content-length: %d" % len(body)]
    return b"\r\n".join([*lines, b"", body])


def test_the_model_gets_json_and_bytes_as_two_values_on_routes_of_the_protocol_only():
    model = replying(InferenceReply(b"ok"))
    port = InferencePort(model)
    header = b"Inference-Header-Content-Length: 2"
    kind = b"content-type: application/octet-stream"
    port.send(
        post(b"/v2/models/m/infer", b"{}rest", header, kind)
        + post(b"/v2/models/m/versions/1.0/infer", b"{}rest", header, kind)
        + post(b"/predictions/m", b"{}rest", header, kind)
    )
    assert [[(name, bytes(value)) for name, _, value in request.parameters] for request in model.requests] == [
        [("body", b"{}"), ("binary", b"rest")],
        [("body", b"{}"), ("binary", b"rest")],
        [("body", b"{}rest")],
    ]
    assert [request.purpose for request in model.requests] == [Purpose.INFER, Purpose.INFER, Purpose.PREDICT]


def test_a_form_stays_a_form_and_an_explanation_one():
    model = replying(InferenceReply(b"ok"))
    form = post(b"/v2/models/m/infer", b"a=1", b"content-type: application/x-www-form-urlencoded")
    InferencePort(model).send(form + post(b"/v2/models/m/explain", b"{}"))
    assert [request.parameters[0][0] for request in model.requests] == ["a", "body"]
    assert model.requests[1].purpose == Purpose.EXPLAIN


def test_errors_on_routes_of_the_protocol_say_it_in_its_word_as_well():
    port = InferencePort(replying(InferenceReply(b"ok")))
    bad_length = post(b"/v2/models/m/infer", b"{}", b"inference-header-content-length: 3")
    for request, status in (
        (bad_length, 400),
        (post(b"/v2/models/z/infer", b"{}"), 404),
        (post(b"/v2/none", b"{}"), 404),
    ):
        (reply,) = port.send(request)
        said = json.loads(reply.body)
        assert reply.status == said["code"] == status
        assert said["error"] == said["message"]
    (reply,) = port.send(post(b"/predictions/z", b"{}"))
    assert "error" not in json.loads(reply.body)


def test_a_large_answer_with_headers_is_written_beside_its_head():
    body = bytes(20_000)
    port = InferencePort(replying(InferenceReply(body, headers=[("Inference-Header-Content-Length", "12")])))
    (reply,) = port.send(post(b"/v2/models/m/infer", b"{}"))
    assert (reply.status, reply.body) == (200, body)
    assert reply["inference-header-content-length"] == "12"
