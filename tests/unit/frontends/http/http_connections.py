"""HTTP connections without a network: a transport in memory, and sites that note what reaches them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from flambeau.errors import ServingError, TooManyConnections
from flambeau.frontends.http.connection import Exchange, HttpConnection
from flambeau.frontends.http.errors import error_status


@dataclass(frozen=True)
class Limits:
    max_request_bytes: int = 1_000_000
    max_header_bytes: int = 4096
    max_headers: int = 16
    max_connections: int = 100
    max_pipelined: int = 4
    idle_timeout_s: float = 100.0
    request_timeout_s: float = 20.0
    write_timeout_s: float = 10.0


class FakeTransport(asyncio.Transport):
    """Keeps what is written; hands over what the client sends only while it may read, as the kernel would."""

    def __init__(self, peer: Any = ("192.0.2.1", 4321)) -> None:
        super().__init__({"peername": peer})
        self.written = bytearray()
        self.unsent_bytes = 0
        """What the client has not taken; set by tests."""
        self.is_reading_paused = False
        self.is_aborted = False
        self.has_ended_writing = False
        self._is_closing = False
        self._is_lost = False
        self._arrived = bytearray()
        self._protocol: asyncio.BaseProtocol | None = None

    # --- what the connection calls ---

    def write(self, data: Any) -> None:
        assert not self.has_ended_writing
        self.written += data

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        for data in list_of_data:
            self.write(data)

    def write_eof(self) -> None:
        self.has_ended_writing = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self._is_closing = True

    def abort(self) -> None:
        self._is_closing = self.is_aborted = True

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        self.is_reading_paused = True

    def resume_reading(self) -> None:
        self.is_reading_paused = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    # --- what the test does in the client's place ---

    def receive(self, data: bytes) -> None:
        """Bytes from the client."""
        self._arrived += data
        self.deliver()

    def deliver(self) -> None:
        """Hand over what has arrived, as far as it is read; then tell of the end, if it was closed."""
        while self._arrived and not self.is_reading_paused and not self._is_closing:
            protocol = self._protocol
            if isinstance(protocol, asyncio.BufferedProtocol):
                buffer = protocol.get_buffer(-1)
                count = min(len(buffer), len(self._arrived))
                assert count
                buffer[:count] = self._arrived[:count]
                del self._arrived[:count]
                protocol.buffer_updated(count)
            else:
                assert isinstance(protocol, asyncio.Protocol)
                data = bytes(self._arrived)
                self._arrived.clear()
                protocol.data_received(data)
        if self._is_closing:
            self.lose()

    def lose(self) -> None:
        """The connection has ended, by whichever side."""
        if not self._is_lost:
            self._is_closing = self._is_lost = True
            self.get_protocol().connection_lost(None)
            self._protocol = None


def reply_with_size(exchange: Exchange) -> None:
    """Answer at once with target and body's length."""
    exchange.respond(b"<%b %d>" % (exchange.target, len(exchange.body)))


def leave_open(exchange: Exchange) -> None:
    """Answer later."""


@dataclass
class FakeSite:
    """Notes every exchange, and answers it as the test wants."""

    on_request: Callable[[Exchange], None] = reply_with_size
    limits: Limits = field(default_factory=Limits)
    has_room: bool = True
    exchanges: list[Exchange] = field(default_factory=list)
    refusals: list[tuple[Exchange, ServingError]] = field(default_factory=list)
    connections: set[HttpConnection] = field(default_factory=set)

    def handle(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)
        self.on_request(exchange)

    def refuse(self, exchange: Exchange, error: ServingError) -> None:
        self.refusals.append((exchange, error))
        exchange.respond(b"<refused %d>" % error_status(error))

    def connected(self, connection: HttpConnection) -> ServingError | None:
        self.connections.add(connection)
        return None if self.has_room else TooManyConnections(len(self.connections))

    def disconnected(self, connection: HttpConnection) -> None:
        self.connections.discard(connection)

    def refused_statuses(self) -> list[int]:
        return [error_status(error) for _, error in self.refusals]


def connect(site: Any, peer: Any = ("192.0.2.1", 4321)) -> tuple[HttpConnection, FakeTransport]:
    """A connection that has just been accepted."""
    transport = FakeTransport(peer)
    connection = HttpConnection(site)
    transport.set_protocol(connection)
    connection.connection_made(transport)
    return connection, transport


def post(target: str, body: bytes = b"", *headers: str) -> bytes:
    """A request with a body of known length."""
    lines = [f"POST {target} HTTP/1.1", "Host: test", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(target: str, *pieces: bytes, trailers: Iterable[str] = (), headers: Iterable[str] = ()) -> bytes:
    """A request whose body comes in chunks."""
    head = "\r\n".join([f"POST {target} HTTP/1.1", "Transfer-Encoding: chunked", *headers, "", ""]).encode("latin-1")
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    tail = "\r\n".join(["0", *trailers, "", ""]).encode("latin-1")
    return head + body + tail
