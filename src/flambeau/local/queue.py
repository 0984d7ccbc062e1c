"""Rows that wait for a worker of this process: by priority, then first in, first out. No lock, no clock."""

from __future__ import annotations

from bisect import insort
from collections import deque
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """A call, as the queue sees it."""

    priority: int
    size: int
    """What it counts toward the batch limit; 0 or more."""
    is_wanted: bool
    """Whether it still wants an answer; one that does not is skipped when its turn comes."""


C = TypeVar("C", bound=Waiting)


class CallQueue(Generic[C]):
    """Calls that wait. ``depth`` and ``size`` count those that are still wanted."""

    def __init__(self) -> None:
        self._levels: dict[int, deque[C]] = {}
        self._order: list[int] = []
        """Negated priorities that have a level, so that the greatest priority comes first."""
        self.depth = 0
        self.size = 0

    def put(self, call: C) -> None:
        """Add a call behind those of its priority."""
        level = self._levels.get(call.priority)
        if level is None:
            level = self._levels[call.priority] = deque()
            insort(self._order, -call.priority)
        level.append(call)
        self.depth += 1
        self.size += call.size

    def withdraw(self, call: C) -> None:
        """A waiting call is no longer wanted. It costs no room from now on."""
        call.is_wanted = False
        self.depth -= 1
        self.size -= call.size
        level = self._levels[call.priority]
        if len(level) > 2 * self.depth + 64:
            self._levels[call.priority] = deque(other for other in level if other.is_wanted)

    def take(self, limit: int) -> list[C]:
        """The calls of the next batch: as many as their sizes together allow, and at least one unless none waits."""
        taken: list[C] = []
        room = limit
        while (call := self.first()) is not None:
            if taken and call.size > room:
                break
            self._levels[call.priority].popleft()
            self.depth -= 1
            self.size -= call.size
            taken.append(call)
            room -= call.size
            if room <= 0:
                break
        return taken

    def first(self) -> C | None:
        """The call whose turn it is; None if none waits."""
        while self._order:
            level = self._levels[-self._order[0]]
            while level:
                if level[0].is_wanted:
                    return level[0]
                level.popleft()
            del self._levels[-self._order.pop(0)]
        return None
