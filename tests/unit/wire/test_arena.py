from __future__ import annotations

import os
import resource
from collections.abc import Iterator

import pytest

from flambeau.errors import ProtocolError
from flambeau.request import InferenceReply, InferenceRequest
from flambeau.wire import codec
from flambeau.wire.arena import SLOTS, Arena, make_memory
from flambeau.wire.frames import FrameReader
from flambeau.wire.messages import Batch, BatchReply, Message

SLOT_BYTES = 64 * 1024
LARGE = codec.SEGMENT_MIN_BYTES


@pytest.fixture
def ends() -> Iterator[tuple[Arena, Arena]]:
    """The server's end of a memory and the worker's."""
    fd = make_memory(SLOT_BYTES)
    assert fd is not None
    server, worker = Arena(fd, is_server=True), Arena(fd, is_server=False)
    os.close(fd)
    yield server, worker
    server.close()
    worker.close()


def test_where_files_of_the_size_are_not_allowed_there_is_no_memory_and_nothing_stays_open() -> None:
    open_files = os.listdir("/proc/self/fd")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SLOT_BYTES, hard))
    try:
        assert make_memory(SLOT_BYTES) is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir("/proc/self/fd") == open_files


def batch(number: int, *sizes: int) -> Batch:
    rows = [InferenceRequest(str(i), [], [("body", "", bytes([i + 1]) * size)]) for i, size in enumerate(sizes)]
    return Batch(number, rows)


def received(message: Message, sender: Arena, receiver: Arena) -> tuple[Message, int]:
    """What a reader makes of a message, and how many bytes went over the stream."""
    reader = FrameReader(1 << 24)
    reader.arena = receiver
    frame = b"".join(codec.encode(message, sender))
    messages: list[Message] = []
    for start in range(0, len(frame), 1024):
        piece = frame[start : start + 1024]
        reader.buffer()[: len(piece)] = piece
        messages.extend(reader.advance(len(piece)))
    (decoded,) = messages
    return decoded, len(frame)


def test_large_values_stay_off_the_stream_in_both_directions(ends):
    server, worker = ends
    sent = batch(1, 10, LARGE, LARGE + 7)
    got, stream_bytes = received(sent, server, worker)
    assert got == sent
    assert stream_bytes < 200
    reply = BatchReply(1, [InferenceReply(b"x" * LARGE, headers=[]), InferenceReply(b"small", headers=[])], 0.5, [])
    got, stream_bytes = received(reply, worker, server)
    assert got == reply
    assert stream_bytes < 200


def test_what_does_not_fit_goes_over_the_stream(ends):
    server, worker = ends
    sent = batch(1, SLOT_BYTES, LARGE)
    got, stream_bytes = received(sent, server, worker)
    assert got == sent
    assert stream_bytes > SLOT_BYTES + LARGE


def test_as_many_frames_as_a_worker_may_have_do_not_overwrite_each_other(ends):
    server, worker = ends
    frames = [b"".join(codec.encode(batch(number, LARGE), server)) for number in range(SLOTS)]
    bodies = [bytes([number]) * LARGE for number in range(SLOTS)]
    for number, body in enumerate(bodies):
        server.put([body], LARGE)
        assert bytes(worker.look(number + 1, LARGE)) == body
    assert [frame[1] for frame in frames] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_what_was_read_does_not_change_when_its_slot_is_used_again(ends):
    server, worker = ends
    first, _ = received(batch(1, LARGE), server, worker)
    for number in range(2, 2 + SLOTS):
        received(Batch(number, [InferenceRequest("", [], [("body", "", b"z" * LARGE)])]), server, worker)
    assert first == batch(1, LARGE)


@pytest.mark.parametrize(("place", "size"), [(0, 1), (SLOTS + 1, 1), (1, SLOT_BYTES + 1)])
def test_no_look_beyond_a_slot(ends, place, size):
    with pytest.raises(ProtocolError):
        ends[0].look(place, size)


def test_a_frame_that_points_to_memory_is_refused_where_none_is_shared(ends):
    frame = codec.encode(batch(1, LARGE), ends[0])[0]
    reader = FrameReader(1 << 24)
    reader.buffer()[: len(frame)] = frame
    with pytest.raises(ProtocolError, match="none is shared"):
        reader.advance(len(frame))


def test_neither_end_can_change_the_size(ends):
    fd = make_memory(4096)
    assert fd is not None
    for size in (0, 1 << 20):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, size)
    os.close(fd)
