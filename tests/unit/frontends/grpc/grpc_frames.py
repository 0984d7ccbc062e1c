"""A client of HTTP/2 made of values: it builds frames, and reads those of a server."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from urllib.parse import unquote

from hpack import Decoder, Encoder

from flambeau.frontends.grpc import frames
from flambeau.frontends.grpc.frames import ErrorCode

PATH = "/test.Echo/Say"


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream_id: int
    payload: bytes


def parse_frames(data: bytes) -> list[Frame]:
    """Whole frames; raises where there is anything else."""
    found, position = [], 0
    while position < len(data):
        high, low, kind, flags, stream_id = frames.FRAME_HEAD.unpack_from(data, position)
        start = position + frames.FRAME_HEAD_BYTES
        position = start + (high << 8 | low)
        assert position <= len(data)
        found.append(Frame(kind, flags, stream_id, data[start:position]))
    return found


def message(content: bytes, compressed: bool = False) -> bytes:
    return bytes((compressed,)) + len(content).to_bytes(4, "big") + content


@dataclass
class Answer:
    """What came on one stream."""

    headers: dict[str, str] = field(default_factory=dict)
    trailers: dict[str, str] = field(default_factory=dict)
    data: bytes = b""
    has_ended: bool = False
    reset: ErrorCode | None = None

    @property
    def status(self) -> int | None:
        """gRPC's."""
        value = (self.trailers or self.headers).get("grpc-status")
        return None if value is None else int(value)

    @property
    def text(self) -> str:
        return unquote((self.trailers or self.headers).get("grpc-message", ""))

    @property
    def messages(self) -> list[bytes]:
        found, rest = [], self.data
        while rest:
            size = int.from_bytes(rest[1:5], "big")
            assert rest[0] == 0
            found.append(rest[5 : 5 + size])
            rest = rest[5 + size :]
        return found


class FrameClient:
    """Builds what a client sends, and takes in what the server sends, in the order of the connection."""

    def __init__(self) -> None:
        self._encoder = Encoder()
        self._decoder = Decoder()
        self._next_id = 1
        self.answers: defaultdict[int, Answer] = defaultdict(Answer)
        self.frames: list[Frame] = []
        """Everything that came."""

    def begin(self, settings: dict[int, int] | None = None) -> bytes:
        return frames.PREFACE + frames.settings(settings or {})

    def headers(
        self, *extra: tuple[str, str], path: str = PATH, ended: bool = False, stream_id: int | None = None
    ) -> bytes:
        """A call's header on a new stream."""
        return self.header_frame(
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", path),
                (":authority", "test"),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                *extra,
            ],
            ended=ended,
            stream_id=stream_id,
        )

    def header_frame(
        self, headers: list[tuple[str, str]], *, ended: bool = False, stream_id: int | None = None
    ) -> bytes:
        if stream_id is None:
            stream_id = self._next_id
            self._next_id += 2
        flags = frames.END_HEADERS | (frames.END_STREAM if ended else 0)
        return frames.frame(frames.HEADERS, flags, stream_id, self._encoder.encode(headers))

    @property
    def last_id(self) -> int:
        """Of the stream that was opened last."""
        return self._next_id - 2

    def data(self, payload: bytes, *, ended: bool = True, stream_id: int | None = None) -> bytes:
        """On the last stream, in frames of the size that every server takes."""
        chunks = [payload[at : at + 16_384] for at in range(0, len(payload), 16_384)] or [b""]
        ids = self.last_id if stream_id is None else stream_id
        return b"".join(
            frames.frame(frames.DATA, frames.END_STREAM if ended and chunk is chunks[-1] else 0, ids, chunk)
            for chunk in chunks
        )

    def call(self, content: bytes, *extra: tuple[str, str], path: str = PATH) -> bytes:
        """A whole call with one message."""
        return self.headers(*extra, path=path) + self.data(message(content))

    def take(self, data: bytes) -> list[Frame]:
        """Take in what the server has sent. Returns the frames."""
        came = parse_frames(bytes(data))
        self.frames += came
        for frame in came:
            answer = self.answers[frame.stream_id]
            if frame.kind == frames.HEADERS:
                decoded = dict(self._decoder.decode(frame.payload))
                if answer.headers:
                    answer.trailers = decoded
                else:
                    answer.headers = decoded
            elif frame.kind == frames.DATA:
                answer.data += frame.payload
            elif frame.kind == frames.RST_STREAM:
                answer.reset = ErrorCode(int.from_bytes(frame.payload, "big"))
            if frame.kind in (frames.HEADERS, frames.DATA) and frame.flags & frames.END_STREAM:
                answer.has_ended = True
        return came

    @property
    def goodbye(self) -> ErrorCode | None:
        """Why the server ends the connection; None if it does not."""
        for frame in self.frames:
            if frame.kind == frames.GOAWAY:
                return ErrorCode(int.from_bytes(frame.payload[4:8], "big"))
        return None
