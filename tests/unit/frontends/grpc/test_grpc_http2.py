"""HTTP/2 without a socket: what a connection makes of a client's bytes, good and bad, and how it minds its windows."""

from __future__ import annotations

import itertools

import pytest
from grpc_frames import FrameClient, message
from hypothesis import given, settings
from hypothesis import strategies as st

from flambeau.frontends.grpc import frames, http2
from flambeau.frontends.grpc.frames import ConnectionProblem, ErrorCode
from flambeau.frontends.grpc.header_blocks import HeaderBlocks
from flambeau.frontends.grpc.heads import OK_TRAILERS, RESPONSE_HEAD, read_head
from flambeau.frontends.grpc.http2 import Http2

MAX_STREAMS = 3
MAX_HEADER_BYTES = 4096


class Noting:
    """A receiver that notes what it is told."""

    def __init__(self):
        self.data = bytearray()
        self.has_ended = False
        self.is_cancelled = False

    def receive(self, data, ended):
        assert not self.has_ended
        assert not self.is_cancelled
        self.data += data
        self.has_ended = ended

    def cancelled(self):
        assert not self.is_cancelled
        self.is_cancelled = True

    def drain(self):
        pass


class Connection:
    """A server's connection and its client, joined by values."""

    def __init__(self, client_settings=None):
        self.client = FrameClient()
        self.streams = []
        self.heads = []
        self.is_empty = False
        self._written = bytearray()
        self.server = Http2(
            HeaderBlocks(read_head, MAX_HEADER_BYTES),
            write=self._written.extend,
            opened=self._opened,
            emptied=self._emptied,
            max_streams=MAX_STREAMS,
            max_header_bytes=MAX_HEADER_BYTES,
        )
        self.server.begin()
        self.send(self.client.begin(client_settings))

    def send(self, data):
        """What a client sends; returns the server's frames that came of it."""
        self.server.receive(bytes(data))
        return self.taken()

    def taken(self):
        written, self._written[:] = bytes(self._written), b""
        return self.client.take(written)

    def respond(self, stream, data):
        self.server.send(stream, RESPONSE_HEAD, data, OK_TRAILERS)
        self.taken()
        return self.client.answers[stream.id]

    def open(self):
        """A stream whose request is complete."""
        self.send(self.client.call(b"hello"))
        return self.streams[-1]

    def window_update(self, stream, increment):
        self.send(frames.window_update(0 if stream is None else stream.id, increment))

    def _opened(self, stream, head):
        stream.receiver = Noting()
        self.streams.append(stream)
        self.heads.append(head)

    def _emptied(self):
        self.is_empty = True


def problem_of(connection, data):
    with pytest.raises(ConnectionProblem) as caught:
        connection.send(data)
    connection.server.fail(caught.value)
    connection.taken()
    assert connection.client.goodbye == caught.value.code
    return caught.value.code


# --- requests ---------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.integers(1, 40_000), max_size=20))
def test_any_split_of_the_bytes_gives_the_same_requests(cuts):
    connection = Connection()
    client = connection.client
    sent = b"".join(client.call(bytes(range(20)) * size) for size in (0, 1, 2000))
    for start, end in itertools.pairwise([0, *sorted(cuts), 50_000]):
        connection.send(sent[start:end])
    assert [stream.receiver.data for stream in connection.streams] == [
        message(bytes(range(20)) * size) for size in (0, 1, 2000)
    ]
    assert all(stream.receiver.has_ended for stream in connection.streams)


def test_a_header_in_parts_with_padding_and_priority_is_one_header():
    connection = Connection()
    whole = connection.client.headers()
    block = whole[frames.FRAME_HEAD_BYTES :]
    first = frames.frame(
        frames.HEADERS, frames.PADDED | frames.HAS_PRIORITY, 1, b"\x03" + bytes(5) + block[:10] + bytes(3)
    )
    second = frames.frame(frames.CONTINUATION, 0, 1, block[10:20])
    third = frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, block[20:])
    connection.send(first + second + third)
    assert connection.heads[0].path == b"/test.Echo/Say"


