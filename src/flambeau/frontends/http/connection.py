"""One HTTP/1.1 connection: bytes in, exchanges out to a site, responses back in order.

This is the part of the data plane that touches every request, so it has no task, no future and no copy that is not
needed. What it guards, on behalf of everyone else: sizes of header and body, requests that never end, clients that do
not read, pipelines, and that every request gets exactly one response, in its turn, or the connection is closed.

A connection is read by :mod:`httptools`; a large body whose length is known goes past it, straight into the buffer that
the request keeps (see :class:`_BodyReceiver`).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, cast

import httptools

from flambeau.errors import BadRequest, PayloadTooLarge, ServingError, ShuttingDown
from flambeau.frontends.http.limits import ConnectionLimits
from flambeau.request import Payload

_NOTED = frozenset(
    (
        b"content-type",
        b"content-length",
        b"content-encoding",
        b"inference-header-content-length",
        b"expect",
        b"upgrade",
        b"x-request-id",
        b"authorization",
    )
)
"""Headers that the frontend itself looks at; all others only pass through."""

_DIRECT_BODY_BYTES = 64 * 1024
"""From here a body is received straight into its own buffer; below, the switch costs more than the copies."""

_DIRECT_BODY_SHARE = 8
"""The buffer is at most so many times what has come of the body, so that announcing bodies takes no memory."""

_WRITE_BUFFER_BYTES = 1024 * 1024
"""What may wait for a client to read it before the client's own requests are no longer read."""

