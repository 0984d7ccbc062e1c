"""The access log: a line for each request, taken on the event loop in a moment and put into words later."""

from __future__ import annotations

import time

import msgspec

from flambeau.logs.line_log import LineLog
from flambeau.logs.text import one_line, stamp

MAX_LINE_BYTES = 200
"""Length of a line without its line end: a flood of requests with long targets must not fill the disk."""
_RECORD_CHARS = 200
"""About what a record holds in memory beside its target."""
_CUT = "…"

_now = time.time


class _Request(msgspec.Struct, gc=False):
    """One request that has had its reply; ``str()`` is its line."""

    seconds: float
    peer: str
    method: str
    target: str
    status: int
    milliseconds: float

    def __str__(self) -> str:
        target = self.target
        if len(target) > MAX_LINE_BYTES:
            target = target[:MAX_LINE_BYTES]
        if '"' in target or not target.isprintable():
            target = one_line(target).replace('"', r"\"")
        line = self._line(target)
        if len(line) <= MAX_LINE_BYTES and line.isascii():
            return line
        excess_bytes = len(_encode(line)) - MAX_LINE_BYTES
        if excess_bytes <= 0:
            return line
        kept = _encode(target)[: -excess_bytes - len(_encode(_CUT))]
        return self._line(kept.decode("utf-8", "ignore") + _CUT)

    def _line(self, target: str) -> str:
        protocol = "HTTP/2.0" if self.method == "gRPC" else "HTTP/1.1"
        return (
            f"{stamp(self.seconds)} - /{self.peer} "
            f'"{self.method} {target} {protocol}" {self.status} {int(self.milliseconds + 0.5)}'
        )


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


class AccessLog:
    """Writes who asked for what, and how it went."""

    def __init__(self, log: LineLog) -> None:
        self._write_later = log.write_later

    def record(self, peer: str, method: str, target: str, status: int, milliseconds: float) -> None:
        """Take one request at the moment of its reply.

        Args:
            peer: address and port, ``10.0.0.7:41234``.
            method: HTTP's method as the parser accepted it, or ``gRPC``.
            target: path and query as received, or service and method. Control characters are escaped; what would make
                the line longer than ``MAX_LINE_BYTES`` is cut.
            status: HTTP's or gRPC's.
            milliseconds: from the first byte of the request to its reply.
        """
        self._write_later(_Request(_now(), peer, method, target, status, milliseconds), _RECORD_CHARS + len(target))
