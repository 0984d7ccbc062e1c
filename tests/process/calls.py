"""Many requests at once, as independent clients send them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from tests.serving import ServerProcess, wait_for

TIMEOUT_S = 60.0
"""Longer than anything here may take: a test that reaches it fails by it."""


def post(server: ServerProcess, model: str, body: bytes | str) -> httpx.Response:
    """One prediction on a connection of its own. ``model`` may name a version: ``name/1.0``."""
    url = f"{server.inference}/predictions/{model}"
    return httpx.post(url, content=body, trust_env=False, timeout=TIMEOUT_S)


def post_at_once(server: ServerProcess, model: str, bodies: Sequence[bytes | str]) -> list[httpx.Response]:
    """As many clients as bodies, each with one request. The replies are in the order of the bodies."""
    with ThreadPoolExecutor(len(bodies)) as clients:
        return list(clients.map(lambda body: post(server, model, body), bodies))


def manage(server: ServerProcess, method: str, path: str, **parameters: object) -> httpx.Response:
    """One call of the management API."""
    return httpx.request(method, f"{server.management}{path}", params=parameters, trust_env=False, timeout=TIMEOUT_S)  # type: ignore[arg-type]


def message_of(reply: httpx.Response) -> str:
    """What an error says; asserts that it is one, with its own status in it."""
    error = reply.json()
    assert error["code"] == reply.status_code
    return str(error["message"])


class Load:
    """Clients that each send one request after another for as long as a ``with`` block lasts.

    The block begins when each of them has been answered, and ends when none waits any more.
    """

    def __init__(self, server: ServerProcess, model: str, *, clients: int = 8, body: str = "a") -> None:
        self._url = f"{server.inference}/predictions/{model}"
        self._body = body
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(clients)]
        self.outcomes: Counter[str] = Counter()
        """How often there was which: a status and its body, or the name of an exception."""

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.wait_for_answers(len(self._threads))
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def answered(self) -> int:
        return sum(self.outcomes.values())

    def wait_for_answers(self, count: int) -> None:
        """Wait until there are so many more than now."""
        wanted = self.answered + count
        wait_for(f"{wanted} answers", lambda: self.answered >= wanted, TIMEOUT_S)

    def _send(self) -> None:
        with httpx.Client(trust_env=False, timeout=TIMEOUT_S) as client:
            while not self._stop.is_set():
                try:
                    reply = client.post(self._url, content=self._body)
                    outcome = f"{reply.status_code} {reply.text}"
                except httpx.HTTPError as error:
                    outcome = type(error).__name__
                self.outcomes[outcome] += 1


GATED = """
import pathlib, time


def wait_at_gate():
    pathlib.Path("../at_gate").touch()
    while not pathlib.Path("../gate_is_open").exists():
        time.sleep(0.01)


def take_time():
    time.sleep(0.005)
"""
"""Source for a handler of a model folder next to the server's files.

``wait_at_gate`` holds its worker up until a test lets it go on. ``take_time``, to be called for every batch, takes
longer than the batches of which a worker is given the next while it still has one: others stay in the queue.
"""


class Gate:
    """The test's side of ``GATED``: clients whose requests are under way while a ``with`` block lasts.

    The block begins when the first request is held up by its worker and the others are in the queue, in their order.
    At its end the gate is opened, and ``replies`` has what became of the requests.
    """

    def __init__(self, server: ServerProcess, model: str, bodies: Sequence[str]) -> None:
        """
        Args:
            model: its name, or ``name/version`` where it has several.
            bodies: the first must be one with which the model's handler waits at the gate.
        """
        self._server, self._model, self._bodies = server, model, bodies
        self._at_gate, self._is_open = server.folder / "at_gate", server.folder / "gate_is_open"
        self._clients = ThreadPoolExecutor(len(bodies))
        self._calls: list[Future[httpx.Response]] = []
        self.replies: list[httpx.Response] = []

    def __enter__(self) -> Gate:
        for path in (self._at_gate, self._is_open):
            path.unlink(missing_ok=True)
        for number, body in enumerate(self._bodies):
            self._calls.append(self._clients.submit(post, self._server, self._model, body))
            if number == 0:
                wait_for("request at the gate", self._at_gate.exists)
            else:
                wait_for("request in the queue", lambda number=number: pending(self._server, self._model) == number)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.open()
        self._clients.shutdown()
        if kind is None:
            self.replies = [call.result() for call in self._calls]

    def open(self) -> None:
        self._is_open.touch()


def pending(server: ServerProcess, model: str) -> int:
    """Requests in the queue of a model, or of one version of it: ``name/version``."""
    (version,) = manage(server, "GET", f"/models/{model}").json()
    return int(version["jobQueueStatus"]["pendingRequests"])


def open_request(base_url: str, method: str, path: str, body: bytes = b"") -> socket.socket:
    """Send a request and return its connection, from which nobody has read."""
    address = urlsplit(base_url)
    connection = socket.create_connection((address.hostname or "", address.port or 0), TIMEOUT_S)
    connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    return connection


def run_serve(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """``flambeau serve`` that is expected to end by itself. Its temporary folder is ``folder / "tmp"``."""
    (folder / "tmp").mkdir(exist_ok=True)
    listeners = {"inference": "--port", "management": "--management-port", "metrics": "--metrics-port"}
    ports = [word for name, port in listeners.items() if f"--{name}-address" not in options for word in (port, "0")]
    ports += ["--grpc-port", "0", "--grpc-management-port", "0"]
    return subprocess.run(
        [str(Path(sys.executable).with_name("flambeau")), "serve", *ports, *options],
        cwd=folder,
        env={**os.environ, "TMPDIR": str(folder / "tmp")},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
