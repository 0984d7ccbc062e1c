from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_strategies import MAX_FRAME_BYTES, messages, plain

from flambeau.errors import ProtocolError
from flambeau.request import InferenceReply, InferenceRequest
from flambeau.wire import codec
from flambeau.wire.messages import Batch, BatchReply, Hello, Loaded, MessageType, Place


def frame(message):
    return b"".join(codec.encode(message))


def decode(data, max_frame_bytes=MAX_FRAME_BYTES):
    """A whole frame to its message, as a reader does it."""
    prefix = codec.decode_prefix(data, max_frame_bytes)
    body = data[codec.PREFIX_BYTES : prefix.frame_bytes]
    message = codec.decode_envelope(prefix.type, body[: prefix.envelope_bytes])
    rest = body[prefix.envelope_bytes :]
    segments = []
    for size in codec.segment_sizes(message, prefix.segment_bytes):
        segments.append(rest[:size])
        rest = rest[size:]
    return codec.attach_segments(message, segments)


@given(messages)
def test_what_is_encoded_decodes_to_the_same(message):
    before = plain(message)
    assert plain(decode(frame(message))) == before
    assert plain(message) == before, "encoding changed the message"


def test_a_value_is_a_segment_from_the_documented_size_on():
    below, at = bytes(codec.SEGMENT_MIN_BYTES - 1), bytes(codec.SEGMENT_MIN_BYTES)
    assert len(codec.encode(BatchReply(1, [InferenceReply(below)], 0.0))) == 1
    envelope, segment = codec.encode(BatchReply(1, [InferenceReply(at)], 0.0))
    assert segment is at, "a large value must not be copied"
    assert len(envelope) < 64


def test_segments_follow_in_the_order_in_which_the_envelope_names_them():
    first, second, third = (bytes([number]) * codec.SEGMENT_MIN_BYTES for number in (1, 2, 3))
    rows = [
        InferenceRequest("a", [], [("x", "", first), ("y", "", b"small"), ("z", "", second)]),
        InferenceRequest("b", [], [("x", "", third)]),
    ]
    assert codec.encode(Batch(1, rows))[1:] == [first, second, third]


@pytest.mark.parametrize("size", [0, 1, 64, 70_000])
def test_every_kind_of_buffer_is_a_value(size):
    value = bytes(size)
    for kind in (bytes, bytearray, memoryview):
        decoded = decode(frame(BatchReply(1, [InferenceReply(kind(value))], 0.0)))
        assert bytes(decoded.rows[0].body) == value


def test_a_frame_over_the_limit_is_refused_by_its_prefix_alone():
    prefix = codec.PREFIX.pack(MessageType.BATCH_REPLY, 0, 0, 100, 2**63)
    with pytest.raises(ProtocolError, match="over the limit of 1000"):
        codec.decode_prefix(prefix, 1000)
    assert codec.decode_prefix(codec.PREFIX.pack(MessageType.HELLO, 0, 0, 600, 400), 1000).frame_bytes == 1016


@pytest.mark.parametrize(
    "prefix",
    [
        codec.PREFIX.pack(0, 0, 0, 1, 0),
        codec.PREFIX.pack(max(MessageType) + 1, 0, 0, 1, 0),
        codec.PREFIX.pack(MessageType.HELLO, 9, 0, 1, 0),
        codec.PREFIX.pack(MessageType.HELLO, 0, 10, 1, 0),
        b"HTTP/1.1 200 OK\r\n",
    ],
    ids=["no type", "unknown type", "no such place", "no such reply place", "another protocol"],
)
def test_what_is_no_frame_is_refused_by_its_prefix(prefix):
    with pytest.raises(ProtocolError, match="not a frame"):
        codec.decode_prefix(prefix, 1000)


def test_every_message_type_has_a_decoder():
    for kind in MessageType:
        with pytest.raises(ProtocolError):
            codec.decode_envelope(kind, b"\xc1")


@pytest.mark.parametrize("kind", list(MessageType))
@pytest.mark.parametrize(
    "envelope",
    [b"", b"\xc0", b"\x90", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"],
    ids=["empty", "nil", "no fields", "array beyond the end", "bytes beyond the end"],
)
def test_an_envelope_that_is_no_message_is_a_protocol_error(kind, envelope):
    with pytest.raises(ProtocolError):
        codec.decode_envelope(kind, envelope)


@pytest.mark.parametrize(
    ("kind", "start"),
    [(MessageType.HELLO, b"\x93\x01\x01"), (MessageType.LOADED, b"\x81\xa3new")],
    ids=["array", "map"],
)
def test_a_field_nested_without_end_is_a_protocol_error(kind, start):
    with pytest.raises(ProtocolError):
        codec.decode_envelope(kind, start + b"\x91" * 100_000)


def test_fields_that_a_later_version_adds_are_ignored():
    extended = codec.decode_envelope(MessageType.LOADED, b"\x82\xa5error\xa0\xa8new_word\x93\x01\x02\x03")
    assert extended == Loaded()
    assert codec.decode_envelope(MessageType.HELLO, b"\x94\x07\x01\xc2\xa3new") == Hello(7)


@pytest.mark.parametrize(
    ("bodies", "segment_bytes"),
    [([5], 0), ([5], 4), ([5], 6), ([], 5), ([2**62, 5], 5), ([-5, 10], 5), ([0], 0), ([0, 5], 5)],
    ids=["none sent", "too few", "too many", "none named", "one is vast", "one is negative", "empty", "one is empty"],
)
def test_segments_that_are_not_as_announced_are_refused(bodies, segment_bytes):
    reply = BatchReply(1, [InferenceReply(body) for body in bodies], 0.0)
    batch = Batch(1, [InferenceRequest("", [], [("body", "", body) for body in bodies])])
    for message in (reply, batch):
        with pytest.raises(ProtocolError):
            codec.segment_sizes(message, segment_bytes)


def test_only_batches_and_their_replies_have_segments():
    for message in (Hello(1), Loaded(), Place(cores=[], threads=None)):
        assert codec.segment_sizes(message, 0) == []
        with pytest.raises(ProtocolError):
            codec.segment_sizes(message, 1)


@given(st.sampled_from(list(MessageType)), st.binary(max_size=200), st.integers(0, 2**64 - 1))
def test_garbage_raises_only_protocol_errors(kind, envelope, segment_bytes):
    try:
        codec.segment_sizes(codec.decode_envelope(kind, envelope), segment_bytes)
    except ProtocolError:
        pass
