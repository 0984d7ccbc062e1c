"""Shared memory whose answers are looked at where they are, for as long as somebody does."""

from __future__ import annotations

import ctypes
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any

from flambeau.request import Payload
from flambeau.wire.arena import SLOTS, STREAM, Arena

LENT_SLOTS = SLOTS // 2
"""So many slots may be held by answers that are in use; the others are for batches under way."""

LEND_FROM_BYTES = 64 * 1024
"""What is less is copied sooner than it is watched."""


class LendingArena(Arena):
    """The server's end. Values of an answer are views of its slot, which is not used again before they are gone.

    Where half of the slots are held that way, further answers are copied once; where a batch finds no slot for its
    answer, it comes through the socket.
    """

    def __init__(self, fd: int) -> None:
        super().__init__(fd, is_server=True)
        self._under_way: deque[tuple[int, int]] = deque()
        """The places of each batch that is not answered, and of its answer to come."""
        self._lent: dict[int, weakref.ref[Any]] = {}
        """What keeps a slot's views alive, by place. Taken out by whichever thread drops the last view."""
        self._slot_type = ctypes.c_ubyte * self._slot_bytes

    def places(self) -> tuple[int, int]:
        if not self._under_way and not self._lent:
            self._under_way.append((1, 1))
            return 1, 1
        taken = {place for place, _ in self._under_way}
        place = next((place for place in range(1, SLOTS + 1) if place not in taken), STREAM)
        promised = {reply_place for _, reply_place in self._under_way}.union(self._lent)
        reply_place = next((place for place in range(1, SLOTS + 1) if place not in promised), STREAM)
        self._under_way.append((place, reply_place))
        return place, reply_place

    def answered(self) -> None:
        if self._under_way:
            self._under_way.popleft()

    def receive(self, place: int, sizes: Sequence[int]) -> list[Payload]:
        size = sum(sizes)
        shared = self.look(place, size)
        if size < LEND_FROM_BYTES or len(self._lent) >= LENT_SLOTS:
            whole = memoryview(bytearray(shared))
        else:
            whole = self._lend(place)
        values: list[Payload] = []
        start = 0
        for value_size in sizes:
            values.append(whole[start : start + value_size])
            start += value_size
        return values

    def _lend(self, place: int) -> memoryview:
        slot = self._slot_type.from_buffer(self._map, (self._in + place - 1) * self._slot_bytes)
        self._lent[place] = weakref.ref(slot, lambda _, lent=self._lent: lent.pop(place, None))  # type: ignore[misc]
        return memoryview(slot).cast("B")

    def close(self) -> None:
        """Give the memory back, or leave that to whoever looks at it last."""
        self._view.release()
        try:
            self._map.close()
        except BufferError:
            pass
