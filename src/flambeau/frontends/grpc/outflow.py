"""What a server sends on the streams of one connection, no faster than its client makes room for it.

The client grants room twice, for each stream and for all together; both count data alone, not headers. What has no room
waits in its stream. Pure, as ``http2`` is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from flambeau.frontends.grpc import frames
from flambeau.frontends.grpc.frames import ConnectionProblem, ErrorCode
from flambeau.frontends.grpc.streams import Stream

_JOIN_BYTES = 16 * 1024
"""A smaller response is written in one piece with its head; a larger one beside it, uncopied. Every client takes frames
of this size."""


class Outflow:
    """The sending half of a connection."""

    def __init__(self, write: Callable[[bytes | memoryview], object], completed: Callable[[Stream], None]) -> None:
        """
        Args:
            completed: told when the last byte of a response has been written.
        """
        self._write = write
        self._completed = completed
        self._window = frames.DEFAULT_WINDOW_BYTES
        self._max_frame_bytes = frames.MIN_MAX_FRAME_BYTES
        self._blocked: dict[int, Stream] = {}
        """Those with something pending."""
        self.initial_window = frames.DEFAULT_WINDOW_BYTES
        """Of a new stream."""

    def send(self, stream: Stream, head: bytes, data: bytes, trailers: bytes) -> None:
        """See ``http2.Http2.send``; the stream is open."""
        stream_id, size = stream.id, len(data)
        parts: list[bytes] = []
        if head:
            parts += (frames.frame_head(frames.HEADERS, frames.END_HEADERS, stream_id, len(head)), head)
        fits = size <= _JOIN_BYTES and size <= self._window and size <= stream.send_window
        if (fits or not data) and not stream.pending:
            if data:
                parts += (frames.frame_head(frames.DATA, 0, stream_id, size), data)
                self._window -= size
                stream.send_window -= size
            if trailers:
                parts += (_trailers_head(stream_id, trailers), trailers)
            self._write(b"".join(parts))
            if trailers:
                self._completed(stream)
            return
        if head:
            self._write(b"".join(parts))
        if data:
            stream.pending.append(memoryview(data))
        stream.trailers = trailers
        self._blocked[stream_id] = stream
        self._send_pending(stream)

    def grow(self, increment: int) -> None:
        """The client has more room for all streams together. Raises ConnectionProblem."""
        self._window += increment
        if not increment:
            raise ConnectionProblem(ErrorCode.PROTOCOL_ERROR, "a window that does not grow")
        if self._window > frames.MAX_WINDOW_BYTES:
            raise ConnectionProblem(ErrorCode.FLOW_CONTROL_ERROR, "a window that is too large")
        self.resume()

    def grow_stream(self, stream: Stream, increment: int) -> ErrorCode:
        """The client has more room for one stream. Returns what is wrong with that; NO_ERROR: nothing."""
        stream.send_window += increment
        if not increment:
            return ErrorCode.PROTOCOL_ERROR
        if stream.send_window > frames.MAX_WINDOW_BYTES:
            return ErrorCode.FLOW_CONTROL_ERROR
        if stream.pending:
            self._send_pending(stream)
        return ErrorCode.NO_ERROR

    def apply_setting(self, identifier: int, value: int, streams: Iterable[Stream]) -> None:
        """What the client says of itself. Raises ConnectionProblem: a value is out of range.

        Args:
            streams: all that are open. After the last setting they are to be :meth:`resume`\\ d.
        """
        if identifier == frames.SETTINGS_INITIAL_WINDOW_SIZE:
            change = value - self.initial_window
            self.initial_window = value
            for stream in streams:
                stream.send_window += change
            if value > frames.MAX_WINDOW_BYTES or any(s.send_window > frames.MAX_WINDOW_BYTES for s in streams):
                raise ConnectionProblem(ErrorCode.FLOW_CONTROL_ERROR, "a window that is too large")
        elif identifier == frames.SETTINGS_MAX_FRAME_SIZE:
            if not frames.MIN_MAX_FRAME_BYTES <= value <= frames.MAX_MAX_FRAME_BYTES:
                raise ConnectionProblem(ErrorCode.PROTOCOL_ERROR, "a frame size out of range")
            self._max_frame_bytes = value
        elif identifier == frames.SETTINGS_ENABLE_PUSH and value > 1:
            raise ConnectionProblem(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1")

    def resume(self) -> None:
        """Send what there may be room for now."""
        for stream in list(self._blocked.values()):
            self._send_pending(stream)

    def forget(self, stream: Stream) -> None:
        """The stream is gone; what it has pending is dropped."""
        stream.pending.clear()
        self._blocked.pop(stream.id, None)

    def stalled(self, now: float, timeout_s: float) -> list[Stream]:
        """Streams whose client has taken nothing for this long, as seen by earlier calls.

        Args:
            now: monotonic seconds.
        """
        found = []
        for stream in self._blocked.values():
            if stream.stalled_since is None:
                stream.stalled_since = now
            elif now - stream.stalled_since > timeout_s:
                found.append(stream)
        return found

    def _send_pending(self, stream: Stream) -> None:
        pending = stream.pending
        while pending:
            data = pending[0]
            size = min(len(data), self._window, stream.send_window, self._max_frame_bytes)
            if size <= 0:
                return
            self._write(frames.frame_head(frames.DATA, 0, stream.id, size))
            self._write(data[:size])
            self._window -= size
            stream.send_window -= size
            stream.stalled_since = None
            if size == len(data):
                pending.popleft()
            else:
                pending[0] = data[size:]
        self._blocked.pop(stream.id, None)
        if stream.trailers:
            self._write(_trailers_head(stream.id, stream.trailers) + stream.trailers)
            self._completed(stream)


def _trailers_head(stream_id: int, trailers: bytes) -> bytes:
    return frames.frame_head(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream_id, len(trailers))
