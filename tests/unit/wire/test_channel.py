"""The server's end of a worker's socket, with a plain socket as the worker."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct

import pytest
from wire_strategies import MAX_FRAME_BYTES, plain

from flambeau.request import InferenceReply, InferenceRequest
from flambeau.wire import codec
from flambeau.wire.channel import WorkerChannel
from flambeau.wire.frames import FrameReader
from flambeau.wire.messages import Batch, BatchReply, Hello

TIME_LIMIT_S = 10


class Peer:
    """A channel over a real socket pair, and what it reported."""

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self.messages: asyncio.Queue[object] = asyncio.Queue()
        self.lost = asyncio.Event()
        self.times_lost = 0
        self.channel = WorkerChannel(self.messages.put_nowait, self._on_lost, max_frame_bytes)
        ours, self.socket = socket.socketpair()
        ours.setblocking(False)
        self.socket.setblocking(False)
        self._ours = ours

    async def __aenter__(self) -> Peer:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self.channel, sock=self._ours)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.socket.close()
        await asyncio.wait_for(self.lost.wait(), TIME_LIMIT_S)
        assert self.times_lost == 1

    def _on_lost(self) -> None:
        self.times_lost += 1
        self.lost.set()

    async def write(self, data: bytes) -> None:
        await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(self.socket, data), TIME_LIMIT_S)

    async def next_message(self) -> object:
        return await asyncio.wait_for(self.messages.get(), TIME_LIMIT_S)

    async def read_messages(self, count: int) -> list[object]:
        """What the channel wrote, as a worker reads it."""
        reader = FrameReader(MAX_FRAME_BYTES)
        received: list[object] = []
        while len(received) < count:
            receive = asyncio.get_running_loop().sock_recv_into(self.socket, reader.buffer())
            size = await asyncio.wait_for(receive, TIME_LIMIT_S)
            assert size, "the channel closed the connection"
            received.extend(reader.advance(size))
        reader.at_end()
        return received


def frame(message):
    return b"".join(bytes(buffer) for buffer in codec.encode(message))


def run(scenario):
    asyncio.run(asyncio.wait_for(scenario(), 2 * TIME_LIMIT_S))


def test_messages_arrive_in_order_and_whole():
    async def scenario():
        async with Peer() as peer:
            sent = [Hello(1), BatchReply(2, [InferenceReply(bytes(400_000))], 0.5), BatchReply(3, [], 0.0)]
            await peer.write(b"".join(map(frame, sent)))
            assert [plain(await peer.next_message()) for _ in sent] == [plain(message) for message in sent]

    run(scenario)


def test_batches_with_large_values_are_written_whole_and_in_order():
    async def scenario():
        async with Peer() as peer:
            sizes = [0, 10, 16_384, 100_000, 3_000_000]
            rows = [InferenceRequest("r", [], [("body", "", bytearray(b"x" * size))]) for size in sizes]
            sent = [Batch(number, rows) for number in range(3)]
            for message in sent:
                peer.channel.send(message)
            assert [plain(message) for message in await peer.read_messages(3)] == [plain(message) for message in sent]

    run(scenario)


def test_the_end_of_the_worker_is_told_once_and_what_is_sent_after_it_is_dropped():
    async def scenario():
        async with Peer() as peer:
            peer.socket.close()
            await asyncio.wait_for(peer.lost.wait(), TIME_LIMIT_S)
            peer.channel.send(Hello(1))
            peer.channel.close()

    run(scenario)


def test_messages_before_the_end_are_still_delivered():
    async def scenario():
        async with Peer() as peer:
            await peer.write(frame(Hello(7)))
            peer.socket.close()
            assert await peer.next_message() == Hello(7)
            await asyncio.wait_for(peer.lost.wait(), TIME_LIMIT_S)

    run(scenario)


def test_closing_ends_the_workers_stream_after_what_was_sent():
    async def scenario():
        async with Peer() as peer:
            peer.channel.send(Hello(5))
            peer.channel.close()
            assert await peer.read_messages(1) == [Hello(5)]
            assert await asyncio.get_running_loop().sock_recv(peer.socket, 1) == b""
            peer.channel.close()

    run(scenario)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack("<BBHIQ", 5, 0, 0, 10, MAX_FRAME_BYTES),
        struct.pack("<BBHIQ", 5, 0, 0, 1, 0) + b"\xc1",
    ],
    ids=["another protocol", "frame over the limit", "envelope of garbage"],
)
def test_garbage_ends_the_connection_and_is_logged(garbage, caplog):
    async def scenario():
        async with Peer() as peer:
            await peer.write(garbage)
            await asyncio.wait_for(peer.lost.wait(), TIME_LIMIT_S)
            assert peer.messages.empty()

    with caplog.at_level(logging.ERROR, "flambeau.wire"):
        run(scenario)
    assert "does not speak the wire protocol" in caplog.text


def test_a_channel_that_is_not_connected_yet_drops_what_is_sent():
    channel = WorkerChannel(lambda message: None, lambda: None, MAX_FRAME_BYTES)
    channel.send(Hello(1))
    channel.close()
