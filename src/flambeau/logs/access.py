"""The access log: a line for each request, made where the request ends and written by the log's own thread.

The line is put together on the event loop on purpose: what a line has in common with others (the time stamp of this
millisecond, method and target) is kept, so that it costs one string format. Left to the writing thread it would cost
the same, and the loop would wait for the interpreter each time that thread has it.
"""

from __future__ import annotations

import time
from functools import lru_cache

from flambeau.logs.line_log import LineLog
from flambeau.logs.text import one_line, stamp

MAX_LINE_BYTES = 200
"""Length of a line without its line end: a flood of requests with long targets must not fill the disk."""
_MAX_REQUEST_BYTES = 100
"""Of that, for method, target and protocol: leaves room for the time, an IPv6 address and port, status and duration."""
_CUT = "…"


class AccessLog:
    """Writes who asked for what, and how it went."""

    def __init__(self, log: LineLog) -> None:
        self._write = log.write
        self._millisecond = 0
        self._stamp = ""

    def record(self, peer: str, method: str, target: str, status: int, milliseconds: float) -> None:
        """Take one request at the moment of its reply.

        Args:
            peer: address and port, ``10.0.0.7:41234``.
            method: HTTP's method as the parser accepted it, or ``gRPC``.
            target: path and query as received, or service and method. Control characters are escaped; a long one is cut
                so that the line stays within ``MAX_LINE_BYTES``.
            status: HTTP's or gRPC's.
            milliseconds: from the last byte of the request to its reply.
        """
        now = time.time()
        millisecond = int(now * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            self._stamp = stamp(now)
        self._write(f'{self._stamp} - /{peer} "{_request(method, target)}" {status} {int(milliseconds + 0.5)}')


@lru_cache(maxsize=1024)
def _request(method: str, target: str) -> str:
    """``POST /predictions/m HTTP/1.1``, in at most ``_MAX_REQUEST_BYTES`` that cannot forge another line or field."""
    protocol = "HTTP/2.0" if method == "gRPC" else "HTTP/1.1"
    shown = one_line(target[:MAX_LINE_BYTES]).replace('"', r"\"")
    room = _MAX_REQUEST_BYTES - len(f"{method}  {protocol}".encode())
    encoded = shown.encode("utf-8", "backslashreplace")
    if len(encoded) > room:
        shown = encoded[: room - len(_CUT.encode())].decode("utf-8", "ignore") + _CUT
    return f"{method} {shown} {protocol}"
