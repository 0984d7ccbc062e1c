"""One connection of a gRPC client: the socket and the clock around ``http2``.

What it guards, on behalf of everyone else: clients that never finish what they began, that do not read, that are gone
without a word, and how old a connection may get.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Protocol, cast

from flambeau.frontends.grpc.call import Call
from flambeau.frontends.grpc.frames import ConnectionProblem
from flambeau.frontends.grpc.header_blocks import HeaderBlocks
from flambeau.frontends.grpc.heads import CallHead, read_head
from flambeau.frontends.grpc.http2 import Http2
from flambeau.frontends.grpc.status import Status
from flambeau.frontends.grpc.streams import Stream
from flambeau.frontends.http.limits import ConnectionLimits

_WRITE_BUFFER_BYTES = 1024 * 1024
"""What may wait for a client to read it before the client's own frames are no longer read."""

_LINGER_S = 2.0
"""For how long a connection that is closed may take to send its last bytes."""

_PING_TIMEOUT_S = 20.0
"""For how long a client that has been silent may be so after it was asked whether it is there."""

_AGE_JITTER = 0.1
"""Connections that were opened together must not all be closed together."""

_INCOMPLETE_MESSAGES = 16
"""So many messages of the largest size may be coming in on one connection at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcLimits:
    """What holds for gRPC's connections beside that which holds for HTTP's, too."""

    max_calls: int
    """Of one connection, under way at a time."""
    max_age_s: float | None = None
    """After which a connection takes no new calls; None: never."""
    max_age_grace_s: float | None = None
    """That the calls which are under way then have left; None: for ever."""


class Site(Protocol):
    """What stands behind a listener."""

    limits: ConnectionLimits
    grpc_limits: GrpcLimits

    def opened(self, connection: GrpcConnection, stream: Stream, head: CallHead) -> None:
        """Take a request whose header has come. Must not raise."""
        ...

    def ended(self, connection: GrpcConnection, call: Call, status: Status) -> None: ...

    def run(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]: ...

    def connected(self, connection: GrpcConnection) -> ConnectionProblem | None:
        """Returns why it cannot be served, if it cannot; ``disconnected`` is called in either case."""
        ...

    def disconnected(self, connection: GrpcConnection) -> None: ...


class GrpcConnection(asyncio.Protocol):
    """Implements ``call.Carrier``."""

    def __init__(self, site: Site) -> None:
        limits = site.limits
        self._site = site
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._http2: Http2[CallHead] = cast("Http2[CallHead]", None)
        self._opened_at = self._active_at = time.monotonic()
        self._pinged_at: float | None = None
        self._paused_since: float | None = None
        self._closed_at: float | None = None
        self._is_leaving = False
        age_s = site.grpc_limits.max_age_s
        self._max_age_s = None if age_s is None else age_s * random.uniform(1 - _AGE_JITTER, 1 + _AGE_JITTER)
        self.max_message_bytes = limits.max_request_bytes
        self.max_incomplete_bytes = _INCOMPLETE_MESSAGES * limits.max_request_bytes
        self.incomplete_bytes = 0
        self.peer_text = ""
        """For the access log."""

    # --- asyncio -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        peer = transport.get_extra_info("peername")
        if peer is not None:  # a client may be gone by now
            self.peer_text = f"{peer[0]}:{peer[1]}"
        limits = self._site.limits
        self._http2 = Http2(
            HeaderBlocks(read_head, limits.max_header_bytes),
            write=self._transport.write,
            opened=self._stream_opened,
            emptied=self._streams_ended,
            max_streams=self._site.grpc_limits.max_calls,
            max_header_bytes=limits.max_header_bytes,
        )
        self._http2.begin()
        problem = self._site.connected(self)
        if problem is not None:
            self._fail(problem)

    def data_received(self, data: bytes) -> None:
        self._active_at = time.monotonic()
        if self._closed_at is not None:
            return
        try:
            self._http2.receive(data)
        except ConnectionProblem as problem:
            self._fail(problem)

    def connection_lost(self, exc: Exception | None) -> None:
        self._http2.close()
        self._site.disconnected(self)

    def pause_writing(self) -> None:
        self._paused_since = time.monotonic()
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._paused_since = None
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # --- what the site calls -------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take no new call, finish those under way, then close."""
        self._leave()
        for stream in self._http2.streams():
            stream.receiver.drain()

    def abort(self) -> None:
        """Close at once."""
        self._http2.close()
        self._transport.abort()

    def sweep(self, now: float) -> None:
        """Look for what has taken too long. Called about once a second, with the monotonic time."""
        limits = self._site.limits
        self._http2.sweep(now, limits.write_timeout_s)
        if self._has_overstayed(now):
            self.abort()
            return
        if now - self._active_at > limits.idle_timeout_s and self._pinged_at is None:
            self._pinged_at = now
            self._http2.ping()
        if self._max_age_s is not None and now - self._opened_at > self._max_age_s:
            self._leave()
        for stream in self._http2.streams():
            call = cast(Call, stream.receiver)
            if call.awaits_message and now - call.arrived_at > limits.request_timeout_s:
                call.abort(Status.DEADLINE_EXCEEDED, f"No message came within {limits.request_timeout_s:g} s.")

    def _has_overstayed(self, now: float) -> bool:
        limits, grace_s = self._site.limits, self._site.grpc_limits.max_age_grace_s
        if self._pinged_at is not None and self._active_at > self._pinged_at:
            self._pinged_at = None
        return (
            (self._closed_at is not None and now - self._closed_at > _LINGER_S)
            or (self._paused_since is not None and now - self._paused_since > limits.write_timeout_s)
            or (not self._http2.is_ready and now - self._opened_at > limits.request_timeout_s)
            or (self._pinged_at is not None and now - self._pinged_at > _PING_TIMEOUT_S)
            or (self._max_age_s is not None and grace_s is not None
                and now - self._opened_at > self._max_age_s + grace_s)
        )  # fmt: skip

    # --- what calls need -----------------------------------------------------------------------------------------

    def send(self, stream: Stream, head: bytes, data: bytes, trailers: bytes) -> None:
        self._http2.send(stream, head, data, trailers)

    def release(self, stream: Stream) -> None:
        self._http2.release(stream)

    def run(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        return self._site.run(work)

    def ended(self, call: Call, status: Status) -> None:
        self._site.ended(self, call, status)

    # --- inside --------------------------------------------------------------------------------------------------

    def _stream_opened(self, stream: Stream, head: CallHead) -> None:
        self._site.opened(self, stream, head)

    def _streams_ended(self) -> None:
        self._loop.call_soon(self._close)  # what the last stream sent goes out first

    def _leave(self) -> None:
        if not self._is_leaving:
            self._is_leaving = True
            self._http2.leave()
            if self._http2.is_empty:
                self._close()

    def _fail(self, problem: ConnectionProblem) -> None:
        self._http2.fail(problem)
        self._http2.close()
        self._close()

    def _close(self) -> None:
        if self._closed_at is None:
            self._closed_at = time.monotonic()
            self._transport.close()
