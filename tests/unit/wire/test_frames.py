from __future__ import annotations

import itertools
import struct
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_strategies import MAX_FRAME_BYTES, batch_replies, feed, messages, plain

from flambeau.errors import ProtocolError
from flambeau.request import InferenceReply
from flambeau.wire import codec
from flambeau.wire.codec import PREFIX, PREFIX_BYTES
from flambeau.wire.frames import FrameReader
from flambeau.wire.messages import BatchReply, Hello, MessageType

portions = st.lists(st.integers(1, 40) | st.integers(1000, 300_000), min_size=1, max_size=6).filter(
    lambda sizes: max(sizes) > 500  # so that a stream of megabytes does not take a million turns
)


def stream_of(sent):
    return b"".join(bytes(buffer) for message in sent for buffer in codec.encode(message))


@settings(max_examples=60, deadline=None)
@given(st.lists(messages, max_size=5), portions)
def test_a_stream_gives_the_same_messages_however_it_is_split(sent, sizes):
    reader = FrameReader(MAX_FRAME_BYTES)
    received = feed(reader, stream_of(sent), sizes)
    reader.at_end()
    assert [plain(message) for message in received] == [plain(message) for message in sent]


@pytest.mark.parametrize("size", [0, 100, 16_384, 262_000, 262_144, 1_000_000])
def test_a_stream_may_come_byte_by_byte_around_any_boundary(size):
    sent = [Hello(1), BatchReply(2, [InferenceReply(bytes(size))], 0.5), Hello(3)]
    stream = stream_of(sent)
    boundaries = {0, *range(1, 60), len(stream) - 40, len(stream)}
    boundaries |= set(range(262_144 - 30, min(262_144 + 30, len(stream))))
    cuts = sorted(cut for cut in boundaries if 0 <= cut <= len(stream))
    reader = FrameReader(MAX_FRAME_BYTES)
    received = []
    for start, end in itertools.pairwise(cuts):
        received += feed(reader, stream[start:end])
    assert [plain(message) for message in received] == [plain(message) for message in sent]


def test_messages_keep_their_segments_when_the_buffer_is_used_again():
    reader = FrameReader(MAX_FRAME_BYTES)
    (first,) = feed(reader, stream_of([BatchReply(1, [InferenceReply(b"a" * 20_000)], 0.0)]))
    feed(reader, stream_of([BatchReply(2, [InferenceReply(b"b" * 20_000)], 0.0)] * 20))
    assert bytes(first.rows[0].body) == b"a" * 20_000


@settings(max_examples=60, deadline=None)
@given(st.lists(messages, min_size=1, max_size=3), st.data())
def test_a_stream_with_changed_bytes_raises_only_protocol_errors(sent, data):
    stream = bytearray(stream_of(sent))
    for _ in range(data.draw(st.integers(1, 5))):
        stream[data.draw(st.integers(0, min(len(stream), 400) - 1))] = data.draw(st.integers(0, 255))
    try:
        feed(FrameReader(MAX_FRAME_BYTES), bytes(stream), [50_000])
    except ProtocolError:
        pass


@given(st.binary(max_size=2000))
def test_garbage_raises_only_protocol_errors(garbage):
    try:
        feed(FrameReader(MAX_FRAME_BYTES), garbage)
    except ProtocolError:
        pass


@given(st.sampled_from(list(MessageType)), st.binary(max_size=300), st.integers(0, 600))
def test_envelopes_of_garbage_raise_only_protocol_errors(kind, body, envelope_bytes):
    envelope_bytes = min(envelope_bytes, len(body))
    prefix = PREFIX.pack(kind, 0, 0, envelope_bytes, len(body) - envelope_bytes)
    try:
        feed(FrameReader(MAX_FRAME_BYTES), prefix + body)
    except ProtocolError:
        pass


@pytest.mark.parametrize(("envelope_bytes", "segment_bytes"), [(2**32 - 1, 0), (10, 2**64 - 1), (10, 4 * 2**20)])
def test_a_length_over_the_limit_is_refused_before_memory_is_taken(envelope_bytes, segment_bytes):
    reader = FrameReader(max_frame_bytes=4 * 2**20)
    prefix = PREFIX.pack(MessageType.BATCH_REPLY, 0, 0, envelope_bytes, segment_bytes)
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="over the limit"):
            feed(reader, prefix)
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()


def test_a_segment_longer_than_its_frame_is_refused_and_takes_no_memory():
    (envelope,) = codec.encode(BatchReply(1, [InferenceReply(2**40)], 0.0))
    struct.pack_into("<Q", envelope, 8, 100)
    reader = FrameReader(MAX_FRAME_BYTES)
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match="do not add up"):
            feed(reader, bytes(envelope) + bytes(100))
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()


@settings(max_examples=30, deadline=None)
@given(batch_replies, st.integers(1, 100))
def test_a_stream_that_ends_inside_a_frame_is_an_error_and_between_frames_is_not(message, missing):
    stream = stream_of([message])
    reader = FrameReader(MAX_FRAME_BYTES)
    assert feed(reader, stream[: -min(missing, len(stream) - 1)]) == []
    with pytest.raises(ProtocolError, match="in the middle of a frame"):
        reader.at_end()
    assert len(feed(reader, stream[-min(missing, len(stream) - 1) :])) == 1
    reader.at_end()


def test_there_is_always_room_for_more_bytes():
    message = BatchReply(1, [InferenceReply(bytes(5000))], 0.0)
    stream = stream_of([message] * 200)
    reader = FrameReader(MAX_FRAME_BYTES)
    position = 0
    while position < len(stream):
        buffer = reader.buffer()
        assert len(buffer) > 0
        portion = stream[position : position + min(len(buffer), PREFIX_BYTES + 4999)]
        buffer[: len(portion)] = portion
        reader.advance(len(portion))
        position += len(portion)
