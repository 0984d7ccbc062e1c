"""Frames over a blocking socket, for the worker's one thread."""

from __future__ import annotations

import socket

from flambeau.errors import ProtocolError
from flambeau.request import Payload
from flambeau.wire.arena import Arena
from flambeau.wire.codec import (
    PREFIX_BYTES,
    attach_segments,
    decode_envelope,
    decode_prefix,
    encode,
    segment_sizes,
)
from flambeau.wire.messages import Message

RECEIVE_BUFFER_BYTES = 256 * 1024
"""What a Unix socket holds at most by default: one receive takes all that is there."""
MAX_FRAME_BYTES = 1 << 32
"""The other end is the server, which has limited every request: this only tells frames from garbage."""
MAX_BUFFERS_PER_SEND = 512
"""Below the 1024 that Linux takes in one ``sendmsg``."""


class Connection:
    """A worker's end of its socket."""

    def __init__(self, sock: socket.socket, arena: Arena | None = None) -> None:
        """
        Args:
            arena: memory shared with the server; None: all values go through the socket.
        """
        self._socket = sock
        self._arena = arena
        self.gives_views = False
        """Whether values in shared memory are views of it, valid until the next :meth:`send`; otherwise copies."""
        self._reply_place = 0
        self._buffer = bytearray(RECEIVE_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0

    def receive(self) -> Message | None:
        """The next message, waited for without limit; None when the server has closed its end.

        Large values are received straight into the ``bytearray`` that the handler is given.

        Raises:
            ProtocolError: the bytes are not the wire protocol.
        """
        if not self._fill(PREFIX_BYTES):
            return None
        prefix = decode_prefix(self._buffer, MAX_FRAME_BYTES, self._start)
        self._start += PREFIX_BYTES
        self._reply_place = prefix.reply_place
        size = prefix.envelope_bytes
        if size <= RECEIVE_BUFFER_BYTES:
            if not self._fill(size):
                return None
            with self._view[self._start : self._start + size] as envelope:
                message = decode_envelope(prefix.type, envelope)
            self._start += size
        else:
            whole = self._take(size)
            if whole is None:
                return None
            message = decode_envelope(prefix.type, whole)
        if not prefix.segment_bytes:
            return message
        segments: list[Payload] = []
        if prefix.place:
            return self._attach_shared(message, prefix.place, prefix.segment_bytes)
        for segment_size in segment_sizes(message, prefix.segment_bytes):
            segment = self._take(segment_size)
            if segment is None:
                return None
            segments.append(segment)
        return attach_segments(message, segments)

    def _attach_shared(self, message: Message, place: int, segment_bytes: int) -> Message:
        """Segments out of shared memory, each copied into the ``bytearray`` that the handler is given, or not."""
        if self._arena is None:
            raise ProtocolError("segments in shared memory, where none is shared")
        shared = self._arena.look(place, segment_bytes)
        segments: list[Payload] = []
        start = 0
        for size in segment_sizes(message, segment_bytes):
            segment = shared[start : start + size]
            segments.append(segment if self.gives_views else bytearray(segment))
            start += size
        return attach_segments(message, segments)

    def send(self, message: Message) -> None:
        """
        Raises:
            OSError: the server has closed its end.
        """
        buffers = encode(message, self._arena, place=self._reply_place)
        if len(buffers) == 1:
            self._socket.sendall(buffers[0])
            return
        for first in range(0, len(buffers), MAX_BUFFERS_PER_SEND):
            self._send_gathered(buffers[first : first + MAX_BUFFERS_PER_SEND])

    def _send_gathered(self, buffers: list[Payload]) -> None:
        """Write buffers with as few system calls as the socket allows."""
        views = [memoryview(buffer) for buffer in buffers]
        first = 0
        while first < len(views):
            sent = self._socket.sendmsg(views[first:])
            while first < len(views) and sent >= len(views[first]):
                sent -= len(views[first])
                first += 1
            if sent:
                views[first] = views[first][sent:]

    def _fill(self, size: int) -> bool:
        """Have ``size`` bytes in the buffer from ``_start`` on. False: the stream has ended before."""
        if self._end - self._start >= size:
            return True
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start + size > RECEIVE_BUFFER_BYTES:
            left = self._end - self._start
            self._buffer[:left] = self._buffer[self._start : self._end]
            self._start, self._end = 0, left
        while self._end - self._start < size:
            received = self._receive_into(self._view[self._end :])
            if not received:
                return False
            self._end += received
        return True

    def _take(self, size: int) -> bytearray | None:
        """``size`` bytes in a buffer of their own. None: the stream has ended before."""
        taken = bytearray(size)
        buffered = min(size, self._end - self._start)
        taken[:buffered] = self._view[self._start : self._start + buffered]
        self._start += buffered
        view = memoryview(taken)
        while buffered < size:
            received = self._receive_into(view[buffered:])
            if not received:
                return None
            buffered += received
        return taken

    def _receive_into(self, view: memoryview) -> int:
        try:
            return self._socket.recv_into(view)
        except ConnectionResetError:  # the server died with a reply of ours unread
            return 0
