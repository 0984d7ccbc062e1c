"""Headers around a call: what a client's say, and that a server's are read by any decoder."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hpack import Decoder
from hypothesis import given
from hypothesis import strategies as st

from flambeau.frontends.grpc import heads
from flambeau.frontends.grpc.header_blocks import MalformedHead
from flambeau.frontends.grpc.heads import read_head, trailers
from flambeau.frontends.grpc.status import Status

CALL = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a.B/C"), (b"content-type", b"application/grpc"))


def head(*extra):
    return read_head([*CALL, *extra])


def decoded(block):
    return dict(Decoder().decode(block))


def test_a_call_says_what_it_wants():
    seen = head((b"authorization", b"Bearer k"), (b"x-request-id", b"id"), (b"grpc-encoding", b"gzip"))
    assert (seen.path, seen.authorization, seen.request_id, seen.encoding) == (b"/a.B/C", b"Bearer k", b"id", "gzip")
    assert seen.is_grpc
    assert head().timeout_s is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"1H", 3600), (b"2M", 120), (b"3S", 3), (b"40m", 0.04), (b"500u", 0.0005), (b"7n", 7e-9), (b"0m", 0)],
)
def test_time_outs_have_units(value, seconds):
    assert head((b"grpc-timeout", value)).timeout_s == pytest.approx(seconds)


def test_a_time_out_that_never_comes_is_cut():
    assert head((b"grpc-timeout", b"99999999H")).timeout_s == 30 * 24 * 3600


@pytest.mark.parametrize("value", [b"", b"5", b"S", b"-1S", b"1.5S", b"123456789S", b"5s", b"5S "])
def test_a_time_out_that_cannot_be_read_is_noted(value):
    seen = head((b"grpc-timeout", value))
    assert (seen.timeout_s, seen.has_bad_timeout) == (None, True)


@pytest.mark.parametrize(
    ("content_type", "is_grpc"),
    [
        (b"application/grpc+proto", True),
        (b"application/grpc;charset=utf-8", True),
        (b"Application/gRPC", True),
        (b"application/grpc-web", False),
        (b"application/json", False),
        (b"", False),
    ],
)
def test_only_grpc_is_grpc(content_type, is_grpc):
    assert read_head([*CALL[:3], (b"content-type", content_type)]).is_grpc is is_grpc
    assert not read_head([(b":method", b"GET"), *CALL[1:]]).is_grpc


@pytest.mark.parametrize(
    "headers",
    [
        CALL[1:],
        (CALL[0], *CALL[2:]),
        (*CALL[:2], CALL[3]),
        (*CALL[:2], (b":path", b""), CALL[3]),
        (*CALL, (b":authority", b"after the fields")),
        (CALL[0], *CALL),
        (*CALL[:3], (b":status", b"200")),
        (*CALL, (b"Upper", b"x")),
        (*CALL, (b"connection", b"close")),
        (*CALL, (b"te", b"gzip")),
    ],
)
def test_what_http2_forbids_is_malformed(headers):
    with pytest.raises(MalformedHead):
        read_head(headers)


def test_the_constant_heads_say_what_they_should():
    assert decoded(heads.RESPONSE_HEAD) == {
        ":status": "200",
        "content-type": "application/grpc",
        "grpc-accept-encoding": "identity,deflate,gzip",
    }
    assert decoded(heads.OK_TRAILERS) == decoded(trailers(Status.OK, "nothing to say")) == {"grpc-status": "0"}
    assert decoded(heads.UNSUPPORTED_MEDIA_TYPE) == {":status": "415"}


@given(st.sampled_from([status for status in Status if status]), st.text())
def test_any_text_arrives(status, text):
    sent = decoded(trailers(status, text))
    assert sent.pop("grpc-status") == str(int(status))
    message = sent.pop("grpc-message", "")
    assert message.isascii()
    assert message.isprintable()
    assert unquote(message) == text.encode("utf-8", "replace").decode()
    assert not sent


@pytest.mark.parametrize("character", ["a", "\n", "é", "語"])
def test_a_long_text_is_cut_and_stays_text(character):
    message = decoded(trailers(Status.INTERNAL, character * 20_000))["grpc-message"]
    assert len(message) <= heads.MAX_TEXT_BYTES
    assert unquote(message).rstrip("…").strip(character) == ""
    assert unquote(message).endswith("…")
