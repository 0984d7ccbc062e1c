"""One client of an HTTP server: a socket that is kept, and httptools to read replies. As little as Python can do.

``python -m benchmarks.local_report.http_client URL BODY_FILE``
"""

from __future__ import annotations

import socket
import sys
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httptools

from benchmarks.local_report.load import measure_threads
from benchmarks.local_report.orders import Orders

RECEIVE_BYTES = 1 << 18


class HttpCaller:
    """POST bodies to one URL over one connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port))  # an IP address and a port are given
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: ".encode()
        self._parser = httptools.HttpResponseParser(self)

    def __enter__(self) -> HttpCaller:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def __call__(self, body: bytes) -> bytes:
        """The body of the reply. Raises OSError where its status is not 200 or the connection ends."""
        self._body = b""
        self._is_complete = False
        self._socket.sendall(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
        while not self._is_complete:
            data = self._socket.recv(RECEIVE_BYTES)
            if not data:
                raise ConnectionResetError("the server ended the connection")
            self._parser.feed_data(data)
        status = self._parser.get_status_code()
        if status != 200:
            raise OSError(f"status {status}: {self._body[:200]!r}")
        return self._body

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        self._is_complete = True


def main() -> None:
    orders = Orders()
    url, body_file = sys.argv[1:]
    body = Path(body_file).read_bytes()
    with HttpCaller(url) as call:
        call(body)
        orders.serve(partial(measure_threads, call, body))


if __name__ == "__main__":
    main()
