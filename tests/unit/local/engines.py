"""What tests of local calls share: a handler that can be held, threads, and waiting with a limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

LIMIT_S = 20.0


def wait_for(condition: Callable[[], object]) -> None:
    """Until it holds."""
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.0005)


class Held:
    """A handler whose batches each wait to be let go. Doubles its rows, and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.begun = threading.Semaphore(0)
        self._go = threading.Semaphore(0)

    def __call__(self, rows: list[Any]) -> list[Any]:
        self.batches.append(list(rows))
        self.begun.release()
        assert self._go.acquire(timeout=LIMIT_S)
        return [row * 2 for row in rows]

    def wait_until_begun(self) -> None:
        assert self.begun.acquire(timeout=LIMIT_S)

    def let_go(self, batches: int = 1) -> None:
        self._go.release(batches)


class Calls:
    """Calls in threads of their own, and what became of them."""

    def __init__(self) -> None:
        self.outcomes: dict[Any, Any] = {}
        self._threads: list[threading.Thread] = []

    def start(self, key: Any, call: Callable[[], Any]) -> None:
        def run() -> None:
            try:
                self.outcomes[key] = call()
            except BaseException as error:
                self.outcomes[key] = error

        thread = threading.Thread(target=run)
        self._threads.append(thread)
        thread.start()

    def join(self) -> dict[Any, Any]:
        for thread in self._threads:
            thread.join(LIMIT_S)
            assert not thread.is_alive(), "a call does not return"
        self._threads.clear()
        return self.outcomes


@contextmanager
def calls() -> Iterator[Calls]:
    started = Calls()
    try:
        yield started
    finally:
        started.join()