def test_padding_of_data_is_not_data_but_counts_for_the_window():
    connection = Connection()
    connection.send(connection.client.headers())
    connection.send(frames.frame(frames.DATA, frames.PADDED, 1, b"\x02ab\0\0"))
    stream = connection.streams[0]
    assert stream.receiver.data == b"ab"
    assert stream.unacknowledged == 5


def test_a_request_may_end_with_trailers():
    connection = Connection()
    connection.send(connection.client.headers() + connection.client.data(b"x", ended=False))
    connection.send(connection.client.header_frame([("checksum", "1")], ended=True, stream_id=1))
    assert connection.streams[0].receiver.has_ended


def test_pings_and_settings_are_acknowledged_and_unknown_frames_ignored():
    connection = Connection()
    ping = frames.frame(frames.PING, 0, 0, b"12345678")
    unknown = frames.frame(0xBE, 0xFF, 7, b"whatever")
    priority = frames.frame(frames.PRIORITY, 0, 5, bytes(5))
    answers = connection.send(unknown + priority + ping + frames.settings({99: 1}))
    assert [(frame.kind, frame.flags) for frame in answers] == [
        (frames.PING, frames.ACK),
        (frames.SETTINGS, frames.ACK),
    ]
    assert answers[0].payload == b"12345678"


def test_a_stream_too_many_is_refused_in_a_way_that_lets_the_client_try_again():
    connection = Connection()
    for _ in range(MAX_STREAMS + 1):
        connection.send(connection.client.call(b"x"))
    assert len(connection.streams) == MAX_STREAMS
    assert connection.client.answers[2 * MAX_STREAMS + 1].reset is ErrorCode.REFUSED_STREAM
    connection.respond(connection.streams[0], b"y")
    connection.open()
    assert len(connection.streams) == MAX_STREAMS + 1


def test_a_malformed_header_costs_only_its_stream():
    connection = Connection()
    connection.send(connection.client.header_frame([(":method", "POST"), ("Upper", "x")]))
    connection.send(connection.client.data(b"ignored"))
    assert connection.client.answers[1].reset is ErrorCode.PROTOCOL_ERROR
    assert connection.open().receiver.has_ended


def test_what_comes_for_a_stream_that_the_server_has_ended_is_ignored():
    connection = Connection()
    connection.send(connection.client.headers())
    connection.respond(connection.streams[0], b"early")
    assert connection.client.answers[1].reset is ErrorCode.NO_ERROR
    connection.send(connection.client.data(b"late", ended=False))
    connection.send(connection.client.header_frame([("late", "trailers")], ended=True, stream_id=1))
    connection.send(frames.window_update(1, 5) + frames.reset(1, ErrorCode.CANCEL))
    assert connection.streams[0].receiver.data == b""


def test_a_client_that_cancels_is_told_to_the_receiver():
    connection = Connection()
    stream = connection.open()
    connection.send(frames.reset(stream.id, ErrorCode.CANCEL))
    assert stream.receiver.is_cancelled
    connection.server.send(stream, RESPONSE_HEAD, b"too late", OK_TRAILERS)
    assert connection.taken() == []


# --- windows ----------------------------------------------------------------------------------------------------------


def test_a_response_waits_for_the_room_that_the_client_makes():
    connection = Connection({frames.SETTINGS_INITIAL_WINDOW_SIZE: 10})
    stream = connection.open()
    answer = connection.respond(stream, b"0123456789abcdef")
    assert (answer.data, answer.has_ended) == (b"0123456789", False)
    connection.window_update(stream, 2)
    assert answer.data == b"0123456789ab"
    connection.window_update(None, 100)
    assert answer.data == b"0123456789ab"
    connection.send(frames.settings({frames.SETTINGS_INITIAL_WINDOW_SIZE: 14}))
    assert (answer.data, answer.status) == (b"0123456789abcdef", 0)


def test_a_window_may_shrink_below_nothing_and_trailers_need_none():
    connection = Connection({frames.SETTINGS_INITIAL_WINDOW_SIZE: 10})
    streams = [connection.open(), connection.open()]
    connection.respond(streams[0], b"0123456789abcdef")
    connection.send(frames.settings({frames.SETTINGS_INITIAL_WINDOW_SIZE: 0}))
    connection.window_update(streams[0], 10)
    answer = connection.client.answers[streams[0].id]
    assert answer.data == b"0123456789"
    connection.window_update(streams[0], 6)
    assert answer.has_ended
    assert connection.respond(streams[1], b"").has_ended


