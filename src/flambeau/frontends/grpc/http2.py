"""One HTTP/2 connection as a server sees it: bytes in, streams out; no socket, no clock, no loop.

It holds the rules of RFC 9113 that keep either side from overrunning the other: both flow-control windows, frame sizes,
header blocks, the number of streams, and how often a client may open a stream only to cancel it. What travels in the
streams is not its business; see ``call``. How it is sent is in ``outflow``.

Data is acknowledged as soon as it has come, unless its stream is held: then the client stops when the stream's window
is used up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from flambeau.frontends.grpc import frames
from flambeau.frontends.grpc.frames import ConnectionProblem, ErrorCode
from flambeau.frontends.grpc.header_blocks import HeaderBlocks, MalformedHead
from flambeau.frontends.grpc.outflow import Outflow
from flambeau.frontends.grpc.streams import Stream

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

HeadT = TypeVar("HeadT")


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
        self._highest_id = 0
        self._open_block: _OpenBlock | None = None
        self._unacknowledged = 0
        self._outflow = Outflow(write, self._completed)
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
        stream = self._streams[stream_id] = Stream(stream_id, self._outflow.initial_window)
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
            self._outflow.apply_setting(identifier, value, self._streams.values())
        self._write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._outflow.resume()

    def _receive_window_update(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionProblem(ErrorCode.FRAME_SIZE_ERROR, "WINDOW_UPDATE has a wrong length")
        increment = int.from_bytes(payload, "big") & frames.MAX_WINDOW_BYTES
        if not stream_id:
            self._outflow.grow(increment)
            return
        stream = self._streams.get(stream_id)
        if stream is None:
            self._check_was_open(stream_id)
            return
        problem = self._outflow.grow_stream(stream, increment)
        if problem:
            self._break_off(stream, problem)

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
        if stream.is_open:
            self._outflow.send(stream, head, data, trailers)

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
        for stream in self._outflow.stalled(now, write_timeout_s):
            self.reset(stream, ErrorCode.CANCEL)
            stream.receiver.cancelled()

    def _completed(self, stream: Stream) -> None:
        """The last byte of a response has been written."""
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
        self._outflow.forget(stream)
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


def _without_padding(data: bytes, start: int, end: int) -> tuple[int, int]:
    if start == end:
        raise ConnectionProblem(ErrorCode.FRAME_SIZE_ERROR, "padding without its length")
    padding = data[start]
    start += 1
    if end - padding < start:
        raise ConnectionProblem(ErrorCode.PROTOCOL_ERROR, "more padding than payload")
    return start, end - padding
