"""The HTTP frontend of a real server, where the kernel, the event loop and a worker take part."""

import re
import shutil
import signal
import ssl
import subprocess
import threading
import time

import httpx
import psutil
import pytest
from conftest import PREDICT, order
from raw_http import RawClient, post

from flambeau.wire.messages import MAX_BATCHES
from tests.serving import wait_for

MAX_BODY = 6_553_500


def connections_of(server):
    port = int(server.inference.rpartition(":")[2])
    ours = psutil.Process(server.pid).net_connections("tcp")
    return [one for one in ours if one.laddr.port == port and one.status != psutil.CONN_LISTEN]


def access_lines(server):
    return server.log("access_log.log").splitlines()


# --- requests of every kind ------------------------------------------------------------------------------------------


def test_a_prediction_over_http(server):
    reply = httpx.post(server.inference + PREDICT, content=b"\x00cat", headers={"x-request-id": "mine"})
    assert (reply.status_code, reply.content, reply.headers["x-request-id"]) == (200, b"\x00cat", "mine")
    assert "content-type" not in reply.headers


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_every_method_predicts(server, method):
    reply = httpx.request(method, server.inference + PREDICT)
    assert (reply.status_code, reply.content) == (200, b"")


def test_head_and_options(server):
    with RawClient(server.inference) as client:
        client.send(b"HEAD " + PREDICT.encode() + b" HTTP/1.1\r\nContent-Length: 3\r\n\r\ncat")
        reply = client.receive(has_body=False)
        assert (reply.status, reply.headers["content-length"]) == (200, "3")
        client.send(b"HEAD /ping HTTP/1.1\r\n\r\n")
        assert int(client.receive(has_body=False).headers["content-length"]) > 0
        client.send(b"OPTIONS " + PREDICT.encode() + b" HTTP/1.1\r\n\r\n")
        assert client.receive().json()["openapi"] == "3.0.1"


def test_a_request_that_comes_in_packets_of_one_byte(server):
    with RawClient(server.inference) as client:
        for byte in post(PREDICT, b"slowly", "X-Any: thing"):
            client.send(bytes([byte]))
        assert client.receive().body == b"slowly"


