"""Many requests at once, as independent clients send them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

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
