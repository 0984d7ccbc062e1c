"""Call-backs soon or at a later time, from one thread for the whole process.

Asking for one takes no lock. So it may be done by finalisers, which run wherever memory is asked for, and by a main
thread that signals interrupt.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from math import inf
from queue import Empty, SimpleQueue
from time import monotonic

logger = logging.getLogger(__name__)

_FEW_TIMERS = 64
"""So many are not worth looking through for those that have been cancelled."""


class Timer:
    """One call-back to come."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Do not call, unless it is being done already. What the call-back holds is let go."""
        self.callback = None


class _Timekeeper:
    """A thread that sleeps until its first timer is due, or until it is woken."""

    def __init__(self) -> None:
        self.bell: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        """Wakes the thread: what is to be called soon, or None for a timer that is due before it would wake."""
        self._added: deque[tuple[float, Timer]] = deque()
        """Timers that the thread has not yet seen."""
        self._wakes_at = inf
        """Set before the thread looks at ``_added`` for the last time and sleeps: who adds looks at it afterwards."""
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    thread = threading.Thread(target=self._run, name="flambeau-timekeeper", daemon=True)
                    thread.start()
                    self._thread = thread

    def wait_until_called(self) -> None:
        if self._thread is not None:
            is_called = threading.Event()
            self.bell.put(is_called.set)
            is_called.wait()

    def add(self, due_at: float, timer: Timer) -> None:
        self._added.append((due_at, timer))
        if due_at < self._wakes_at:
            self.bell.put(None)

    def _run(self) -> None:
        timers: list[tuple[float, int, Timer]] = []
        numbers = itertools.count()
        many = _FEW_TIMERS
        while True:
            while self._added:
                due_at, timer = self._added.popleft()
                heapq.heappush(timers, (due_at, next(numbers), timer))
            if len(timers) > many:
                timers = [entry for entry in timers if entry[2].callback is not None]
                heapq.heapify(timers)
                many = max(_FEW_TIMERS, 2 * len(timers))
            while timers and timers[0][0] <= monotonic():
                _call(heapq.heappop(timers)[2].callback)
            self._wakes_at = timers[0][0] if timers else inf
            if self._added:
                continue
            left_s = self._wakes_at - monotonic()
            try:
                _call(self.bell.get(timeout=min(max(left_s, 0.0), threading.TIMEOUT_MAX)))
            except Empty:
                pass


def _call(callback: Callable[[], object] | None) -> None:
    if callback is not None:
        try:
            callback()
        except BaseException:  # the border to what others want called: one that fails must not be the last
            logger.exception("a call-back failed")


_timekeeper = _Timekeeper()


def call_at(due_at: float, callback: Callable[[], object]) -> Timer:
    """Call back once, soon after ``due_at`` in monotonic seconds; the call-back must be short."""
    timer = Timer(callback)
    _timekeeper.start()
    _timekeeper.add(due_at, timer)
    return timer


def soon_caller() -> Callable[[Callable[[], object]], None]:
    """A function that has its argument called soon, from the timekeeper's thread; what is called must be short.

    It is one step of the interpreter's: a signal's handler runs before it or after it.
    """
    _timekeeper.start()
    return _timekeeper.bell.put


def wait_until_called() -> None:
    """Until everything that was asked for soon has been called. Not from a call-back."""
    _timekeeper.wait_until_called()


def _start_anew() -> None:
    """The child of a fork has no timekeeper's thread, and none of its parent's timers is its own."""
    global _timekeeper
    _timekeeper = _Timekeeper()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