def test_http_1_0_closes_unless_asked_to_keep_alive(server):
    with RawClient(server.inference) as client:
        client.send(b"GET /ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert client.receive().headers["connection"] == "keep-alive"
        client.send(b"GET /ping HTTP/1.0\r\n\r\n")
        assert client.receive().headers["connection"] == "close"
        assert client.receive_end() == b""


def test_connection_close_is_obeyed(server):
    with RawClient(server.inference) as client:
        client.send(post(PREDICT, b"bye", "Connection: close"))
        reply = client.receive()
        assert (reply.body, reply.headers["connection"]) == (b"bye", "close")
        assert client.receive_end() == b""


def test_a_pipeline_of_predictions_and_cold_routes_is_answered_in_order(server):
    numbers = range(60)
    requests = [post(PREDICT, b"%d" % number) + b"GET /ping HTTP/1.1\r\n\r\n" for number in numbers]
    with RawClient(server.inference) as client:
        client.send(b"".join(requests))
        for number in numbers:
            assert client.receive().body == b"%d" % number
            assert client.receive().json() == {"status": "Healthy"}


def test_a_chunked_body_with_trailers(server):
    with RawClient(server.inference) as client:
        client.send(b"POST " + PREDICT.encode() + b" HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(b"3;ext=1\r\nabc\r\n")
        client.send(b"2\r\nde\r\n0\r\nX-Request-Id: late\r\n\r\n")
        reply = client.receive()
        assert reply.body == b"abcde"
        assert reply.headers["x-request-id"] != "late"


def test_expect_100_continue(server):
    with RawClient(server.inference) as client:
        client.send(post(PREDICT, b"body", "Expect: 100-continue")[:-4])
        assert client.receive_head() == b"HTTP/1.1 100 Continue"
        client.send(b"body")
        assert client.receive().body == b"body"


def test_a_body_too_large_is_refused_without_being_asked_for(server):
    with RawClient(server.inference) as client:
        client.send(b"POST / HTTP/1.1\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n" % (MAX_BODY + 1))
        assert client.receive().status == 413


def test_http_2_is_declined_and_the_connection_goes_on(server):
    wish = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
    with RawClient(server.inference) as client:
        client.send(post(PREDICT, b"one", *wish))
        assert client.receive().body == b"one"
        client.send(post(PREDICT, b"two"))
        assert client.receive().body == b"two"


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_with_a_large_file_and_with_http_2(server, tmp_path):
    file = tmp_path / "body"
    file.write_bytes(bytes(2_000_000))
    for option in ("--http1.1", "--http2"):
        result = subprocess.run(
            ["curl", "-sS", option, "--noproxy", "*", "-T", str(file), "-X", "POST", server.inference + PREDICT],
            capture_output=True,
            timeout=60,
        )
        if b"not support" not in result.stderr:  # a curl that was built without HTTP/2
            assert result.stdout == file.read_bytes()


@pytest.mark.parametrize("size", [64 * 1024 - 1, 64 * 1024, 1_000_000, MAX_BODY])
def test_a_large_body_and_a_large_reply_with_a_request_behind_it(server, size):
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    with RawClient(server.inference) as client:
        client.send(post(PREDICT, body) + post(PREDICT, b"next"))
        assert client.receive().body == body
        assert client.receive().body == b"next"


def test_many_clients_at_once(server):
    bodies = [bytes([number]) * (1 + number * 5000) for number in range(40)]
    replies = {}

    def ask(number):
        with RawClient(server.inference) as client:
            for _ in range(3):
                client.send(post(PREDICT, bodies[number]))
                replies.setdefault(number, []).append(client.receive().body)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert replies == {number: [body] * 3 for number, body in enumerate(bodies)}


def test_what_a_handler_sets_and_what_it_cannot(server):
    body = order(
        status=202, phrase="Yes", headers={"X-Mine": "a\r\nX-Bad: b", "Content-Type": "x/y", "Connection": "z"}
    )
    with RawClient(server.inference) as client:
        client.send(post(PREDICT, body))
        reply = client.receive()
        assert (reply.status, reply.headers["content-type"]) == (202, "x/y")
        assert "x-bad" not in reply.headers
        assert reply.headers["connection"] == "keep-alive"


# --- requests that are refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"POST /predictions/obedient HTTP/1.1\r\nContent-Length: 20000000\r\n\r\n",
        b"POST /predictions/obedient HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_who_sends_too_much_can_read_why_though_still_sending(server, head):
    megabyte = b"%x\r\n" % (1 << 20) + bytes(1 << 20) + b"\r\n"
    with RawClient(server.inference) as client:
        client.send(head)
        for _ in range(16):
            client.send(megabyte)
        reply = client.receive()
        assert (reply.status, reply.headers["connection"]) == (413, "close")
        assert reply.json()["type"] == "PayloadTooLargeException"
        assert client.receive_end() == b""


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nX: \0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_http_is_answered_400_and_the_connection_closed(server, data):
    with RawClient(server.inference) as client:
        client.send(post(PREDICT, b"before") + data)
        assert client.receive().body == b"before"
        reply = client.receive()
        assert reply.status == 400
        assert reply.json()["message"].startswith("Invalid HTTP message.")
        assert b"Traceback" not in reply.body
        assert client.receive_end() == b""


def test_headers_over_a_limit_are_answered_431(strict_server):
    for headers in (b"X: " + b"x" * 5000, b"\r\n".join([b"X: y"] * 20)):
        with RawClient(strict_server.inference) as client:
            client.send(b"GET /ping HTTP/1.1\r\n" + headers + b"\r\n\r\n")
            assert client.receive().status == 431


def test_a_request_that_never_ends_is_answered_408(strict_server):
    for begun in (post(PREDICT, b"body")[:-1], post(PREDICT, bytes(150_000))[:-1]):
        with RawClient(strict_server.inference) as client:
            client.send(begun)
            assert client.receive().status == 408
            assert client.receive_end() == b""


def test_an_idle_connection_is_closed(strict_server):
    with RawClient(strict_server.inference) as client:
        client.send(post(PREDICT, b"x"))
        client.receive()
        assert client.receive_end() == b""


def test_a_connection_whose_request_takes_longer_than_the_idle_time_out_stays(strict_server, gate):
    with RawClient(strict_server.inference) as client:
        client.send(post(PREDICT, order(gate=gate.path)))
        gate.wait_until_reached()
        client.socket.settimeout(2.5)
        with pytest.raises(TimeoutError):
            client.receive()
        client.socket.settimeout(10)
        gate.open()
        assert client.receive().status == 200


def test_a_client_that_does_not_read_its_reply_is_cut_off(strict_server):
    with RawClient(strict_server.inference, receive_buffer=4096) as client:
        client.send(post(PREDICT, order(size=6_000_000)))
        client.receive_head()
        wait_for("end of the connection", lambda: not connections_of(strict_server))
        assert len(client.receive_end()) < 6_000_000


def test_connections_over_the_limit_are_answered_503_until_there_is_room(strict_server):
    wait_for("end of other connections", lambda: not connections_of(strict_server))
    clients = [RawClient(strict_server.inference) for _ in range(5)]
    try:
        for client in clients:
            client.send(post(PREDICT, b"x"))
            assert client.receive().status == 200
        with RawClient(strict_server.inference) as one_too_many:
            one_too_many.send(post(PREDICT, b"x"))
            reply = one_too_many.receive()
            assert (reply.status, reply.headers["retry-after"]) == (503, "1")
            assert one_too_many.receive_end() == b""
    finally:
        for client in clients:
            client.socket.close()
    wait_for("room", lambda: httpx.post(strict_server.inference + PREDICT, content=b"x").status_code == 200)


# --- clients that leave, servers that stop ---------------------------------------------------------------------------


def pending_requests(server):
    return server.describe("obedient")[0]["jobQueueStatus"]["pendingRequests"]


def test_a_request_whose_client_left_the_queue_is_not_run_and_is_no_error(server, gate, tmp_path):
    note = tmp_path / "note"
    note.touch()
    before = server.log()
    with RawClient(server.inference) as holding:
        holding.send(post(PREDICT, order(gate=gate.path)))
        gate.wait_until_reached()
        leaving = [RawClient(server.inference) for _ in range(MAX_BATCHES + 4)]
        for client in leaving[1:]:
            client.send(post(PREDICT, order(note=note)))
        leaving[0].send(post(PREDICT, bytes(100_000))[:-1])
        wait_for("queued requests", lambda: pending_requests(server) >= 3)  # others may wait in the worker
        for client in leaving:
            client.socket.close()
        wait_for("empty queue", lambda: pending_requests(server) == 0)
        gate.open()
        assert holding.receive().status == 200
    assert httpx.post(server.inference + PREDICT, content=b"next").content == b"next"
    assert note.read_text().count("ran") < MAX_BATCHES
    assert "ERROR" not in server.log()[len(before) :]


def test_a_client_that_leaves_in_mid_batch_costs_the_next_one_nothing(server, gate):
    before = server.log()
    leaving = RawClient(server.inference)
    leaving.send(post(PREDICT, order(gate=gate.path)))
    gate.wait_until_reached()
    leaving.socket.close()
    gate.open()
    assert httpx.post(server.inference + PREDICT, content=b"next").content == b"next"
    assert "ERROR" not in server.log()[len(before) :]


def test_sigterm_lets_the_request_under_way_finish_and_says_that_the_connection_closes(start, gate):
    server = start()
    idle = RawClient(server.inference)
    idle.send(post(PREDICT, b"x"))
    idle.receive()
    with RawClient(server.inference) as client, idle:
        client.send(post(PREDICT, order(gate=gate.path, size=100_000)))
        gate.wait_until_reached()
        server.signal(signal.SIGTERM)
        assert idle.receive_end() == b""
        with pytest.raises(OSError):
            RawClient(server.inference)
        gate.open()
        reply = client.receive()
        assert (reply.status, len(reply.body), reply.headers["connection"]) == (200, 100_000, "close")
        assert client.receive_end() == b""
    assert server.wait_ended() == 0
    server.assert_nothing_is_left()
    assert "ERROR" not in server.log()
    assert "Traceback" not in server.output()


def test_a_client_that_sends_slowly_does_not_hold_up_the_stop(start):
    server = start()
    with RawClient(server.inference) as client:
        client.send(post(PREDICT, bytes(100_000))[:-1])
        wait_for("connection", lambda: connections_of(server))
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert client.receive().status == 503
    assert server.wait_ended() == 0
    assert time.monotonic() - began < 10


# --- listeners and logs ----------------------------------------------------------------------------------------------


def test_tls(start, certificate):
    pem, key = certificate
    server = start(
        *("--inference-address", "https://127.0.0.1:0"),
        *("--set", f"certificate_file={pem}", "--set", f"private_key_file={key}"),
    )
    assert server.inference.startswith("https://")
    context = ssl.create_default_context(cafile=str(pem))
    body = bytes(range(256)) * 20_000
    with RawClient(server.inference, context) as client:
        client.send(post(PREDICT, b"small"))
        assert client.receive().body == b"small"
        client.send(post(PREDICT, body) + post(PREDICT, b"next"))
        assert client.receive().body == body
        assert client.receive().body == b"next"
        client.send(b"nonsense\r\n\r\n")
        assert client.receive().status == 400
    with RawClient(server.inference, context) as client:
        client.send(b"POST / HTTP/1.1\r\nContent-Length: 20000000\r\n\r\n" + bytes(1_000_000))
        assert client.receive().status == 413
    assert httpx.post(server.inference + PREDICT, content=b"x", verify=context).content == b"x"
    with RawClient(server.inference) as plain:
        plain.send(b"GET /ping HTTP/1.1\r\n\r\n")
        assert b"HTTP/1.1" not in plain.receive_end()


def test_a_unix_socket_cors_and_no_access_log(start, tmp_path):
    path = tmp_path / "s"
    server = start(
        *("--inference-address", f"unix:{path}", "--no-access-log"),
        *("--set", "cors_allowed_origin=*", "--set", "cors_allowed_methods=GET, POST"),
    )
    assert server.inference == f"unix:{path}"
    with RawClient(server.inference) as client:
        client.send(post(PREDICT, bytes(1_000_000)) + post("/nowhere"))
        replies = [client.receive(), client.receive()]
    assert [len(replies[0].body), replies[1].status] == [1_000_000, 404]
    for reply in replies:
        assert reply.headers["access-control-allow-origin"] == "*"
        assert reply.headers["access-control-allow-methods"] == "GET, POST"
    server.stop()
    assert not path.exists()
    assert server.log("access_log.log") == ""


def test_the_access_log_has_one_short_line_a_request(start):
    server = start()
    targets = [PREDICT, "/ping", "/nowhere?" + "x" * 3000, "/predictions/none"]
    for target in targets:
        httpx.post(server.inference + target, content=b"x")
    server.stop()
    lines = [line for line in access_lines(server) if '"POST' in line]
    assert len(lines) == len(targets)
    assert max(len(line.encode()) for line in lines) <= 200
    shape = r'\S+ - /127\.0\.0\.1:\d+ "POST \S+ HTTP/1\.1" (\d+) \d+'
    assert [re.fullmatch(shape, line).group(1) for line in lines] == ["200", "200", "404", "404"]
