"""How a server starts, stops and is killed."""

from __future__ import annotations

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import psutil

from tests.process.calls import GATED, TIMEOUT_S, Gate, Load, manage, open_request, post, run_serve
from tests.serving import ServerProcess, wait_for, write_model

HANDLER = (
    GATED
    + """
def handle(data, context):
    if data is None:
        return None
    take_time()
    if data[0]["body"] == b"wait":
        wait_at_gate()
    return [row["body"] for row in data]
"""
)

SLOW_TO_LOAD = """
import time


class Handler:
    def initialize(self, context):
        time.sleep(600)

    def handle(self, data, context):
        return data
"""

WITH_CHILD = """
import subprocess, sys

child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


def handle(data, context):
    return None if data is None else [child.pid for _ in data]
"""


def address_of(url):
    parts = urlsplit(url)
    return parts.hostname, parts.port


def accepts_connections(url):
    try:
        socket.create_connection(address_of(url)).close()
    except ConnectionRefusedError:
        return False
    return True


def serve(tmp_path, source=HANDLER, *, options=(), **arguments):
    folder = tmp_path / "m-1.0"
    model = folder if folder.exists() else write_model(tmp_path, "m", source)
    return ServerProcess(model, folder=tmp_path, options=["--workers", "1", *options], **arguments)


# --- SIGTERM ----------------------------------------------------------------------------------------------------------


def test_sigterm_answers_everything_that_was_accepted(tmp_path):
    with serve(tmp_path) as server:
        with Gate(server, "m", ["wait", "a", "b"]) as held:
            server.signal(signal.SIGTERM)
            wait_for("closed listener", lambda: not accepts_connections(server.inference))
            assert server.is_running
        assert [(reply.status_code, reply.text) for reply in held.replies] == [(200, "wait"), (200, "a"), (200, "b")]
        assert server.wait_ended() == 0
        server.assert_nothing_is_left()


def test_a_worker_that_dies_while_the_server_drains_is_replaced(tmp_path):
    with serve(tmp_path) as server:
        (worker,) = server.describe("m")[0]["workers"]
        with Gate(server, "m", ["wait", "a"]) as held:
            server.signal(signal.SIGTERM)
            wait_for("closed listener", lambda: not accepts_connections(server.inference))
            os.kill(worker["pid"], signal.SIGKILL)
        assert [(reply.status_code, reply.text) for reply in held.replies] == [(200, "wait"), (200, "a")]
        assert server.wait_ended() == 0


def test_under_load_everything_is_answered_or_refused_at_the_door(tmp_path):
    with serve(tmp_path) as server:
        with Load(server, "m") as load:
            server.signal(signal.SIGTERM)
            assert server.wait_ended() == 0
        at_the_door = {"ConnectError", "RemoteProtocolError", "ReadError"}
        half_sent = {outcome for outcome in load.outcomes if outcome.startswith("503") and "shutting down" in outcome}
        assert set(load.outcomes) - at_the_door - half_sent == {"200 a"}
        server.assert_nothing_is_left()


def test_idle_connections_are_closed_as_soon_as_it_drains(tmp_path):
    with serve(tmp_path) as server, socket.create_connection(address_of(server.inference), TIMEOUT_S) as idle:
        idle.sendall(b"GET /ping HTTP/1.1\r\nHost: h\r\n\r\n")
        assert idle.recv(10_000).startswith(b"HTTP/1.1 200")
        with Gate(server, "m", ["wait"]):
            server.signal(signal.SIGTERM)
            assert idle.recv(10_000) == b""
        assert server.wait_ended() == 0


def test_draining_takes_no_longer_than_its_time_limit(tmp_path):
    with serve(tmp_path, options=["--set", "drain_timeout=1"]) as server:
        held = Gate(server, "m", ["wait"])
        with held:
            server.signal(signal.SIGTERM)
            assert server.wait_ended(TIMEOUT_S / 4) == 0
            server.assert_nothing_is_left()
        assert held.replies[0].status_code == 503


def test_a_second_sigint_skips_the_waiting(tmp_path):
    with serve(tmp_path) as server:
        held = Gate(server, "m", ["wait", "a"])
        with held:
            server.signal(signal.SIGINT)
            wait_for("closed listener", lambda: not accepts_connections(server.inference))
            server.signal(signal.SIGINT)
            assert server.wait_ended(TIMEOUT_S / 4) == 0
            server.assert_nothing_is_left()
        assert [reply.status_code for reply in held.replies] == [503, 503]


