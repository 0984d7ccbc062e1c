"""The commands' HTTP client, against a server that answers with what it is told to."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, contextmanager

import pytest

from flambeau.cli.client import Answer, Client, Refusal, ServerProblem, address_of, path_of
from flambeau.cli.failures import UsageProblem


@contextmanager
def answering(*replies: bytes, listener: socket.socket | None = None):
    """A server that answers each request of its one connection with the next of these bytes, then closes it.

    Yields the list of what it was sent, complete when the block is over.
    """
    if listener is None:
        listener = socket.create_server(("127.0.0.1", 0))
    received = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as incoming:
            for reply in replies:
                head = []
                while (line := incoming.readline()) not in (b"\r\n", b""):
                    head.append(line.decode().strip())
                lengths = [int(line.partition(":")[2]) for line in head if line.lower().startswith("content-length")]
                received.append((head, incoming.read(*lengths) if lengths else b""))
                connection.sendall(reply)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield received, listener
    finally:
        thread.join(10)
        listener.close()


def url_of(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def ask(url: str, *, token: str | None = None, timeout_s: float | None = None, **options) -> Answer:
    """One call of a client of its own."""
    with closing(Client(url, token, timeout_s)) as client:
        return client.call(options.pop("method", "GET"), options.pop("path", "/"), **options)


def reply(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body


def test_a_call_sends_method_path_query_token_and_body_and_returns_the_answer():
    with answering(reply(b'{"a": 1}', headers="content-type: application/json\r\n")) as (received, listener):
        answer = ask(
            f"{url_of(listener)}/prefix/",
            token="secret",
            method="POST",
            path=path_of("predictions", "a/b c"),
            query={"x": True, "y": None},
            body=b"hello",
            content_type="text/plain",
        )
    ((head, body),) = received
    assert head[0] == "POST /prefix/predictions/a%2Fb%20c?x=true HTTP/1.1"
    assert {"Authorization: Bearer secret", "Content-Type: text/plain"} <= set(head)
    assert body == b"hello"
    assert (answer.status, answer.content_type, answer.document()) == (200, "application/json", {"a": 1})
    assert answer.seconds > 0


def test_calls_share_one_connection():
    with answering(reply(b"1"), reply(b"2")) as (received, listener), closing(Client(url_of(listener))) as client:
        assert [client.call("GET", "/").body for _ in range(2)] == [b"1", b"2"]
    assert len(received) == 2


def test_a_unix_socket_is_an_address_too(tmp_path):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    with answering(reply(b"x"), listener=listener):
        assert ask(f"unix:{tmp_path / 's'}").body == b"x"


def test_parts_are_handed_on_as_they_come():
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    parts = []
    with answering(chunked) as (_, listener):
        answer = ask(url_of(listener), on_part=parts.append)
    assert b"".join(parts) == b"abcde"
    assert answer.body == b""


@pytest.mark.parametrize(
    ("body", "kind", "sentence"),
    [
        (
            b'{"code": 404, "type": "ModelNotFoundException", "message": "No such."}',
            "ModelNotFoundException",
            "No such.",
        ),
        (b'{"error": "open inference says this"}', "", "open inference says this"),
        (b"plain words", "", "plain words"),
        (b"[1]", "", "[1]"),
        (b"", "", "404 Not Found"),
    ],
)
def test_an_error_is_raised_in_the_servers_words(body, kind, sentence):
    with answering(reply(body, "404 Not Found")) as (_, listener), pytest.raises(Refusal) as caught:
        ask(url_of(listener))
    assert (caught.value.status, caught.value.kind, str(caught.value)) == (404, kind, sentence)


def test_where_nobody_listens_the_problem_says_how_to_start_a_server():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = url_of(listener)
    with pytest.raises(ServerProblem, match=f"no server at {url}") as caught:
        ask(url)
    assert "flambeau serve" in caught.value.hint


def test_what_is_no_http_server_is_named():
    with answering(b"220 mail\r\n") as (_, listener), pytest.raises(ServerProblem, match="does not speak HTTP"):
        ask(url_of(listener))


def test_a_connection_that_closes_early_is_named():
    with answering(b"") as (_, listener), pytest.raises(ServerProblem, match="before it had answered"):
        ask(url_of(listener))


def test_an_answer_that_is_cut_short_is_named():
    short = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"
    with answering(short) as (_, listener), pytest.raises(ServerProblem, match="before it had answered"):
        ask(url_of(listener))


def test_waiting_ends_at_the_time_out():
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(ServerProblem, match=r"within 0\.05 s"):
        ask(url_of(listener), timeout_s=0.05)


def test_plain_http_is_not_taken_for_tls():
    def answer_at_once() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.recv(4096)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer_at_once)
        thread.start()
        with pytest.raises(ServerProblem, match="does not speak TLS"):
            ask(url_of(listener).replace("http", "https"))
        thread.join(10)


def test_an_answer_that_is_not_json_is_no_document():
    with answering(reply(b"<html>")) as (_, listener), pytest.raises(ServerProblem, match="not JSON"):
        ask(url_of(listener)).document()


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://host:99999", "http://host:x", ":"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(UsageProblem, match="--url"):
        Client(url)


@pytest.mark.parametrize(
    ("url", "address", "is_loopback"),
    [
        ("localhost:8080", "http://localhost:8080", True),
        ("http://[::1]:1", "http://[::1]:1", True),
        ("https://example.com", "https://example.com:443", False),
        ("unix:///tmp/s", "unix:/tmp/s", True),
    ],
)
def test_addresses(url, address, is_loopback):
    assert str(address_of(url)) == address
    assert address_of(url).is_loopback is is_loopback
