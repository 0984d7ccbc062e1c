"""Call-backs at a later time, from one thread for the whole process."""

from __future__ import annotations

import heapq
import itertools
import os
import threading
from collections.abc import Callable
from time import monotonic


class Timer:
    """One call-back to come."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Do not call, unless it is being done already. What the call-back holds is let go."""
        self.callback = None


class _Timekeeper:
    """A heap of timers, and a thread that sleeps until the first is due; it starts with the first timer."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None

    def add(self, due_at: float, timer: Timer) -> None:
        with self._changed:
            heapq.heappush(self._timers, (due_at, next(self._numbers), timer))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="flambeau-timekeeper", daemon=True)
                self._thread.start()
            elif self._timers[0][2] is timer:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._timers and self._timers[0][2].callback is None:
                    heapq.heappop(self._timers)
                wait_s = self._timers[0][0] - monotonic() if self._timers else None
                if wait_s is None or wait_s > 0:
                    self._changed.wait(wait_s)
                    continue
                callback = heapq.heappop(self._timers)[2].callback
            if callback is not None:
                callback()


_timekeeper = _Timekeeper()


def call_at(due_at: float, callback: Callable[[], None]) -> Timer:
    """Call back once, soon after ``due_at`` in monotonic seconds; the call-back must be short and not raise."""
    timer = Timer(callback)
    _timekeeper.add(due_at, timer)
    return timer


def _start_anew() -> None:
    """The child of a fork has no timekeeper's thread, and none of its parent's timers is its own."""
    global _timekeeper
    _timekeeper = _Timekeeper()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
