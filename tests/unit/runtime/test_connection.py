from __future__ import annotations

import socket
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flambeau.errors import ProtocolError
from flambeau.request import InferenceReply, InferenceRequest
from flambeau.runtime.connection import RECEIVE_BUFFER_BYTES, Connection
from flambeau.wire.codec import PREFIX_BYTES, SEGMENT_MIN_BYTES, attach_segments, decode_envelope, decode_prefix, encode
from flambeau.wire.codec import segment_sizes as sizes_of
from flambeau.wire.messages import Batch, BatchReply, Hello


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, Connection(theirs)


def batch(batch_id, *values):
    return Batch(batch_id, [InferenceRequest("id", [(b"a", b"b")], [("body", "", value)]) for value in values])


def frame(message):
    return b"".join(encode(message))


def in_background(write, *arguments):
    thread = threading.Thread(target=write, args=arguments)
    thread.start()
    return thread


SIZES = st.lists(st.integers(0, 100) | st.integers(SEGMENT_MIN_BYTES - 1, 80_000), min_size=1, max_size=3)


@settings(max_examples=50)
@given(st.lists(SIZES, min_size=1, max_size=3), st.lists(st.integers(1000, 100_000), min_size=1, max_size=8))
def test_any_split_of_the_stream_gives_the_same_messages(sizes_of_batches, steps):
    batches = [[bytes([index]) * size for index, size in enumerate(sizes)] for sizes in sizes_of_batches]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sent = [batch(number, *values) for number, values in enumerate(batches)]
        stream = b"".join(map(frame, sent))

        def write():
            position = 0
            for step in [*steps * (len(stream) // sum(steps) + 1)]:
                ours.sendall(stream[position : position + step])
                position += step
            ours.shutdown(socket.SHUT_WR)

        writer = in_background(write)
        connection = Connection(theirs)
        received = [connection.receive() for _ in sent]
        assert connection.receive() is None
        writer.join()
    assert received == [
        Batch(
            number,
            [InferenceRequest("id", [(b"a", b"b")], [("body", "", bytearray(value))]) for value in values],
        )
        for number, values in enumerate(batches)
    ]


def test_every_value_is_a_bytearray_of_its_own(pair):
    ours, connection = pair
    ours.sendall(frame(batch(1, b"small", bytes(SEGMENT_MIN_BYTES))))
    values = [row.parameters[0][2] for row in connection.receive().rows]
    assert [type(value) for value in values] == [bytearray, bytearray]
    ours.sendall(frame(batch(2, b"other", b"")))
    connection.receive()
    assert values == [bytearray(b"small"), bytearray(SEGMENT_MIN_BYTES)]


def test_an_envelope_larger_than_the_buffer_is_received(pair):
    ours, connection = pair
    values = [bytes([index % 256]) * (SEGMENT_MIN_BYTES - 1) for index in range(20)]
    assert len(frame(batch(1, *values))) > RECEIVE_BUFFER_BYTES
    writer = in_background(ours.sendall, frame(batch(1, *values)) + frame(batch(2, b"x")))
    assert [bytes(row.parameters[0][2]) for row in connection.receive().rows] == values
    assert connection.receive().batch_id == 2
    writer.join()


@pytest.mark.parametrize("kept", [0, 1, PREFIX_BYTES, PREFIX_BYTES + 3, -1])
def test_a_stream_that_ends_early_is_the_end(pair, kept):
    ours, connection = pair
    data = frame(batch(1, bytes(SEGMENT_MIN_BYTES)))
    ours.sendall(data[: kept if kept >= 0 else len(data) + kept])
    ours.shutdown(socket.SHUT_WR)
    assert connection.receive() is None


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", bytes(16), b"\x04\x00\x00\x00\x02" + bytes(11) + b"\xc1\xc1"]
)
def test_garbage_is_a_protocol_error(pair, garbage):
    ours, connection = pair
    ours.sendall(garbage)
    ours.shutdown(socket.SHUT_WR)
    with pytest.raises(ProtocolError):
        connection.receive()


def received(sock):
    """One message, read with the pure codec."""

    def take(size):
        data = bytearray()
        while len(data) < size:
            data += sock.recv(size - len(data))
        return bytes(data)

    prefix = decode_prefix(take(PREFIX_BYTES), 1 << 40)
    message = decode_envelope(prefix.type, take(prefix.envelope_bytes))
    return attach_segments(message, [take(size) for size in sizes_of(message, prefix.segment_bytes)])


@pytest.mark.parametrize("sizes", [[3], [1_000_000], [SEGMENT_MIN_BYTES] * 1100, [5, 300_000, 0, 400_000]])
def test_what_is_sent_arrives_whole(pair, sizes):
    ours, connection = pair
    bodies = [bytes([index % 251]) * size for index, size in enumerate(sizes)]
    writer = in_background(connection.send, BatchReply(7, [InferenceReply(body) for body in bodies], 0.5))
    reply = received(ours)
    writer.join()
    assert (reply.batch_id, reply.seconds) == (7, 0.5)
    assert [row.body for row in reply.rows] == bodies


def test_sending_to_a_closed_end_is_an_os_error(pair):
    ours, connection = pair
    ours.close()
    with pytest.raises(OSError):
        connection.send(Hello(1))
