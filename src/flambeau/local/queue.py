"""Rows that wait for a worker of this process: by priority, then first in, first out. No lock, no clock.

``put`` and ``withdraw`` may be interrupted by a signal, whose handler raises: each changes the queue in one step, which
has no call in its midst at which that could happen. The other methods are for threads that no signal interrupts.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """A call, as the queue sees it. It is its own key, so each is equal to itself alone."""

    priority: int
    size: int
    """What it counts toward the batch limit; 0 or more."""


C = TypeVar("C", bound=Waiting)

_SLACK = 64
"""Withdrawn calls that the levels may hold before they are cleared out."""


class CallQueue(Generic[C]):
    """Calls that wait."""

    def __init__(self) -> None:
        self._waiting: dict[C, None] = {}
        """Who waits, in the order of arrival; the rest of the queue only says whose turn it is."""
        self._arrived: deque[C] = deque()
        """Those that are not yet in a level."""
        self._levels: dict[int, deque[C]] = {}
        """By priority; may still hold some that have been withdrawn."""
        self._order: list[int] = []
        """Negated priorities that have a level, so that the greatest priority comes first."""
        self._sorted = 0
        """Calls in the levels."""
        self.size = 0
        """What those that wait count toward the batch limit, together."""

    @property
    def depth(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def waiting(self) -> list[C]:
        """Who waits, in the order of arrival."""
        return list(self._waiting)

    def put(self, call: C) -> None:
        """Add a call behind those of its priority."""
        self._waiting[call] = None
        self.size += call.size
        self._arrived.append(call)

    def withdraw(self, call: C) -> bool:
        """A call waits no more. Returns whether it did."""
        if call not in self._waiting:
            return False
        del self._waiting[call]
        self.size -= call.size
        return True

    def take(self, limit: int) -> list[C]:
        """The calls of the next batch: as many as their sizes together allow, and at least one unless none waits."""
        taken: list[C] = []
        room = limit
        for call in self:
            if taken and call.size > room:
                break
            taken.append(call)
            room -= call.size
            if room <= 0:
                break
        for call in taken:
            self.withdraw(call)
        return taken

    def first(self) -> C | None:
        """The call whose turn it is; None if none waits."""
        return next(iter(self), None)

    def __iter__(self) -> Iterator[C]:
        """Those that wait, in the order of their turns. Nobody may come or go meanwhile."""
        self._sort()
        for negated in list(self._order):
            level = self._levels[-negated]
            while level and level[0] not in self._waiting:
                level.popleft()
                self._sorted -= 1
            if not level:
                del self._levels[-negated]
                self._order.remove(negated)
                continue
            for call in level:
                if call in self._waiting:
                    yield call

    def _sort(self) -> None:
        """Into the levels, whoever is not yet there."""
        if self._sorted > 2 * len(self._waiting) + _SLACK:
            self._levels.clear()
            self._order.clear()
            self._sorted = 0
            self._arrived = deque(self._waiting)
        while self._arrived:
            call = self._arrived.popleft()
            level = self._levels.get(call.priority)
            if level is None:
                level = self._levels[call.priority] = deque()
                insort(self._order, -call.priority)
            level.append(call)
            self._sorted += 1
