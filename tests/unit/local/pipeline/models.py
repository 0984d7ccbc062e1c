"""Models that tests control."""

from __future__ import annotations

from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from flambeau.local.calls import LocalCallable


class HeldModel(LocalCallable):
    """Answers nothing by itself: the test takes each call and settles it."""

    def __init__(self, name: str = "held", refusal: Exception | None = None) -> None:
        """
        Args:
            refusal: what ``submit`` raises.
        """
        self.name = name
        self.is_closed = False
        self._refusal = refusal
        self._submitted: SimpleQueue[tuple[Any, dict[str, Any], Future[Any]]] = SimpleQueue()

    def take(self) -> tuple[Any, Future[Any]]:
        """The next row that has been submitted, and its future; waits for it."""
        row, _, future = self._submitted.get(timeout=10)
        return row, future

    def answer(self) -> dict[str, Any]:
        """Answer the next row with itself. Gives what it was submitted with."""
        row, terms, future = self._submitted.get(timeout=10)
        future.set_result(row)
        return terms

    def is_untouched(self) -> bool:
        return self._submitted.empty()

    def __call__(self, row: Any, *, timeout_s: float | None = None, priority: int = 0) -> Any:
        return self.submit(row, timeout_s=timeout_s, priority=priority).result(timeout=10)

    def submit(self, row: Any, *, timeout_s: float | None = None, priority: int = 0) -> Future[Any]:
        if self._refusal is not None:
            raise self._refusal
        future: Future[Any] = Future()
        self._submitted.put((row, {"timeout_s": timeout_s, "priority": priority}, future))
        return future

    def describe(self) -> dict[str, Any]:
        return {"modelName": self.name}

    def close(self, timeout_s: float | None = None) -> bool:
        self.is_closed = True
        return True

    def _window(self) -> int:
        return 2
