"""Responses as bytes, with the headers that every one of them has; and what is noted of each."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Protocol

from flambeau.errors import ServingError
from flambeau.frontends.http.asgi import reason_phrase
from flambeau.frontends.http.connection import Exchange
from flambeau.frontends.http.errors import error_body, error_headers, error_status
from flambeau.request import Payload

_JOIN_BYTES = 16 * 1024
"""A smaller body is written in one piece with its head; a larger one beside it, uncopied."""

_NO_CACHE = (
    b"Pragma: no-cache\r\n"
    b"Cache-Control: no-cache; no-store, must-revalidate, private\r\n"
    b"Expires: Thu, 01 Jan 1970 00:00:00 UTC\r\n"
)


_OURS = frozenset(
    (b"connection", b"transfer-encoding", b"content-length", b"x-request-id", b"pragma", b"cache-control", b"expires")
)
"""What no route or handler decides: framing, and what every response says alike."""


class Series(Protocol):
    def record(self, value: float, /) -> None: ...


class MetricsRecorder(Protocol):
    """Where the frontend's metrics go."""

    def series(self, name: str, /, *labels: str) -> Series: ...


class AccessRecorder(Protocol):
    """Where one line a request goes."""

    def record(self, peer: str, method: str, target: str, status: int, milliseconds: float, /) -> None: ...


class Responder:
    """Writes responses of one server, whichever its port."""

    def __init__(
        self, metrics: MetricsRecorder, access_log: AccessRecorder | None, cors: Iterable[tuple[str, str]]
    ) -> None:
        """
        Args:
            access_log: None where it is switched off.
            cors: header names and values that every response carries.
        """
        self._cors = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in cors if value]
        cors_lines = b"".join(b"%b: %b\r\n" % header for header in self._cors)
        self._ok = (
            b"HTTP/1.1 200 \r\nx-request-id: %b\r\n"
            + (_NO_CACHE + cors_lines).replace(b"%", b"%%")
            + b"content-length: %d\r\nconnection: keep-alive\r\n\r\n"
        )
        self._access_log = access_log
        self._of_class = [metrics.series(name, "Host") for name in ("Requests2XX", "Requests4XX", "Requests5XX")]
        self._ok_series = self._of_class[0]

    def ok(self, exchange: Exchange, body: Payload, now: float) -> None:
        """The hot one: 200, no header of the handler's own, the connection stays open."""
        head = self._ok % (exchange.request_id.encode(), len(body))
        if len(body) < _JOIN_BYTES:
            exchange.respond(head + body)
        else:
            exchange.respond(head, body)
        self._ok_series.record(1)
        if self._access_log is not None:
            self._log(exchange, 200, now)

    def respond(
        self,
        exchange: Exchange,
        status: int,
        body: Payload,
        headers: Iterable[tuple[bytes, bytes]] = (),
        phrase: bytes | None = None,
    ) -> None:
        """Any other.

        Args:
            headers: those of the route or handler, as they are to be written; those that every response has are
                dropped. To ``HEAD`` the body's length may be said by a ``content-length`` among them.
            phrase: None for the standard one.
        """
        if status >= 400:
            exchange.keep_alive = False  # as TorchServe: what follows an error may not be a request
        lines = [b"HTTP/1.1 %d %b\r\n" % (status, reason_phrase(status).encode() if phrase is None else phrase)]
        given = set()
        length = len(body)
        for name, value in headers:
            key = name.lower()
            if key == b"content-length" and exchange.method == b"HEAD" and value.isdigit():
                length = int(value)
            if key in _OURS:
                continue
            given.add(key)
            lines.append(b"%b: %b\r\n" % (name, value))
        lines.append(b"x-request-id: %b\r\n" % exchange.request_id.encode())
        lines.append(_NO_CACHE)
        lines.extend(b"%b: %b\r\n" % header for header in self._cors if header[0].lower() not in given)
        if status >= 200 and status != 204:
            lines.append(b"content-length: %d\r\n" % length)
        lines.append(b"connection: keep-alive\r\n\r\n" if exchange.keep_alive else b"connection: close\r\n\r\n")
        if exchange.method == b"HEAD" or status in (204, 304):
            body = b""
        if len(body) < _JOIN_BYTES:
            exchange.respond(b"".join((*lines, body)))
        else:
            exchange.respond(b"".join(lines), body)
        index = 0 if 200 <= status < 300 else 1 if 400 <= status < 500 else 2
        self._of_class[index].record(1)
        if self._access_log is not None:
            self._log(exchange, status, time.monotonic())

    def error(self, exchange: Exchange, error: ServingError) -> None:
        """A JSON error."""
        headers = [(b"content-type", b"application/json"), *error_headers(error)]
        self.respond(exchange, error_status(error), error_body(error, exchange.target), headers)

    def _log(self, exchange: Exchange, status: int, now: float) -> None:
        access_log = self._access_log
        if access_log is not None:
            access_log.record(
                exchange.connection.peer_text,
                exchange.method.decode("latin-1"),
                exchange.target.decode("latin-1"),
                status,
                (now - exchange.arrived_at) * 1e3,
            )
