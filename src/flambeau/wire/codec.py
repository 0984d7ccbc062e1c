"""Messages to bytes and back, without a socket.

A frame is a prefix of 16 bytes, little-endian, then the envelope (MessagePack), then the segments::

    u8 message type | u8 place | u16 reply place | u32 envelope bytes | u64 segment bytes | envelope | segments

Place 0: the segments follow on the stream. Others: they lie in that slot of shared memory (see ``arena``). The reply
place of a ``Batch`` says where those of its answer are wanted.

Values of ``SEGMENT_MIN_BYTES`` and more do not go through MessagePack: the envelope holds their length in place of the
value and their bytes follow it, in the order in which the envelope names them. So a large body is never copied on the
way out, and on the way in it can be received straight into the buffer that the handler is given.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from flambeau.errors import ProtocolError
from flambeau.request import Gathered, InferenceReply, InferenceRequest, Payload
from flambeau.wire.arena import SLOTS, STREAM, Arena
from flambeau.wire.messages import (
    Batch,
    BatchReply,
    Hello,
    Load,
    Loaded,
    Message,
    MessageType,
    Place,
)

PREFIX = struct.Struct("<BBHIQ")
PREFIX_BYTES = PREFIX.size
SEGMENT_MIN_BYTES = 16 * 1024
"""From here a second system call per value is cheaper than two copies of it."""

_TYPES: dict[type[Any], MessageType] = {
    Hello: MessageType.HELLO,
    Load: MessageType.LOAD,
    Loaded: MessageType.LOADED,
    Batch: MessageType.BATCH,
    BatchReply: MessageType.BATCH_REPLY,
    Place: MessageType.PLACE,
}
_DECODERS: dict[int, msgspec.msgpack.Decoder[Any]] = {
    kind: msgspec.msgpack.Decoder(message) for message, kind in _TYPES.items()
}
_encoder = msgspec.msgpack.Encoder()


def encode(message: Message, arena: Arena | None = None, *, place: int = 0, reply_place: int = 0) -> list[Payload]:
    """The frame of a message, as the buffers to be written one after the other.

    Args:
        arena: where segments go if they fit, instead of among the buffers.
        place: the slot for them; 0: the next in turn.
        reply_place: the slot in which the segments of the answer are wanted: see ``arena``.

    The first buffer is prefix and envelope; each further one is a segment, not copied: it must not change until it is
    written.
    """
    segments: list[Payload] = []
    if type(message) is Batch:
        message = Batch(message.batch_id, _detach_rows(message.rows, segments))
    elif type(message) is BatchReply:
        rows = message.rows
        for index, reply in enumerate(rows):
            body = reply.body
            if not isinstance(body, int) and len(body) >= SEGMENT_MIN_BYTES:
                if not segments:
                    rows = list(rows)
                rows[index] = InferenceReply(len(body), reply.status, reply.phrase, reply.headers, reply.error)  # type: ignore[index]
                _add_segment(segments, body)
        if segments:
            message = BatchReply(message.batch_id, rows, message.seconds, message.metrics)
    envelope = bytearray(PREFIX_BYTES)
    _encoder.encode_into(message, envelope, PREFIX_BYTES)
    size = put_at = 0
    if segments:
        size = sum(map(len, segments))
        if arena is not None and (put_at := arena.put(segments, size, place)):
            segments = []
    PREFIX.pack_into(envelope, 0, _TYPES[type(message)], put_at, reply_place, len(envelope) - PREFIX_BYTES, size)
    return [envelope, *segments]


def _add_segment(segments: list[Payload], value: Payload | Gathered) -> None:
    if type(value) is Gathered:
        segments.extend(value.buffers)
    else:
        segments.append(value)  # type: ignore[arg-type]


def _detach_rows(rows: Sequence[InferenceRequest], segments: list[Payload]) -> Sequence[InferenceRequest]:
    detached: list[InferenceRequest] | None = None
    for index, row in enumerate(rows):
        for _, _, value in row.parameters:
            if not isinstance(value, int) and len(value) >= SEGMENT_MIN_BYTES:
                break
        else:
            continue
        if detached is None:
            detached = list(rows)
        parameters: list[tuple[str, str, Payload | Gathered | int]] = []
        for name, content_type, value in row.parameters:
            if not isinstance(value, int) and len(value) >= SEGMENT_MIN_BYTES:
                _add_segment(segments, value)
                parameters.append((name, content_type, len(value)))
            else:
                parameters.append((name, content_type, value))
        detached[index] = InferenceRequest(row.request_id, row.headers, parameters, row.purpose)
    return rows if detached is None else detached


class FramePrefix(msgspec.Struct, frozen=True, gc=False):
    """What the first 16 bytes of a frame say."""

    type: int
    place: int
    reply_place: int
    envelope_bytes: int
    segment_bytes: int

    @property
    def frame_bytes(self) -> int:
        """On the stream."""
        return PREFIX_BYTES + self.envelope_bytes + (0 if self.place else self.segment_bytes)


def decode_prefix(data: Payload, max_frame_bytes: int, offset: int = 0) -> FramePrefix:
    """Read the prefix at ``offset``.

    Raises:
        ProtocolError: no such message type, or a frame beyond ``max_frame_bytes``; checked before memory is taken.
    """
    kind, place, reply_place, envelope_bytes, segment_bytes = PREFIX.unpack_from(data, offset)
    if kind not in _DECODERS or place > SLOTS or reply_place > STREAM:
        raise ProtocolError(f"not a frame: message type {kind}")
    if envelope_bytes + segment_bytes > max_frame_bytes:
        raise ProtocolError(f"frame of {envelope_bytes + segment_bytes} bytes is over the limit of {max_frame_bytes}")
    return FramePrefix(kind, place, reply_place, envelope_bytes, segment_bytes)


def decode_envelope(kind: int, envelope: Payload) -> Message:
    """The message of an envelope. Values that travel as segments are still their lengths: see :func:`segment_sizes`.

    Raises:
        ProtocolError: the envelope is not a message of this type.
    """
    try:
        message: Message = _DECODERS[kind].decode(envelope)
    except (msgspec.DecodeError, KeyError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"envelope of message type {kind} does not decode: {error}") from None
    return message


def segment_sizes(message: Message, segment_bytes: int) -> list[int]:
    """Lengths of the segments that follow the envelope, in order.

    Raises:
        ProtocolError: they do not add up to ``segment_bytes``, or one is empty: an empty value stands in the envelope.
    """
    sizes: list[int] = []
    if type(message) is BatchReply:
        sizes = [reply.body for reply in message.rows if type(reply.body) is int]
    elif type(message) is Batch:
        for row in message.rows:
            for _, _, value in row.parameters:
                if type(value) is int:
                    sizes.append(value)
    if (sizes or segment_bytes) and (sum(sizes) != segment_bytes or min(sizes) < 1):
        raise ProtocolError(f"segments of {sizes} bytes do not add up to {segment_bytes}")
    return sizes


def attach_segments(message: Message, segments: Sequence[Payload]) -> Message:
    """Put segments in the places of their lengths. ``segments`` are as :func:`segment_sizes` said."""
    if not segments:
        return message
    following = iter(segments)
    if isinstance(message, Batch):
        for row in message.rows:
            row.parameters = [
                (name, content_type, next(following) if isinstance(value, int) else value)
                for name, content_type, value in row.parameters
            ]
    elif isinstance(message, BatchReply):
        for reply in message.rows:
            if isinstance(reply.body, int):
                reply.body = next(following)
    return message
