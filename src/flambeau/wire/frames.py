"""Frames out of a byte stream, without a socket: whoever reads asks where to put bytes and says how many came."""

from __future__ import annotations

from flambeau.errors import ProtocolError
from flambeau.request import Payload
from flambeau.wire import codec
from flambeau.wire.arena import Arena
from flambeau.wire.messages import Message

_BUFFER_BYTES = 256 * 1024
"""Enough for the replies of a batch of small rows in one read; larger frames get a buffer of their own size."""


class FrameReader:
    """Turns received bytes into messages. Use: ``n = sock.recv_into(reader.buffer()); reader.advance(n)``.

    Segments in the messages are views of a buffer that belongs to the message alone.
    """

    def __init__(self, max_frame_bytes: int) -> None:
        self.max_frame_bytes = max_frame_bytes
        """A larger frame is refused; may be changed at any time."""
        self.arena: Arena | None = None
        """Where the other end may have put segments; None: nowhere."""
        self._small = bytearray(_BUFFER_BYTES)
        self._small_view = memoryview(self._small)
        self._start = 0
        self._end = 0
        self._large: bytearray | None = None
        self._large_end = 0

    def buffer(self) -> memoryview:
        """Where the next bytes go; never empty. Valid until the next ``advance``."""
        if self._large is not None:
            return memoryview(self._large)[self._large_end :]
        return self._small_view[self._end :]

    def advance(self, count: int) -> list[Message]:
        """Take in ``count`` bytes that were put into :meth:`buffer`.

        Returns:
            The messages that are now complete.

        Raises:
            ProtocolError: the stream is not one of frames; nothing more can be read from it.
        """
        if self._large is not None:
            self._large_end += count
            if self._large_end < len(self._large):
                return []
            frame, self._large = self._large, None
            return [self._decode(frame, 0, codec.decode_prefix(frame, self.max_frame_bytes))]
        self._end += count
        messages: list[Message] = []
        while self._end - self._start >= codec.PREFIX_BYTES:
            prefix = codec.decode_prefix(self._small, self.max_frame_bytes, self._start)
            if self._end - self._start < prefix.frame_bytes:
                self._make_room(prefix.frame_bytes)
                return messages
            messages.append(self._decode(self._small, self._start, prefix))
            self._start += prefix.frame_bytes
        if self._start == self._end:
            self._start = self._end = 0
        else:
            self._make_room(codec.PREFIX_BYTES)
        return messages

    def _make_room(self, frame_bytes: int) -> None:
        """See to it that the rest of a frame of this size has somewhere to go."""
        if frame_bytes > _BUFFER_BYTES:
            self._large = bytearray(frame_bytes)
            self._large_end = self._end - self._start
            self._large[: self._large_end] = self._small_view[self._start : self._end]
            self._start = self._end = 0
        elif self._start + frame_bytes > _BUFFER_BYTES:
            rest = self._end - self._start
            self._small[:rest] = self._small[self._start : self._end]
            self._start, self._end = 0, rest

    def _decode(self, frame: bytearray, start: int, prefix: codec.FramePrefix) -> Message:
        view = memoryview(frame)
        body_start = start + codec.PREFIX_BYTES
        body_end = body_start + prefix.envelope_bytes
        message = codec.decode_envelope(prefix.type, view[body_start:body_end])
        if not prefix.segment_bytes:
            codec.segment_sizes(message, 0)
            return message
        if prefix.place:
            return self._attach_shared(message, prefix)
        if frame is self._small:  # the buffer will be used again: the segments need one of their own
            view = memoryview(bytes(view[body_end : start + prefix.frame_bytes]))
            body_end = 0
        segments: list[Payload] = []
        for size in codec.segment_sizes(message, prefix.segment_bytes):
            segments.append(view[body_end : body_end + size])
            body_end += size
        return codec.attach_segments(message, segments)

    def _attach_shared(self, message: Message, prefix: codec.FramePrefix) -> Message:
        if self.arena is None:
            raise ProtocolError("segments in shared memory, where none is shared")
        sizes = codec.segment_sizes(message, prefix.segment_bytes)
        return codec.attach_segments(message, self.arena.receive(prefix.place, sizes))

    def at_end(self) -> None:
        """The stream has ended.

        Raises:
            ProtocolError: in the middle of a frame.
        """
        if self._large is not None or self._start != self._end:
            raise ProtocolError("the stream ended in the middle of a frame")
