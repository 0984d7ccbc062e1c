import uuid

import pytest
from http_connections import post
from http_sites import InferencePort, echo_model
from hypothesis import given
from hypothesis import strategies as st

from flambeau.frontends.http.request_ids import RequestIds


def test_fresh_ids_are_uuids_of_version_4_and_never_the_same():
    ids = RequestIds()
    fresh = [ids.new() for _ in range(140_000)]  # more than one random prefix is good for
    assert len(set(fresh)) == len(fresh)
    for text in (fresh[0], fresh[65_535], fresh[65_536], fresh[-1]):
        assert str(uuid.UUID(text)) == text
        assert uuid.UUID(text).version == 4


def test_two_servers_do_not_make_the_same_ids():
    assert RequestIds().new() != RequestIds().new()


@pytest.mark.parametrize(
    "sent", [b"7", b"a" * 128, b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", b'"{}:;%']
)
def test_a_clients_id_is_kept(sent):
    assert RequestIds().accept(sent) == sent.decode()


@pytest.mark.parametrize("sent", [b"", b"a" * 129, b"a b", b"a\tb", b"\xc3\xa9", b"a\0", b"a\x7f"])
def test_an_id_that_would_not_fit_a_header_or_a_log_line_is_replaced(sent):
    assert uuid.UUID(RequestIds().accept(sent)).version == 4


@given(st.binary(max_size=200))
def test_every_id_can_stand_in_a_header_and_a_log_line(sent):
    accepted = RequestIds().accept(sent)
    assert 0 < len(accepted) <= 128
    assert accepted.isascii()
    assert accepted.isprintable()
    assert " " not in accepted


@pytest.mark.parametrize(
    "target", ["/predictions/echo", "/predictions/none", "/ping", "/nowhere"], ids=lambda target: target[1:]
)
def test_a_clients_id_comes_back_and_reaches_the_model(target):
    model = echo_model()
    (reply,) = InferencePort(model).send(post(target, b"", "X-Request-ID: mine-1"))
    assert reply["x-request-id"] == "mine-1"
    assert [request.request_id for request in model.requests] == ["mine-1"] * (target == "/predictions/echo")


def test_a_clients_id_comes_back_with_a_refusal_if_it_was_read():
    data = b"POST / HTTP/1.1\r\nX-Request-Id: mine-2\r\nContent-Length: 99999999\r\n\r\n"
    (reply,) = InferencePort().send(data)
    assert (reply.status, reply["x-request-id"]) == (413, "mine-2")


def test_each_request_without_an_id_gets_its_own():
    replies = InferencePort(echo_model()).send(post("/predictions/echo"), post("/predictions/echo"))
    assert replies[0]["x-request-id"] != replies[1]["x-request-id"]
