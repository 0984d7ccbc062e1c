"""Memory that both ends of one connection see, so that large values need not go through the socket.

A stretch of memory without a name (``memfd``) has slots of equal size, ``MAX_BATCHES`` for each direction. Who sends a
frame puts all its segments into one of its slots, one after the other, and takes the slots in turn. That is safe
because a worker has at most so many batches at a time: a slot is used again only after the answer to the batch that
used it last, and by then both ends have copied out of it what they keep. Segments that do not fit go through the
socket. A server that looks at answers for longer says with each batch which slot its answer may use (``lending``).

The memory cannot be shrunk or grown by either end (it is sealed): a worker that goes wrong can spoil the values of its
own batches and nothing else.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Sequence

from flambeau.errors import ProtocolError
from flambeau.request import Payload
from flambeau.wire.messages import MAX_BATCHES

SLOTS = MAX_BATCHES
"""In each direction."""

STREAM = SLOTS + 1
"""As the place for an answer: none, the socket."""

SLOT_BYTES = 8 * 1024 * 1024
"""Room for 80 images of 100 kB. Memory is taken only where something has been put."""

_F_ADD_SEALS, _F_SEAL_SHRINK, _F_SEAL_GROW = 1033, 0x0002, 0x0004
"""Linux's numbers; ``fcntl`` has the names from Python 3.12 on some builds only."""


def make_memory(slot_bytes: int = SLOT_BYTES) -> int | None:
    """A file descriptor of memory for one connection, to be closed by the caller.

    Returns:
        None where there is no such thing, or the process may not have it (a sandbox, a limit): the socket will do.
    """
    if not hasattr(os, "memfd_create"):
        return None
    try:
        fd = os.memfd_create("flambeau", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError:
        return None
    try:
        os.ftruncate(fd, 2 * SLOTS * slot_bytes)
        fcntl.fcntl(fd, _F_ADD_SEALS, _F_SEAL_SHRINK | _F_SEAL_GROW)
    except OSError:
        os.close(fd)
        return None
    return fd


class Arena:
    """One end's view of the memory."""

    def __init__(self, fd: int, *, is_server: bool) -> None:
        """
        Args:
            fd: of :func:`make_memory`; may be closed afterwards.
            is_server: which half this end writes to: the server to the first.
        """
        size = os.fstat(fd).st_size
        self._map = mmap.mmap(fd, size)
        self._view = memoryview(self._map)
        self._slot_bytes = size // (2 * SLOTS)
        self._out = 0 if is_server else SLOTS
        self._in = SLOTS if is_server else 0
        self._next = 0

    def put(self, segments: Sequence[Payload], size: int, place: int = 0) -> int:
        """Put the segments of one frame into a slot.

        Args:
            size: their length together.
            place: 1 to ``SLOTS``; 0: the next in turn; ``STREAM``: none.

        Returns:
            The place that the frame's prefix names: 1 to ``SLOTS``; 0 if there is no room, and nothing was put.
        """
        if size > self._slot_bytes or place == STREAM:
            return 0
        if not place:
            place = self._next + 1
            self._next = place % SLOTS
        start = (self._out + place - 1) * self._slot_bytes
        for segment in segments:
            end = start + len(segment)
            self._view[start:end] = segment
            start = end
        return place

    def look(self, place: int, size: int) -> memoryview:
        """What the other end has put. To be copied before the frame is answered.

        Raises:
            ProtocolError: there is no such place, or not so much room in it.
        """
        if not 1 <= place <= SLOTS or size > self._slot_bytes:
            raise ProtocolError(f"no {size} bytes of shared memory at place {place}")
        start = (self._in + place - 1) * self._slot_bytes
        return self._view[start : start + size]

    def receive(self, place: int, sizes: Sequence[int]) -> list[Payload]:
        """The values that the other end has put, to be kept for as long as one likes.

        Raises:
            ProtocolError: as :meth:`look`.
        """
        shared = self.look(place, sum(sizes))
        values: list[Payload] = []
        start = 0
        for size in sizes:
            values.append(bytes(shared[start : start + size]))  # the slot will be used again
            start += size
        return values

    def places(self) -> tuple[int, int]:
        """Where a batch that is about to be sent goes, and where its answer is wanted; 0: in turn."""
        return 0, 0

    def answered(self) -> None:
        """The answer to the oldest batch came."""

    def close(self) -> None:
        """Give the memory back. Nothing that :meth:`look` returned may be in use."""
        self._view.release()
        self._map.close()