def test_a_server_stops_while_a_model_still_loads(tmp_path):
    with serve(tmp_path, SLOW_TO_LOAD, waits_for_models=False) as server:
        wait_for("worker", lambda: len(server.processes()) == 2)
        server.signal(signal.SIGTERM)
        assert server.wait_ended(TIMEOUT_S / 4) == 0
        server.assert_nothing_is_left()


def test_a_server_stops_while_a_registration_waits_for_a_worker(tmp_path):
    model = write_model(tmp_path, "slow", SLOW_TO_LOAD)
    options = ["--enable-model-api", "--model-store", str(tmp_path), "--set", "drain_timeout=1"]
    with ServerProcess(folder=tmp_path, options=options) as server, ThreadPoolExecutor(1) as operator:
        registering = operator.submit(manage, server, "POST", "/models", url=str(model), initial_workers=1)
        wait_for("worker", lambda: len(server.processes()) == 2)
        server.signal(signal.SIGTERM)
        assert server.wait_ended(TIMEOUT_S / 4) == 0
        server.assert_nothing_is_left()
        assert isinstance(registering.exception(), httpx.RemoteProtocolError | httpx.ReadError | None)


def test_a_server_stops_while_it_downloads_a_model(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/m.mar"
        store = tmp_path / "store"
        store.mkdir()
        options = ["--enable-model-api", "--model-store", str(store), "--set", "allow_private_urls=true"]
        options += ["--set", "drain_timeout=1"]
        with ServerProcess(folder=tmp_path, options=options) as server:
            with open_request(server.management, "POST", f"/models?url={url}"):
                downloading, _ = silent.accept()
                with downloading:
                    server.signal(signal.SIGTERM)
                    assert server.wait_ended(TIMEOUT_S / 4) == 0
            server.assert_nothing_is_left()
            assert list(store.iterdir()) == []


# --- kill -9 ----------------------------------------------------------------------------------------------------------


def test_workers_of_a_killed_server_end_at_once_even_while_they_are_busy(tmp_path):
    with serve(tmp_path) as server, open_request(server.inference, "POST", "/predictions/m", b"wait"):
        wait_for("request at the gate", (tmp_path / "at_gate").exists)
        server.kill()


def test_the_next_server_removes_what_a_killed_one_left(tmp_path):
    with serve(tmp_path) as server:
        server.kill()
        (left,) = (tmp_path / "tmp").iterdir()
    with serve(tmp_path) as server:
        assert not left.exists()
        assert post(server, "m", "a").text == "a"


def test_what_a_worker_has_started_ends_with_it(tmp_path):
    with serve(tmp_path, WITH_CHILD) as server:
        child = int(post(server, "m", "a").text)
        (worker,) = server.describe("m")[0]["workers"]
        os.kill(worker["pid"], signal.SIGKILL)
        wait_for("end of the child", lambda: not psutil.pid_exists(child))
        other = wait_for("child of the next worker", lambda: int(post(server, "m", "a").text))
        assert other != child


# --- what it cannot start with ----------------------------------------------------------------------------------------


def test_a_log_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    done = run_serve(tmp_path, "--model-store", str(tmp_path), "--log-dir", str(tmp_path / "file"))
    assert done.returncode == 2
    error, *hint = done.stderr.splitlines()
    assert error.startswith("error: log file=")
    assert "cannot be opened for writing" in error
    assert len(hint) <= 1
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_temporary_folder_that_does_not_exist_is_one_line(tmp_path):
    done = run_serve(tmp_path, "--model-store", str(tmp_path), "--set", f"temp_dir={tmp_path / 'nowhere'}")
    assert done.returncode in (1, 2)
    error, *hint = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert str(tmp_path / "nowhere") in error
    assert len(hint) <= 1


def test_an_address_in_use_leaves_nothing_behind(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = run_serve(tmp_path, "--model-store", str(tmp_path), "--port", port)
    assert done.returncode == 1
    assert f"cannot listen on http://127.0.0.1:{port}: Address already in use" in done.stderr
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_unix_socket_that_a_killed_server_left_is_replaced_and_a_served_one_is_not(tmp_path):
    path = tmp_path / "s.sock"
    options = ["--inference-address", f"unix:{path}"]
    with serve(tmp_path, options=options) as server:
        server.kill()
    assert path.is_socket()
    with serve(tmp_path, options=options):
        done = run_serve(tmp_path, "--model-store", str(tmp_path), "--inference-address", f"unix:{path}")
        assert done.returncode == 1
        assert f"cannot listen on unix:{path}: Address already in use" in done.stderr
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://server") as client:
            assert client.post("/predictions/m", content=b"a").text == "a"
    assert not path.exists()