_LINGER_S = 2.0
"""For how long a client may go on sending once it has been sent its last answer: closing a socket that has unread bytes
resets the connection, and a reset takes the answer with it."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Exchange:
    """One request and its response."""

    __slots__ = (
        "arrived_at",
        "body",
        "connection",
        "headers",
        "keep_alive",
        "method",
        "noted",
        "on_abandon",
        "request_id",
        "response",
        "target",
    )

    method: bytes
    keep_alive: bool
    arrived_at: float
    """Monotonic seconds at which the last byte of the request came."""
    on_abandon: Callable[[], object] | None
    """What to call if the client leaves first: set by the site."""

    def __init__(self, connection: HttpConnection) -> None:
        self.connection = connection
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.noted: dict[bytes, bytes] = {}
        self.body: Payload = b""
        self.response: Sequence[Payload] | None = None
        self.on_abandon = None
        self.request_id = ""

    def respond(self, *buffers: Payload) -> None:
        """The whole response, head and body, as one or more buffers. Once."""
        self.on_abandon = None
        self.connection.finish(self, buffers)


class Site(Protocol):
    """What stands behind a listener."""

    limits: ConnectionLimits

    def handle(self, exchange: Exchange) -> None:
        """Take a complete request; ``exchange.respond`` is called now or later. Must not raise."""
        ...

    def refuse(self, exchange: Exchange, error: ServingError) -> None:
        """Answer, now, a request that could not be read; the connection is closed after it."""
        ...

    def connected(self, connection: HttpConnection) -> ServingError | None:
        """Returns why it cannot be served, if it cannot; ``disconnected`` is called in either case."""
        ...

    def disconnected(self, connection: HttpConnection) -> None: ...


class HttpConnection(asyncio.Protocol):
    """The server's side of one connection."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._limits = site.limits
        self.max_body_bytes = site.limits.max_request_bytes
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._loading: Exchange | None = None
        """The request that is being received."""
        self._body: bytes | bytearray | None = None
        """What has come of its body; None until its header is complete."""
        self._header_bytes = 0
        """Bytes that came for this request, since the last of its body: header, trailers, chunk extensions."""
        self._current: Exchange | None = None
        """The request whose response is the next to be written."""
        self._later: deque[Exchange] = deque()
        self._is_reading = True
        self._is_closing = False
        """Nothing more is read; closed when the last response is out."""
        self._lingers = False
        """The client may still be sending when the last response is out."""
        self._lingers_until = 0.0
        self._wants_direct = 0
        self.active_at = time.monotonic()
        """When the last bytes came, or the sweeper saw a request under way."""
        self._is_blocked = False
        """Too much waits for the client to read it."""
        self._unsent_bytes = 0
        self._unsent_since = 0.0
        """The last sweep, and the last one at which the client had taken some of its responses since the one before."""
        self._began_at = 0.0
        """When the first byte of the request being received came; 0: none is."""
        self.peer: tuple[str, int] | None = None
        self.peer_text = "unix"
        """For the access log."""
        self.is_tls = False

    # --- asyncio -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.peer = (peer[0], peer[1])
            self.peer_text = f"{peer[0]}:{peer[1]}"
        self.is_tls = transport.get_extra_info("sslcontext") is not None
        problem = self._site.connected(self)
        if problem is not None:
            self._refuse(problem)

    def data_received(self, data: bytes) -> None:
        self.active_at = time.monotonic()
        if self._is_closing:
            return
        self._header_bytes += len(data)
        while True:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._decline_upgrade(data[upgrade.args[0] :])
                if data:
                    continue
            except httptools.HttpParserCallbackError as error:
                if not isinstance(error.__context__, _Refused):
                    raise
            except httptools.HttpParserError as error:
                self._refuse(BadRequest(f"Invalid HTTP message. {error}"))
            else:
                if self._header_bytes > self._limits.max_header_bytes and self._began_at:
                    self._refuse_header()
                elif self._wants_direct:
                    self._receive_direct()
            return

    def eof_received(self) -> bool:
        return False  # a client that has closed its side has left: transports close, connection_lost follows

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_closing = True
        self._site.disconnected(self)
        self._parser = None  # it refers back to this; without the cycle both are freed now
        waiting = [*self._later] if self._current is None else [self._current, *self._later]
        self._current = self._loading = None
        self._later.clear()
        _abandon(waiting)

    def pause_writing(self) -> None:
        self._is_blocked = True
        self._set_reading(False)

    def resume_writing(self) -> None:
        self._is_blocked = False
        self._set_reading(len(self._later) < self._limits.max_pipelined)

    # --- httptools -----------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._loading = Exchange(self)
        self._began_at = self.active_at

    def on_url(self, url: bytes) -> None:
        loading = self._loading
        if loading is not None:
            loading.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        loading = self._loading
        if loading is None or self._body is not None:
            return  # a trailer
        loading.headers.append((name, value))
        key = name.lower()
        if key in _NOTED:
            loading.noted[key] = value

    def on_headers_complete(self) -> None:
        loading = self._loading
        if loading is None or self._is_closing:
            raise _Refused
        limits = self._limits
        is_large = self._header_bytes > limits.max_header_bytes and self._is_header_too_large(loading)
        if is_large or len(loading.headers) > limits.max_headers:
            self._refuse_header()
            raise _Refused
        noted = loading.noted
        if b"upgrade" in noted and self._parser.should_upgrade():
            return  # the parser leaves it at the header; see _decline_upgrade
        self._body = b""
        length = noted.get(b"content-length")
        if length is not None:
            expected = int(length)  # the parser has seen to it that it is a number
            if expected > self.max_body_bytes:
                self._refuse_body()
                raise _Refused
            if expected >= _DIRECT_BODY_BYTES:
                self._wants_direct = expected
        if b"expect" in noted:
            self._continue(loading, noted[b"expect"])

    def on_body(self, body: bytes) -> None:
        so_far = self._body
        if so_far is None:
            return
        self._header_bytes = 0
        if not so_far:
            self._body = so_far = body
        else:
            if isinstance(so_far, bytes):
                self._body = so_far = bytearray(so_far)
            so_far += body
        if len(so_far) > self.max_body_bytes:
            self._refuse_body()
            raise _Refused

    def on_message_complete(self) -> None:
        loading, body = self._loading, self._body
        if loading is None or body is None:
            return
        loading.body = body
        self._wants_direct = 0
        self._begin(loading)

    # --- one request, from complete to answered --------------------------------------------------------------------

    def _begin(self, exchange: Exchange) -> None:
        parser = self._parser
        exchange.method = parser.get_method()
        exchange.keep_alive = parser.should_keep_alive()
        exchange.arrived_at = self.active_at
        self._loading = self._body = None
        self._header_bytes = 0
        self._began_at = 0.0
        if self._current is None:
            self._current = exchange
        else:
            self._later.append(exchange)
            if len(self._later) >= self._limits.max_pipelined:
                self._set_reading(False)
        if not exchange.keep_alive:
            self._is_closing = True
        self._site.handle(exchange)

    @property
    def http_version(self) -> str:
        """Of the request that the site is being handed."""
        version: str = self._parser.get_http_version()
        return version

    def finish(self, exchange: Exchange, buffers: Sequence[Payload]) -> None:
        """Write a response, in its turn."""
        if exchange is not self._current:
            exchange.response = buffers
            return
        self._write(exchange, buffers)
        while self._later:
            following = self._later.popleft()
            self._current = following
            if not self._is_reading and not self._is_blocked and len(self._later) < self._limits.max_pipelined:
                self._set_reading(True)
            if following.response is None:
                return
            self._write(following, following.response)
        self._current = None

    def _write(self, exchange: Exchange, buffers: Sequence[Payload]) -> None:
        transport = self._transport
        if transport.is_closing():
            return
        if len(buffers) == 1:
            transport.write(buffers[0])
        else:
            transport.writelines(buffers)
        if not exchange.keep_alive:
            self._close()

    def _close(self) -> None:
        """Close after what has been written is out; linger where the client is still sending."""
        self._is_closing = True
        if self._lingers or self._later or self._loading is not None or not self._is_reading:
            _abandon(self._later)
            self._later.clear()
            self._loading = self._body = None
            self._lingers_until = time.monotonic() + _LINGER_S
            self._set_reading(True)  # what comes is thrown away
            if self._transport.can_write_eof():
                self._transport.write_eof()
        else:
            self._transport.close()

    # --- refusals ------------------------------------------------------------------------------------------------

    def _is_header_too_large(self, loading: Exchange) -> bool:
        size = len(loading.target) + sum(len(name) + len(value) + 4 for name, value in loading.headers)
        return size > self._limits.max_header_bytes

    def _refuse_header(self) -> None:
        limits = self._limits
        self._refuse(
            PayloadTooLarge(f"Header of more than {limits.max_header_bytes} bytes or {limits.max_headers} fields."), 431
        )

    def _refuse_body(self) -> None:
        self._refuse(PayloadTooLarge(f"Body of more than {self.max_body_bytes} bytes (max_request_size)."))

    def _refuse(self, error: ServingError, status: int | None = None) -> None:
        """Answer a request that could not be read, behind those before it, and read nothing more."""
        if self._is_closing:
            return
        if status is not None:
            error.status = status
        self._is_closing = True
        self._lingers = True
        exchange = self._loading or Exchange(self)
        self._loading = self._body = None
        self._wants_direct = 0
        self._began_at = 0.0
        exchange.method = self._parser.get_method() if exchange.target else b"-"  # - where none has been understood
        exchange.keep_alive = False
        exchange.arrived_at = self.active_at
        if self._current is None:
            self._current = exchange
        else:
            self._later.append(exchange)
        self._site.refuse(exchange, error)

    def _continue(self, loading: Exchange, expectation: bytes) -> None:
        """``Expect``: the client waits for leave to send its body."""
        if expectation.lower() != b"100-continue":
            self._refuse(BadRequest(f"Expectation {expectation.decode('latin-1')!r} cannot be met."), 417)
            raise _Refused
        if self._current is None and self._parser.get_http_version() == "1.1":
            self._transport.write(_CONTINUE)

    def _decline_upgrade(self, rest: bytes) -> bytes:
        """Nothing here speaks another protocol: the request is read again, by a new parser, as if it had not asked.

        The old one has stopped at the end of the header, though a body may follow.

        Args:
            rest: what came behind the header.

        Returns:
            What to parse next.
        """
        parser, asking = self._parser, self._loading
        self._parser = httptools.HttpRequestParser(self)
        self._header_bytes = 0
        if asking is None:
            return rest  # CONNECT, which has been handled
        start = b"%b %b HTTP/%b\r\n" % (parser.get_method(), asking.target, parser.get_http_version().encode())
        headers = [b"%b: %b\r\n" % header for header in asking.headers if header[0].lower() != b"upgrade"]
        return b"".join((start, *headers, b"\r\n", rest))

    # --- large bodies --------------------------------------------------------------------------------------------

    def _receive_direct(self) -> None:
        """Let the rest of a large body go straight into its buffer."""
        expected, begun = self._wants_direct, self._body
        if self._loading is None or begun is None or len(begun) * _DIRECT_BODY_SHARE < expected:
            return
        self._wants_direct = 0
        buffer = bytearray(expected)
        buffer[: len(begun)] = begun
        self._transport.pause_reading()
        self._transport.set_protocol(_BodyReceiver(self, buffer, len(begun)))
        if self._is_reading:
            self._transport.resume_reading()

    def body_received(self, buffer: bytearray) -> None:
        """A large body is complete."""
        self._transport.pause_reading()
        self._transport.set_protocol(self)
        if self._is_reading:
            self._transport.resume_reading()
        self.active_at = time.monotonic()
        loading = self._loading
        if loading is None:
            return
        loading.body = buffer
        self._begin(loading)
        self._parser = httptools.HttpRequestParser(self)  # the old one still waits for the body

    # --- what the site's sweeper looks at --------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """End what takes too long. Called about once a second."""
        limits, transport = self._limits, self._transport
        unsent_bytes = transport.get_write_buffer_size()
        if not 0 < self._unsent_bytes <= unsent_bytes:
            self._unsent_since = now
        self._unsent_bytes = unsent_bytes
        if self._current is not None:
            self.active_at = now
        if self._began_at and not self._is_reading:
            self._began_at = now  # it is the server who keeps the rest waiting
        if self._lingers_until and unsent_bytes:
            self._lingers_until = now + _LINGER_S  # the client has yet to come to the end of its last answer
        is_lingering_long = self._lingers_until and now > self._lingers_until
        if is_lingering_long or now - self._unsent_since > limits.write_timeout_s:
            transport.abort()
        elif self._began_at and now - self._began_at > limits.request_timeout_s:
            self._refuse(BadRequest(f"Request not complete after {limits.request_timeout_s:g} s."), 408)
        elif self._current is None and not self._began_at and now - self.active_at > limits.idle_timeout_s:
            transport.close()

    def drain(self) -> None:
        """The server stops: close after the last response that is under way. What has not come whole is refused."""
        last = self._later[-1] if self._later else self._current
        if self._loading is not None:
            self._refuse(ShuttingDown())
        elif last is not None:
            last.keep_alive = False
            self._is_closing = True
        elif not self._is_closing:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _set_reading(self, wanted: bool) -> None:
        if wanted is not self._is_reading and not self._transport.is_closing():
            self._is_reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()


class _BodyReceiver(asyncio.BufferedProtocol):
    """Stands in for a connection while the rest of a large body arrives."""

    def __init__(self, connection: HttpConnection, buffer: bytearray, filled: int) -> None:
        self._connection = connection
        self._buffer = buffer
        self._view = memoryview(buffer)
        self._filled = filled

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        self._connection.active_at = time.monotonic()
        if self._filled == len(self._buffer):
            self._connection.body_received(self._buffer)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        self._connection.resume_writing()


def _abandon(exchanges: Iterable[Exchange]) -> None:
    """Tell whoever works on them that no answer is wanted."""
    for exchange in exchanges:
        abandon, exchange.on_abandon = exchange.on_abandon, None
        if abandon is not None:
            abandon()


class _Refused(Exception):
    """Ends the parsing of a request that has been refused."""
