"""HTTP as bytes on a socket: what no well-behaved client library sends."""

from __future__ import annotations

import json
import socket
import ssl
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 20.0


class RawReply:
    """One response as it came."""

    def __init__(self, head: bytes, body: bytes) -> None:
        status_line, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(status_line.split(" ")[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)


class RawClient:
    """A connection to a server's listener; a context manager."""

    def __init__(self, base_url: str, tls: ssl.SSLContext | None = None, receive_buffer: int | None = None) -> None:
        """
        Args:
            receive_buffer: bytes that the kernel may keep unread; None for its own choice.
        """
        if base_url.startswith("unix:"):
            self.socket = socket.socket(socket.AF_UNIX)
            address: Any = base_url.removeprefix("unix:")
        else:
            url = urlsplit(base_url)
            self.socket = socket.socket()
            address = (url.hostname, url.port)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(TIMEOUT_S)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        if self.socket.family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self._arrived = bytearray()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive_head(self) -> bytes:
        """Up to the blank line, which is not part of it."""
        while b"\r\n\r\n" not in self._arrived:
            self._receive()
        head, _, rest = bytes(self._arrived).partition(b"\r\n\r\n")
        self._arrived = bytearray(rest)
        return head

    def receive(self, *, has_body: bool = True) -> RawReply:
        """The next response. Raises ConnectionError where the connection ends before it is whole."""
        head = self.receive_head()
        reply = RawReply(head, b"")
        size = int(reply.headers.get("content-length", 0)) if has_body else 0
        while len(self._arrived) < size:
            self._receive()
        reply.body = bytes(self._arrived[:size])
        del self._arrived[:size]
        return reply

    def receive_end(self) -> bytes:
        """Everything until the server has closed the connection in order."""
        while True:
            try:
                self._receive()
            except ConnectionResetError:
                raise
            except ConnectionError:
                return bytes(self._arrived)

    def _receive(self) -> None:
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionError(f"closed by the server behind {bytes(self._arrived[:200])!r}")
        self._arrived += data


def post(target: str, body: bytes = b"", *headers: str) -> bytes:
    """A request with a body of known length."""
    lines = [f"POST {target} HTTP/1.1", "Host: test", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
