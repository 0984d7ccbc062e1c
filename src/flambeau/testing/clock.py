"""Time that passes only when a test says so, or when an event loop has nothing else to do."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class FakeClock:
    """A ``clock.Clock`` that is set by hand."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self.now += seconds


class _JumpingSelector(selectors.DefaultSelector):
    """Lets time pass where another selector would wait."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("everything waits, and for nothing that could still happen")
            self._clock.advance(max(0.0, timeout))
        return ready


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose timers take no time: where it would wait for one, its clock jumps there.

    Not for scenarios with threads, processes or the other ends of sockets, which need real time.
    """

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(_JumpingSelector(clock))
        self._fake_clock = clock

    def time(self) -> float:
        return self._fake_clock.monotonic()


def run_in_fake_time(scenario: Coroutine[Any, Any, Result], clock: FakeClock) -> Result:
    """What ``asyncio.run`` does, on a :class:`FakeTimeLoop`.

    Raises:
        RuntimeError: the scenario waits for what cannot happen any more.
        Exception: whatever a call-back raised, which another loop would only log.
    """
    loop = FakeTimeLoop(clock)
    raised: list[BaseException] = []
    loop.set_exception_handler(lambda _, context: raised.append(context.get("exception", RuntimeError(context))))
    try:
        result = loop.run_until_complete(scenario)
        if raised:
            raise raised[0]
        return result
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        loop.close()
