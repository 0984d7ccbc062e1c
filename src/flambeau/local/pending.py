"""One row on its way, and who waits for its result: a thread that sleeps, or a future."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from enum import IntEnum
from queue import SimpleQueue
from typing import Any

from flambeau.errors import CallTimedOut
from flambeau.local.timekeeper import Timer

logger = logging.getLogger(__name__)


class State(IntEnum):
    WAITING = 0
    TAKEN = 1
    """In a batch that runs."""
    DONE = 2
    LEFT = 3
    """Whoever called wants no answer any more."""


class PendingCall:
    """One row on its way, and whoever waits for its result: a thread that sleeps, or a future."""

    __slots__ = (
        "arrived_at",
        "can_lead",
        "deadline",
        "error",
        "future",
        "has_worker",
        "is_wanted",
        "parts",
        "priority",
        "result",
        "row",
        "size",
        "state",
        "timer",
        "wake",
        "worker",
    )

    def __init__(self, row: Any, priority: int, size: int, arrived_at: float, deadline: float | None) -> None:
        self.row = row
        self.priority = priority
        self.size = size
        self.arrived_at = arrived_at
        self.deadline = deadline
        self.state = State.WAITING
        self.is_wanted = True
        """False from when its caller leaves, which may be before its state says so."""
        self.result: Any = None
        self.error: BaseException | None = None
        self.wake: threading.Lock | None = None
        """What its thread acquires to sleep; None where there is no thread."""
        self.can_lead = False
        """Whether that thread waits for a worker, to run the next batch with."""
        self.has_worker = False
        """Whether that thread has one, or is about to have the one that it was handed."""
        self.worker: Any = None
        """Handed to that thread, which does not have it yet."""
        self.future: CallFuture | None = None
        self.parts: SimpleQueue[Any] | None = None
        """Where a stream's reader takes parts from."""
        self.timer: Timer | None = None

    def has_expired(self, now: float) -> bool:
        return self.deadline is not None and self.deadline <= now

    def timed_out(self, name: str) -> CallTimedOut:
        return CallTimedOut(name, (self.deadline or 0.0) - self.arrived_at)

    def finish(self) -> None:
        """What became of it is known; wake its thread, if it has one."""
        self.row = None
        self.state = State.DONE
        if self.wake is not None:
            poke(self.wake)

    def deliver(self) -> None:
        """Answer its future, if it has one; call-backs run here, so not under a lock."""
        future = self.future
        if future is None:
            return
        if self.timer is not None:
            self.timer.cancel()
        error, self.error = self.error, None
        future.call = self.future = None  # an error's traceback holds the call
        if not future.running() and not future.set_running_or_notify_cancel():
            return
        try:
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(self.result)
        except BaseException:  # the border to user code: what a call-back raises is not for the thread that answers
            logger.exception("a future's call-back failed")


class CallFuture(Future[Any]):
    """A future whose row leaves the queue when it is cancelled."""

    def __init__(self, leave: Callable[[PendingCall], None]) -> None:
        super().__init__()
        self.call: PendingCall | None = None
        self._leave = leave

    def cancel(self) -> bool:
        if not super().cancel():
            return False
        call, self.call = self.call, None
        if call is not None:
            self._leave(call)
        return True


def poke(wake: threading.Lock) -> None:
    """Wake whoever sleeps on it, or see that he does not fall asleep."""
    try:
        wake.release()
    except RuntimeError:  # released before, and not yet slept on again
        pass