def test_the_connections_window_is_shared_by_all_streams():
    connection = Connection({frames.SETTINGS_INITIAL_WINDOW_SIZE: 10**6})
    first, second = connection.open(), connection.open()
    answers = [connection.respond(stream, bytes(50_000)) for stream in (first, second)]
    assert [len(answer.data) for answer in answers] == [50_000, frames.DEFAULT_WINDOW_BYTES - 50_000]
    connection.window_update(None, 10**6)
    assert [len(answer.data) for answer in answers] == [50_000, 50_000]


def test_frames_are_no_larger_than_the_client_takes():
    connection = Connection({frames.SETTINGS_INITIAL_WINDOW_SIZE: 10**6, frames.SETTINGS_MAX_FRAME_SIZE: 20_000})
    connection.respond(connection.open(), bytes(60_000))
    sizes = [len(frame.payload) for frame in connection.client.frames if frame.kind == frames.DATA]
    assert sizes == [20_000, 20_000, 20_000]


@settings(deadline=None)
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=20), st.integers(0, 3000), st.booleans())
def test_what_was_sent_arrives_whole_and_in_order_however_room_is_made(sizes, first_room, is_streamed):
    connection = Connection({frames.SETTINGS_INITIAL_WINDOW_SIZE: first_room})
    stream = connection.open()
    content = bytes(number % 251 for number in range(sum(sizes) // 2 + 1))
    if is_streamed:
        connection.server.send(stream, RESPONSE_HEAD, content[:7], b"")
        connection.server.send(stream, b"", content[7:], b"")
        connection.server.send(stream, b"", b"", OK_TRAILERS)
        connection.taken()
    else:
        connection.respond(stream, content)
    room = first_room
    for size in sizes:
        assert len(connection.client.answers[stream.id].data) == min(room, len(content))
        if stream.is_open:
            connection.window_update(stream, size)
        room += size
    answer = connection.client.answers[stream.id]
    assert answer.data == content[:room]
    assert answer.has_ended == (room >= len(content))


def test_a_client_is_told_to_send_on_before_its_windows_are_used_up():
    connection = Connection()
    connection.send(connection.client.headers())
    chunk = connection.client.data(bytes(1024 * 1024), ended=False)
    for _ in range(24):
        connection.send(chunk)
    grants = [frame for frame in connection.client.frames if frame.kind == frames.WINDOW_UPDATE and frame.stream_id]
    assert sum(int.from_bytes(frame.payload, "big") for frame in grants) >= 20 * 1024 * 1024


def test_a_held_stream_is_given_no_more_room_until_it_is_released():
    connection = Connection()
    connection.send(connection.client.headers())
    stream = connection.streams[0]
    stream.is_held = True
    connection.send(connection.client.data(bytes(http2.STREAM_WINDOW), ended=False))
    assert [frame for frame in connection.client.frames if frame.kind == frames.WINDOW_UPDATE and frame.stream_id] == []
    connection.server.release(stream)
    (grant,) = connection.taken()
    assert int.from_bytes(grant.payload, "big") == http2.STREAM_WINDOW


def test_a_client_that_overruns_a_held_stream_loses_it():
    connection = Connection()
    connection.send(connection.client.headers())
    connection.streams[0].is_held = True
    connection.send(connection.client.data(bytes(http2.STREAM_WINDOW + 1), ended=False))
    assert connection.client.answers[1].reset is ErrorCode.FLOW_CONTROL_ERROR
    assert connection.streams[0].receiver.is_cancelled


def test_a_client_that_takes_nothing_loses_its_stream():
    connection = Connection({frames.SETTINGS_INITIAL_WINDOW_SIZE: 4})
    slow, stuck = connection.open(), connection.open()
    for stream in (slow, stuck):
        connection.respond(stream, b"0123456789")
    connection.server.sweep(100.0, 10.0)
    connection.window_update(slow, 1)
    connection.server.sweep(111.0, 10.0)
    connection.taken()
    assert connection.client.answers[stuck.id].reset is ErrorCode.CANCEL
    assert stuck.receiver.is_cancelled
    assert slow.is_open


# --- ends -------------------------------------------------------------------------------------------------------------


def test_a_connection_that_leaves_finishes_what_is_open_and_takes_nothing_new():
    connection = Connection()
    stream = connection.open()
    connection.server.leave()
    connection.server.leave()
    connection.send(connection.client.call(b"new"))
    goodbyes = [frame for frame in connection.client.frames if frame.kind == frames.GOAWAY]
    assert [int.from_bytes(frame.payload[:4], "big") for frame in goodbyes] == [stream.id]
    assert connection.client.answers[3].reset is ErrorCode.REFUSED_STREAM
    assert not connection.is_empty
    assert connection.respond(stream, b"done").status == 0
    assert connection.is_empty


def test_a_connection_that_is_gone_is_told_to_every_receiver_once():
    connection = Connection()
    streams = [connection.open(), connection.open()]
    connection.server.close()
    connection.server.close()
    assert all(stream.receiver.is_cancelled for stream in streams)


def test_opening_streams_to_cancel_them_ends_the_connection():
    connection = Connection()
    for _ in range(http2.MAX_CANCELLATIONS):
        connection.open()
        connection.send(frames.reset(connection.client.last_id, ErrorCode.CANCEL))
    connection.open()
    cancel = frames.reset(connection.client.last_id, ErrorCode.CANCEL)
    assert problem_of(connection, cancel) is ErrorCode.ENHANCE_YOUR_CALM


def test_making_the_server_cancel_streams_counts_as_well():
    connection = Connection()
    for _ in range(http2.MAX_CANCELLATIONS):
        connection.window_update(connection.open(), 0)
    update = frames.window_update(connection.open().id, 0)
    assert problem_of(connection, update) is ErrorCode.ENHANCE_YOUR_CALM


def test_cancellations_are_forgiven_in_time():
    connection = Connection()
    for number in range(3 * http2.MAX_CANCELLATIONS):
        stream = connection.open()
        connection.send(frames.reset(stream.id, ErrorCode.CANCEL))
        if number % http2.CANCELLATIONS_PER_SWEEP == 0:
            connection.server.sweep(number, 10.0)
    assert connection.open().is_open


# --- what no client may do --------------------------------------------------------------------------------------------

SIMPLE = frames.END_HEADERS


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frames.frame(frames.DATA, 0, 0, b"x"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.DATA, 0, 9, b"x"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.DATA, frames.PADDED, 1, b""), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.DATA, frames.PADDED, 1, b"\x09x"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.DATA, 0, 1, bytes(16_385)), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.HEADERS, SIMPLE, 0, b"\x82"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, SIMPLE, 2, b"\x82"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, SIMPLE, 3, b"\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR),
        (frames.frame(frames.HEADERS, SIMPLE | frames.HAS_PRIORITY, 3, b"\0\0"), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.HEADERS, SIMPLE | frames.PADDED, 3, b"\x05\x82"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, 0, 3, b"\x82") + frames.frame(frames.PING, 0, 0, bytes(8)),
         ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, 0, 3, b"\x82") + frames.frame(frames.DATA, 0, 1, b"x"),
         ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, 0, 3, b"\x82") + frames.frame(frames.CONTINUATION, 0, 5, b"\x82"),
         ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.HEADERS, 0, 3) + frames.frame(frames.CONTINUATION, 0, 3) * 70,
         ErrorCode.ENHANCE_YOUR_CALM),
        (frames.frame(frames.HEADERS, 0, 3) + frames.frame(frames.CONTINUATION, 0, 3, bytes(5000)),
         ErrorCode.ENHANCE_YOUR_CALM),
        (frames.frame(frames.CONTINUATION, SIMPLE, 3, b"\x82"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.RST_STREAM, 0, 1, b"\0"), ErrorCode.FRAME_SIZE_ERROR),
        (frames.reset(0, ErrorCode.CANCEL), ErrorCode.PROTOCOL_ERROR),
        (frames.reset(9, ErrorCode.CANCEL), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.SETTINGS, 0, 0, b"12345"), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.SETTINGS, frames.ACK, 0, b"123456"), ErrorCode.FRAME_SIZE_ERROR),
        (frames.settings({frames.SETTINGS_ENABLE_PUSH: 2}), ErrorCode.PROTOCOL_ERROR),
        (frames.settings({frames.SETTINGS_MAX_FRAME_SIZE: 100}), ErrorCode.PROTOCOL_ERROR),
        (frames.settings({frames.SETTINGS_INITIAL_WINDOW_SIZE: 2**31}), ErrorCode.FLOW_CONTROL_ERROR),
        (frames.frame(frames.PUSH_PROMISE, SIMPLE, 1, b"\0\0\0\x02"), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
        (frames.frame(frames.GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.PRIORITY, 0, 0, bytes(5)), ErrorCode.PROTOCOL_ERROR),
        (frames.frame(frames.WINDOW_UPDATE, 0, 0, b"\0"), ErrorCode.FRAME_SIZE_ERROR),
        (frames.window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
        (frames.window_update(9, 1), ErrorCode.PROTOCOL_ERROR),
        (frames.window_update(0, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_of_the_connection_ends_it(sent, code):
    connection = Connection()
    connection.send(connection.client.headers())
    assert problem_of(connection, sent) is code


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frames.window_update(1, 0), ErrorCode.PROTOCOL_ERROR),
        (frames.window_update(1, 2**31 - 1), ErrorCode.FLOW_CONTROL_ERROR),
        (frames.frame(frames.DATA, frames.END_STREAM, 1) + frames.frame(frames.DATA, 0, 1), ErrorCode.STREAM_CLOSED),
    ],
)
def test_what_breaks_a_rule_of_a_stream_ends_only_that(sent, code):
    connection = Connection()
    connection.send(connection.client.headers())
    connection.send(sent)
    assert connection.client.answers[1].reset is code
    assert connection.streams[0].receiver.is_cancelled
    assert connection.open().is_open


def test_trailers_that_do_not_end_the_request_end_its_stream():
    connection = Connection()
    connection.send(connection.client.headers())
    connection.send(connection.client.header_frame([("a", "b")], stream_id=1))
    assert connection.client.answers[1].reset is ErrorCode.PROTOCOL_ERROR


def test_headers_that_grow_when_they_are_unpacked_are_too_many():
    connection = Connection()
    big = [("x" * 20, "y" * 1000)]
    connection.send(connection.client.headers(*big))
    repeated = frames.frame(frames.HEADERS, SIMPLE, 3, b"\xbe" * 16)  # each byte: the field above once more
    assert problem_of(connection, repeated) is ErrorCode.ENHANCE_YOUR_CALM


def bare_server():
    return Http2(
        HeaderBlocks(read_head, MAX_HEADER_BYTES),
        write=bytearray().extend,
        opened=pytest.fail,
        emptied=pytest.fail,
        max_streams=1,
        max_header_bytes=MAX_HEADER_BYTES,
    )


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02", b"PRI * HTTP/2.0\r\n\r\nXX"]
)
def test_other_protocols_are_told_what_is_spoken_here(sent):
    with pytest.raises(ConnectionProblem, match="speaks gRPC"):
        bare_server().receive(sent)


def test_settings_come_first():
    with pytest.raises(ConnectionProblem, match="SETTINGS must come first"):
        bare_server().receive(frames.PREFACE + FrameClient().headers())


FRAMES = st.builds(
    frames.frame,
    st.integers(0, 11),
    st.integers(0, 255),
    st.integers(0, 9),
    st.binary(max_size=64) | st.sampled_from([b"\x82\x86\x84", bytes(4), bytes(8), b"\0\x04\0\0\0\x05"]),
)


@settings(deadline=None)
@given(st.lists(st.one_of(FRAMES, st.binary(max_size=30))))
def test_garbage_raises_only_connection_problems(parts):
    connection = Connection()
    connection.send(connection.client.headers())
    try:
        for part in parts:
            connection.send(part)
            for stream in connection.server.streams():
                if stream.receiver.has_ended:
                    connection.respond(stream, b"answer")
    except ConnectionProblem:
        connection.server.close()
        assert all(not stream.is_open for stream in connection.streams)
