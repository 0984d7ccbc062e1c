import pytest
from http_connections import post
from http_sites import InferencePort, echo_model, parse_replies, replying

from flambeau.request import InferenceReply

STANDARD = {
    "pragma": "no-cache",
    "cache-control": "no-cache; no-store, must-revalidate, private",
    "expires": "Thu, 01 Jan 1970 00:00:00 UTC",
}
EVERY_KIND_OF_REPLY = {
    "prediction": post("/predictions/m"),
    "error of a prediction": post("/predictions/none"),
    "cold route": b"GET /ping HTTP/1.1\r\n\r\n",
    "error of a cold route": b"GET /nowhere HTTP/1.1\r\n\r\n",
    "message that is none": b"nonsense\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", EVERY_KIND_OF_REPLY.values(), ids=EVERY_KIND_OF_REPLY)
@pytest.mark.parametrize("headers", [(), [("Cache-Control", "max-age=60"), ("Pragma", "x"), ("Expires", "never")]])
def test_every_reply_has_the_standard_headers_once(request_bytes, headers):
    (reply,) = InferencePort(replying(InferenceReply(b"", headers=headers))).send(request_bytes)
    assert {name: reply[name] for name in STANDARD} == STANDARD
    assert len(reply["x-request-id"]) == 36
    assert int(reply["content-length"]) == len(reply.body)
    assert reply["connection"] == ("keep-alive" if reply.status < 400 else "close")


@pytest.mark.parametrize("request_bytes", EVERY_KIND_OF_REPLY.values(), ids=EVERY_KIND_OF_REPLY)
def test_every_reply_has_the_cors_headers_that_are_set(request_bytes):
    cors = [("access-control-allow-origin", "https://a.example/%41"), ("access-control-allow-methods", "")]
    (reply,) = InferencePort(replying(InferenceReply(b"")), cors=cors).send(request_bytes)
    assert reply["access-control-allow-origin"] == "https://a.example/%41"
    assert "access-control-allow-methods" not in reply


def test_a_handlers_own_cors_header_stands():
    cors = [("access-control-allow-origin", "*")]
    headers = [("Access-Control-Allow-Origin", "https://b.example")]
    (reply,) = InferencePort(replying(InferenceReply(b"", headers=headers)), cors=cors).send(post("/predictions/m"))
    assert reply["access-control-allow-origin"] == "https://b.example"


def test_a_client_that_closes_is_told_that_the_connection_closes():
    (reply,) = InferencePort(echo_model()).send(post("/predictions/echo", b"", "Connection: close"))
    assert reply["connection"] == "close"


def test_head_on_a_cold_route_says_the_length_that_get_would_have():
    get = InferencePort(echo_model()).exchange(b"GET /ping HTTP/1.1\r\n\r\n")
    head = InferencePort(echo_model()).exchange(b"HEAD /ping HTTP/1.1\r\n\r\n")
    assert head.endswith(b"\r\n\r\n")
    length = parse_replies(get)[0]["content-length"]
    assert f"content-length: {length}\r\n".encode() in head


def test_each_reply_is_one_line_of_the_access_log_and_one_count():
    port = InferencePort(replying(InferenceReply(b"", 302)), echo_model())
    port.send(
        post("/predictions/echo?q=1"),
        post("/predictions/m"),
        b"GET /ping HTTP/1.1\r\n\r\n" + b"DELETE /predictions/none HTTP/1.1\r\n\r\n",
    )
    peer = "192.0.2.1:4321"
    assert port.access_log.lines == [
        (peer, "POST", "/predictions/echo?q=1", 200),
        (peer, "POST", "/predictions/m", 302),
        (peer, "DELETE", "/predictions/none", 404),
        (peer, "GET", "/ping", 200),
    ]
    of_classes = {key[0]: count for key, count in port.metrics.counts().items() if key[0].startswith("Requests")}
    assert of_classes == {"Requests2XX": 2, "Requests4XX": 1, "Requests5XX": 1}


def test_a_message_that_is_none_is_a_line_of_the_access_log_too():
    port = InferencePort()
    port.send(b"nonsense\r\n\r\n")
    assert port.access_log.lines == [("192.0.2.1:4321", "-", "", 400)]


def test_without_an_access_log_replies_are_the_same():
    (reply,) = InferencePort(echo_model(), logs_access=False).send(post("/predictions/echo", b"x"))
    assert reply.body == b"x"
