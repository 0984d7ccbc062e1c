"""One HTTP/2 connection as a server sees it: bytes in, streams out; no socket, no clock, no loop.

It holds the rules of RFC 9113 that keep either side from overrunning the other: both flow-control windows, frame sizes,
header blocks, the number of streams, and how often a client may open a stream only to cancel it. What travels in the
streams is not its business; see ``call``.

Data is acknowledged as soon as it has come, unless its stream is held: then the client stops when the stream's window
is used up. What the client does not take waits in its stream, and goes out when the client makes room for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from flambeau.frontends.grpc import frames
from flambeau.frontends.grpc.frames import ConnectionProblem, ErrorCode
from flambeau.frontends.grpc.header_blocks import HeaderBlocks, MalformedHead

CONNECTION_WINDOW = 16 * 1024 * 1024
STREAM_WINDOW = 4 * 1024 * 1024
"""What a client may send before it must hear from the server: enough to fill a long, fast line with one stream."""

MAX_CANCELLATIONS = 2_000
"""Streams that a client may cancel, or lose by breaking a rule, in one go. To open a stream and cancel it costs a
client next to nothing and the server a request, so beyond this the connection ends."""
CANCELLATIONS_PER_SWEEP = 500
"""So many are forgiven at each sweep: clients that give up because the server is slow are no attack."""

_MAX_CONTINUATIONS = 64
"""Parts of one header block: frames that add nothing could otherwise come for ever."""

_JOIN_BYTES = 16 * 1024
"""A smaller response is written in one piece with its head; a larger one beside it, uncopied."""

HeadT = TypeVar("HeadT")


class Receiver(Protocol):
    """Takes what comes on one stream."""

    def receive(self, data: bytes, ended: bool) -> None:
        """The next bytes of the request; ``ended``: they are the last."""
        ...

    def cancelled(self) -> None:
        """The stream is gone: nothing more comes, nothing more can be sent."""
        ...

    def drain(self) -> None:
        """The server stops: come to an end."""
        ...


class Stream:
    """One request and its response."""

    __slots__ = (
        "id",
        "is_held",
        "is_open",
        "pending",
        "receiver",
        "send_window",
        "stalled_since",
        "their_end",
        "trailers",
        "unacknowledged",
    )

    receiver: Receiver
    """Set by whoever is told that the stream is open."""

    def __init__(self, stream_id: int, send_window: int) -> None:
        self.id = stream_id
        self.is_open = True
        self.is_held = False
        """Whether the client is to stop sending when the window is used up."""
        self.their_end = False
        """Whether the client has sent its last byte."""
        self.unacknowledged = 0
        """Bytes that came and that the client has not been told it may send anew."""
        self.send_window = send_window
        self.pending: deque[memoryview] = deque()
        """What waits for the client to make room."""
        self.trailers = b""
        """The header block to send after it; empty: more data will follow."""
        self.stalled_since: float | None = None
        """The sweep since which the client has taken nothing of what waits."""


class Http2(Generic[HeadT]):
    """The server's side of one connection."""

    def __init__(
        self,
        blocks: HeaderBlocks[HeadT],
        *,
        write: Callable[[bytes | memoryview], object],
        opened: Callable[[Stream, HeadT], None],
        emptied: Callable[[], None],
        max_streams: int,
        max_header_bytes: int,
    ) -> None:
        """
        Args:
            write: takes bytes for the client.
            opened: told of each request as soon as its header is there; must set ``Stream.receiver``.
            emptied: told when the last stream of a connection that takes no new ones is gone.
            max_streams: that may be open at a time.
            max_header_bytes: of one header block.
        """
        self._blocks = blocks
        self._write = write
        self._opened = opened
        self._emptied = emptied
        self._max_streams = max_streams
        self._max_header_bytes = max_header_bytes
        self._rest = b""
        """The beginning of a frame."""
        self._has_preface = False
        self._has_settings = False
        self._streams: dict[int, Stream] = {}
        self._blocked: dict[int, Stream] = {}
        """Those with something pending."""
        self._highest_id = 0
        self._open_block: _OpenBlock | None = None
        self._unacknowledged = 0
        self._send_window = frames.DEFAULT_WINDOW_BYTES
        self._initial_send_window = frames.DEFAULT_WINDOW_BYTES
        self._max_frame_bytes = frames.MIN_MAX_FRAME_BYTES
        self._cancellations = 0
        self._is_leaving = False

    # --- state ---------------------------------------------------------------------------------------------------

    @property
    def is_ready(self) -> bool:
        """Whether the client has shown that it speaks HTTP/2."""
        return self._has_settings

    @property
    def is_empty(self) -> bool:
        """Whether no stream is open."""
        return not self._streams

    def streams(self) -> list[Stream]:
        """Those that are open, oldest first."""
        return list(self._streams.values())

    # --- receiving -----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Send what a server has to say first."""
        self._write(
            frames.settings(
                {
                    frames.SETTINGS_MAX_CONCURRENT_STREAMS: self._max_streams,
                    frames.SETTINGS_INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                    frames.SETTINGS_MAX_HEADER_LIST_SIZE: self._max_header_bytes,
                }
            )
            + frames.window_update(0, CONNECTION_WINDOW - frames.DEFAULT_WINDOW_BYTES)
        )

    def receive(self, data: bytes) -> None:
        """Take bytes from the client; receivers are called from within.

        Raises:
            ConnectionProblem: to be answered with :meth:`fail`; the connection is of no more use.
        """
        if self._rest:
            data = self._rest + data
        size = len(data)
        position = 0
        if not self._has_preface:
            seen = data[: len(frames.PREFACE)]
            if not frames.PREFACE.startswith(seen):
                raise ConnectionProblem(ErrorCode.PROTOCOL_ERROR, "this port speaks gRPC (HTTP/2)")
            if len(seen) < len(frames.PREFACE):
                self._rest = data
                return
            self._has_preface = True
            position = len(frames.PREFACE)
        while size - position >= frames.FRAME_HEAD_BYTES:
            high, low, kind, flags, stream_id = frames.FRAME_HEAD.unpack_from(data, position)
            length = high << 8 | low
            if length > frames.MIN_MAX_FRAME_BYTES:
                raise ConnectionProblem(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            start = position + frames.FRAME_HEAD_BYTES
            position = start + length
            if position > size:
                position = start - frames.FRAME_HEAD_BYTES
                break
            stream_id &= frames.MAX_WINDOW_BYTES
            if kind == frames.DATA and self._open_block is None:
                self._receive_data(stream_id, flags, data, start, position)
            else:
                self._receive_other(kind, flags, stream_id, data[start:position])
        self._rest = data[position:]

    def _receive_data(self, stream_id: int, flags: int, data: bytes, start: int, end: int) -> None:
        size = end - start
        self._unacknowledged += size
        if self._unacknowledged > CONNECTION_WINDOW:
            raise ConnectionProblem(ErrorCode.FLOW_CONTROL_ERROR, "more data than the connection's window")
        if self._unacknowledged >= CONNECTION_WINDOW // 2:
            self._write(frames.window_update(0, self._unacknowledged))
            self._unacknowledged = 0
        stream = self._streams.get(stream_id)
        if stream is None:
            self._check_was_open(stream_id)
            return
        if stream.their_end:
            self._break_off(stream, ErrorCode.STREAM_CLOSED)
            return
        if flags & frames.PADDED:
            start, end = _without_padding(data, start, end)
        if flags & frames.END_STREAM:
            stream.their_end = True
        else:
            stream.unacknowledged += size
            if stream.unacknowledged > STREAM_WINDOW:
                self._break_off(stream, ErrorCode.FLOW_CONTROL_ERROR)
                return
            if stream.unacknowledged >= STREAM_WINDOW // 2 and not stream.is_held:
                self.release(stream)
        stream.receiver.receive(data[start:end], stream.their_end)

    def _receive_other(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self._open_block is not None and (kind != frames.CONTINUATION or stream_id != self._open_block.stream_id):
            raise ConnectionProblem(ErrorCode.PROTOCOL_ERROR, "a header block was not continued")
        if not self._has_settings and kind != frames.SETTINGS:
            raise ConnectionProblem(ErrorCode.PROTOCOL_ERROR, "SETTINGS must come first")
        if kind == frames.HEADERS:
            self._receive_headers(stream_id, flags, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._receive_window_update(stream_id, payload)
        elif kind == frames.RST_STREAM:
            self._receive_reset(stream_id, payload)
        elif kind == frames.PING:
            self._receive_ping(stream_id, flags, payload)
        elif kind == frames.SETTINGS:
            self._receive_settings(stream_id, flags, payload)
        elif kind == frames.CONTINUATION:
            self._receive_continuation(flags, payload)
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionProblem(ErrorCode.PROTOCOL_ERROR, "clients do not push")
        elif kind == frames.PRIORITY:
            if not stream_id:
                raise ConnectionProblem(ErrorCode.PROTOCOL_ERROR, "PRIORITY of no stream")
        elif kind == frames.GOAWAY and stream_id:
            raise ConnectionProblem(ErrorCode.PROTOCOL_ERROR, "GOAWAY of a stream")

    def _receive_headers(self, stream_id: int, flags: int, payload: bytes) -> None:
        if not stream_id % 2:
            raise ConnectionProblem(ErrorCode.PROTOCOL_ERROR, "a client's streams have odd numbers")
        start, end = 0, len(payload)
        if flags & frames.PADDED:
            start, end = _without_padding(payload, start, end)
        if flags & frames.HAS_PRIORITY:
            start += 5
            if start > end:
                raise ConnectionProblem(ErrorCode.FRAME_SIZE_ERROR, "HEADERS without its priority")
        ended = bool(flags & frames.END_STREAM)
        if flags & frames.END_HEADERS:
            self._take_block(stream_id, ended, payload[start:end])
        else:
            self._open_block = _OpenBlock(stream_id, ended, bytearray(payload[start:end]))

    def _receive_continuation(self, flags: int, payload: bytes) -> None:
        block = self._open_block
        if block is None:
            raise ConnectionProblem(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")
        block.data += payload
        block.parts += 1
        if len(block.data) > self._max_header_bytes or block.parts > _MAX_CONTINUATIONS:
            raise ConnectionProblem(ErrorCode.ENHANCE_YOUR_CALM, "a header block without end")
        if flags & frames.END_HEADERS:
            self._open_block = None
            self._take_block(block.stream_id, block.ended, bytes(block.data))

    def _take_block(self, stream_id: int, ended: bool, block: bytes) -> None:
        if stream_id <= self._highest_id:
            self._take_trailers(stream_id, ended, block)
            return
        self._highest_id = stream_id
        if self._is_leaving or len(self._streams) >= self._max_streams:
            self._blocks.skip(block)
            self._write(frames.reset(stream_id, ErrorCode.REFUSED_STREAM))  # which says: it is safe to try again
            return
        try:
            head = self._blocks.decode(block)
        except MalformedHead:
            self._write(frames.reset(stream_id, ErrorCode.PROTOCOL_ERROR))
            self._count_cancellation()
            return
        stream = self._streams[stream_id] = Stream(stream_id, self._initial_send_window)
        stream.their_end = ended
        self._opened(stream, head)
        if ended and stream.is_open:
            stream.receiver.receive(b"", True)

    def _take_trailers(self, stream_id: int, ended: bool, block: bytes) -> None:
        self._blocks.skip(block)
        stream = self._streams.get(stream_id)
        if stream is None:
            return  # the server has ended it; the client did not know yet
        if stream.their_end or not ended:
            self._break_off(stream, ErrorCode.STREAM_CLOSED if stream.their_end else ErrorCode.PROTOCOL_ERROR)
            return
        stream.their_end = True
        stream.receiver.receive(b"", True)

    def _receive_reset(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionProblem(ErrorCode.FRAME_SIZE_ERROR, "RST_STREAM has a wrong length")
        self._check_was_open(stream_id)
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._count_cancellation()
            self._forget(stream)
            stream.receiver.cancelled()

    def _receive_ping(self, stream_id: int, flags: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionProblem(ErrorCode.PROTOCOL_ERROR, "PING of a stream")
        if len(payload) != 8:
            raise ConnectionProblem(ErrorCode.FRAME_SIZE_ERROR, "PING has a wrong length")
        if not flags & frames.ACK:
            self._write(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _receive_settings(self, stream_id: int, flags: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionProblem(ErrorCode.PROTOCOL_ERROR, "SETTINGS of a stream")
        self._has_settings = True
        if flags & frames.ACK:
            if payload:
                raise ConnectionProblem(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement with a payload")
            return
        for identifier, value in frames.parse_settings(payload):
            self._apply_setting(identifier, value)
        self._write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._send_blocked()

    def _apply_setting(self, identifier: int, value: int) -> None:
        if identifier == frames.SETTINGS_INITIAL_WINDOW_SIZE:
            if value > frames.MAX_WINDOW_BYTES:
                raise ConnectionProblem(ErrorCode.FLOW_CONTROL_ERROR, "a window that is too large")
            change = value - self._initial_send_window
            self._initial_send_window = value
            for stream in self._streams.values():
                stream.send_window += change
                if stream.send_window > frames.MAX_WINDOW_BYTES:
                    raise ConnectionProblem(ErrorCode.FLOW_CONTROL_ERROR, "a window that is too large")
        elif identifier == frames.SETTINGS_MAX_FRAME_SIZE:
            if not frames.MIN_MAX_FRAME_BYTES <= value <= frames.MAX_MAX_FRAME_BYTES:
                raise ConnectionProblem(ErrorCode.PROTOCOL_ERROR, "a frame size out of range")
            self._max_frame_bytes = value
        elif identifier == frames.SETTINGS_ENABLE_PUSH and value > 1:
            raise ConnectionProblem(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1")

    def _receive_window_update(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionProblem(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE has a wrong length")
        increment = int.from_bytes(payload, "big") & frames.MAX_WINDOW_BYTES
        if not stream_id:
            self._send_window += increment
            if not increment:
                raise ConnectionProblem(ErrorCode.PROTOCOL_ERROR, "a window that does not grow")
            if self._send_window > frames.MAX_WINDOW_BYTES:
                raise ConnectionProblem(ErrorCode.FLOW_CONTROL_ERROR, "a window that is too large")
            self._send_blocked()
            return
        stream = self._streams.get(stream_id)
        if stream is None:
            self._check_was_open(stream_id)
            return
        stream.send_window += increment
        if not increment:
            self._break_off(stream, ErrorCode.PROTOCOL_ERROR)
        elif stream.send_window > frames.MAX_WINDOW_BYTES:
            self._break_off(stream, ErrorCode.FLOW_CONTROL_ERROR)
        elif stream.pending:
            self._send_pending(stream)

    def _check_was_open(self, stream_id: int) -> None:
        if not stream_id or stream_id > self._highest_id or not stream_id % 2:
            raise ConnectionProblem(ErrorCode.PROTOCOL_ERROR, f"stream {stream_id} is not open")

    # --- sending -------------------------------------------------------------------------------------------------

    def send(self, stream: Stream, head: bytes, data: bytes, trailers: bytes) -> None:
        """Send the next part of a response; on a stream that is gone, nothing happens.

        Args:
            head: header block that begins the response; empty where it has begun.
            data: sent as far as the client has room for it; the rest waits.
            trailers: header block that ends it; empty where more will follow.
        """
        if not stream.is_open:
            return
        stream_id, size = stream.id, len(data)
        parts: list[bytes] = []
        if head:
            parts += (frames.frame_head(frames.HEADERS, frames.END_HEADERS, stream_id, len(head)), head)
        fits = size <= _JOIN_BYTES and size <= self._send_window and size <= stream.send_window
        if fits and not stream.pending:
            if data:
                parts += (frames.frame_head(frames.DATA, 0, stream_id, size), data)
                self._send_window -= size
                stream.send_window -= size
            if trailers:
                parts += (_trailers_head(stream_id, trailers), trailers)
            self._write(b"".join(parts))
            if trailers:
                self._end(stream)
            return
        if head:
            self._write(b"".join(parts))
        if data:
            stream.pending.append(memoryview(data))
        stream.trailers = trailers
        self._blocked[stream_id] = stream
        self._send_pending(stream)

    def release(self, stream: Stream) -> None:
        """Let the client of a stream that was held send on."""
        stream.is_held = False
        if stream.is_open and not stream.their_end and stream.unacknowledged:
            self._write(frames.window_update(stream.id, stream.unacknowledged))
            stream.unacknowledged = 0

    def reset(self, stream: Stream, code: ErrorCode) -> None:
        """End a stream at once. Its receiver is not told."""
        if stream.is_open:
            self._write(frames.reset(stream.id, code))
            self._forget(stream)

    def ping(self) -> None:
        """Ask whether the client is still there: it has to send something back."""
        self._write(frames.frame(frames.PING, 0, 0, b"flambeau"))

    def leave(self) -> None:
        """Take no new stream, and say so; those that are open go on."""
        if not self._is_leaving:
            self._is_leaving = True
            self._write(frames.go_away(self._highest_id, ErrorCode.NO_ERROR, ""))

    def fail(self, problem: ConnectionProblem) -> None:
        """Say why the connection ends. The caller closes it."""
        self._is_leaving = True
        self._write(frames.go_away(self._highest_id, problem.code, problem.text))

    def close(self) -> None:
        """The connection is gone: tell the receivers of all streams."""
        self._is_leaving = True
        streams = self.streams()
        for stream in streams:
            self._forget(stream)
        for stream in streams:
            stream.receiver.cancelled()

    def sweep(self, now: float, write_timeout_s: float) -> None:
        """Forgive cancellations, and end streams whose client has taken nothing for too long. Call about once a second.

        Args:
            now: monotonic seconds.
        """
        self._cancellations = max(0, self._cancellations - CANCELLATIONS_PER_SWEEP)
        for stream in list(self._blocked.values()):
            if stream.stalled_since is None:
                stream.stalled_since = now
            elif now - stream.stalled_since > write_timeout_s:
                self.reset(stream, ErrorCode.CANCEL)
                stream.receiver.cancelled()

    def _send_blocked(self) -> None:
        for stream in list(self._blocked.values()):
            self._send_pending(stream)

    def _send_pending(self, stream: Stream) -> None:
        pending = stream.pending
        while pending:
            data = pending[0]
            size = min(len(data), self._send_window, stream.send_window, self._max_frame_bytes)
            if size <= 0:
                return
            self._write(frames.frame_head(frames.DATA, 0, stream.id, size))
            self._write(data[:size])
            self._send_window -= size
            stream.send_window -= size
            stream.stalled_since = None
            if size == len(data):
                pending.popleft()
            else:
                pending[0] = data[size:]
        self._blocked.pop(stream.id, None)
        if stream.trailers:
            self._write(_trailers_head(stream.id, stream.trailers) + stream.trailers)
            self._end(stream)

    def _end(self, stream: Stream) -> None:
        """The response is complete."""
        if not stream.their_end:
            self._write(frames.reset(stream.id, ErrorCode.NO_ERROR))  # which says: no need to send the rest
        self._forget(stream)

    def _break_off(self, stream: Stream, code: ErrorCode) -> None:
        """The client broke a rule of the stream."""
        self.reset(stream, code)
        stream.receiver.cancelled()
        self._count_cancellation()

    def _count_cancellation(self) -> None:
        self._cancellations += 1
        if self._cancellations > MAX_CANCELLATIONS:
            raise ConnectionProblem(ErrorCode.ENHANCE_YOUR_CALM, "too many cancelled streams")

    def _forget(self, stream: Stream) -> None:
        stream.is_open = False
        stream.pending.clear()
        self._blocked.pop(stream.id, None)
        del self._streams[stream.id]
        if self._is_leaving and not self._streams:
            self._emptied()


class _OpenBlock:
    """A header block whose end has not come yet."""

    __slots__ = ("data", "ended", "parts", "stream_id")

    def __init__(self, stream_id: int, ended: bool, data: bytearray) -> None:
        self.stream_id = stream_id
        self.ended = ended
        self.data = data
        self.parts = 1


def _trailers_head(stream_id: int, trailers: bytes) -> bytes:
    return frames.frame_head(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream_id, len(trailers))


def _without_padding(data: bytes, start: int, end: int) -> tuple[int, int]:
    if start == end:
        raise ConnectionProblem(ErrorCode.FRAME_SIZE_ERROR, "padding without its length")
    padding = data[start]
    start += 1
    if end - padding < start:
        raise ConnectionProblem(ErrorCode.PROTOCOL_ERROR, "more padding than payload")
    return start, end - padding
