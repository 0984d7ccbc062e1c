import asyncio
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="uvicorn is in the dependency group bench")

from benchmarks.protocols.bases import BASES, Connect
from benchmarks.protocols.path import ECHO, prediction_path
from flambeau.config.server import Address
from flambeau.listeners import Listener

TIMEOUT_S = 20.0


def prediction(body: bytes, model: str = ECHO, *, headers: str = "") -> bytes:
    head = f"POST /predictions/{model} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


async def read_reply(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of the next response."""
    head = await reader.readuntil(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").lower().split("\r\n")
    length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
    return int(status_line.split()[1]), await reader.readexactly(length)


def noting_the_end(connect: Connect, ended: asyncio.Event) -> Connect:
    """The same protocols; the event says when one has lost its connection."""

    def make() -> asyncio.BaseProtocol:
        protocol = connect()
        lose = protocol.connection_lost

        def connection_lost(error: Exception | None) -> None:
            lose(error)
            ended.set()

        protocol.connection_lost = connection_lost
        return protocol

    return make


def converse(base: str, folder: Path, *, sent: bytes, replies: int) -> list[tuple[int, bytes]]:
    """Send bytes over one connection to one base, and read so many responses. No call-back may fail meanwhile."""
    failures: list[dict[str, object]] = []

    async def run() -> list[tuple[int, bytes]]:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        async with prediction_path(folder) as path:
            ended = asyncio.Event()
            connect = noting_the_end(BASES[base](path), ended)
            listener = await Listener.bind(Address("http", "127.0.0.1"), connect, None)
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.address.port)
            try:
                writer.write(sent)
                return [await read_reply(reader) for _ in range(replies)]
            finally:
                writer.close()
                await writer.wait_closed()
                listener.close()
                await ended.wait()

    received = asyncio.run(asyncio.wait_for(run(), TIMEOUT_S))
    assert failures == []
    return received


@pytest.mark.parametrize("size", [0, 64, 100_000])
@pytest.mark.parametrize("base", BASES)
def test_every_base_answers_predictions_with_their_body(base: str, size: int, tmp_path: Path):
    body = b"x" * size
    assert converse(base, tmp_path, sent=prediction(body), replies=1) == [(200, body)]


@pytest.mark.parametrize("base", BASES)
def test_every_base_answers_pipelined_requests_in_their_order(base: str, tmp_path: Path):
    ping = b"GET /ping HTTP/1.1\r\nHost: test\r\n\r\n"
    sent = prediction(b"one") + ping + prediction(b"two") + prediction(b"three") + ping + prediction(b"four")
    received = converse(base, tmp_path, sent=sent, replies=6)
    assert [status for status, _ in received] == [200] * 6
    assert [body for _, body in received if b"Healthy" not in body] == [b"one", b"two", b"three", b"four"]
    assert [index for index, (_, body) in enumerate(received) if b"Healthy" in body] == [1, 4]


@pytest.mark.parametrize("base", BASES)
def test_every_base_names_the_model_that_it_does_not_have(base: str, tmp_path: Path):
    [(status, body)] = converse(base, tmp_path, sent=prediction(b"one", "none"), replies=1)
    assert status == 404
    assert b"none" in body


@pytest.mark.parametrize("base", BASES)
def test_every_base_closes_when_asked_to(base: str, tmp_path: Path):
    sent = prediction(b"one", headers="Connection: close\r\n")
    with pytest.raises(asyncio.IncompleteReadError):
        converse(base, tmp_path, sent=sent, replies=2)


def test_paths_that_predict_nothing_are_not_found_behind_the_bypass(tmp_path: Path):
    [(status, _)] = converse("bypass", tmp_path, sent=prediction(b"one", ""), replies=1)
    assert status == 404
