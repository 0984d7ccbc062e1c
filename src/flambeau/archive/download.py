"""Fetch one file over HTTP, trusting neither the URL nor the server behind it."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO
from urllib.parse import SplitResult, urljoin, urlsplit

from flambeau.archive.addresses import connect
from flambeau.version import __version__

_CHUNK_BYTES = 1 << 20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadLimits:
    """What one download may take."""

    max_bytes: int = 256 << 30
    """No archive may unpack to more than this either."""
    timeout_s: float = 30.0
    """For connecting, and between any two pieces of the answer."""
    total_timeout_s: float = 3600.0
    """For the whole file, so that a server that drips bytes does not hold a thread for ever."""


class TooLarge(Exception):
    """The file is larger than the limit."""


class UnusableAnswer(Exception):
    """The server's answer is not the file: an error status, too many redirects, or too few bytes."""


class Interruption:
    """Ends downloads under the threads that wait for them. Whoever is connecting notices when that is over."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: set[_Connection] = set()
        self._is_set = False

    def set(self) -> None:
        """End all that are under way, and from now on every other at its beginning."""
        with self._lock:
            self._is_set = True
            for connection in self._connections:
                connection.abort()

    @contextmanager
    def covers(self, connection: _Connection) -> Iterator[None]:
        """Connect, and be interrupted until the end of the block."""
        connection.connect()
        with self._lock:
            if self._is_set:
                raise UnusableAnswer("interrupted")
            self._connections.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._connections.discard(connection)
        if self._is_set:  # what looks like the end of an answer of unknown length may be none
            raise UnusableAnswer("interrupted")


def download(
    url: str,
    file: IO[bytes],
    *,
    allow_private: bool,
    check_redirect: Callable[[str], None],
    limits: DownloadLimits,
    interruption: Interruption,
) -> int:
    """Write what an ``http`` or ``https`` URL gives to ``file``.

    Proxies that the environment names are not used: behind one, addresses could not be checked.

    Args:
        allow_private: whether private addresses may be connected to.
        check_redirect: called with each URL that a server sends us on to; raises if it is not allowed.

    Returns:
        Bytes written.

    Raises:
        NoPublicAddress, TooLarge: it is against the rules.
        UnusableAnswer, OSError, http.client.HTTPException, ValueError: it did not work out.
    """
    deadline = time.monotonic() + limits.total_timeout_s
    for _ in range(_MAX_REDIRECTS + 1):
        with _get(urlsplit(url), allow_private, limits.timeout_s, deadline, interruption) as response:
            if response.status == http.client.OK:
                return _copy(response, file, limits.max_bytes, deadline)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location:
                raise UnusableAnswer(f"status {response.status}")
        url = urljoin(url, location)
        check_redirect(url)
    raise UnusableAnswer(f"more than {_MAX_REDIRECTS} redirects")


class _Connection(http.client.HTTPConnection):
    """Connects to nothing but an address that has been checked."""

    def __init__(self, host: str, port: int, timeout_s: float, tls: ssl.SSLContext | None, allow_private: bool) -> None:
        super().__init__(host, port, timeout=timeout_s)
        self._timeout_s = timeout_s
        self._tls = tls
        self._allow_private = allow_private
        self._opened: socket.socket | None = None  # http.client forgets ``sock`` where the answer says "close"

    def connect(self) -> None:
        self.sock = connect(self.host, self.port, timeout_s=self._timeout_s, allow_private=self._allow_private)
        if self._tls is not None:
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host)
        self._opened = self.sock

    def abort(self) -> None:
        """End the connection under whoever reads from it in another thread."""
        if self._opened is not None:
            with suppress(OSError):
                self._opened.shutdown(socket.SHUT_RDWR)


@contextmanager
def _get(
    url: SplitResult, allow_private: bool, timeout_s: float, deadline: float, interruption: Interruption
) -> Iterator[http.client.HTTPResponse]:
    if url.scheme not in ("http", "https") or not url.hostname:
        raise UnusableAnswer("not an http URL")
    is_tls = url.scheme == "https"
    port = url.port or (443 if is_tls else 80)
    tls = ssl.create_default_context() if is_tls else None
    connection = _Connection(url.hostname, port, timeout_s, tls, allow_private)
    # Each byte that comes starts the socket's own time-out anew; this one does not start anew.
    end_of_patience = threading.Timer(deadline - time.monotonic(), connection.abort)
    end_of_patience.daemon = True
    end_of_patience.start()
    try:
        path = f"{url.path or '/'}?{url.query}" if url.query else url.path or "/"
        headers = {"Host": url.netloc.rpartition("@")[2], "User-Agent": f"flambeau/{__version__}"}
        with interruption.covers(connection):
            connection.request("GET", path, headers=headers | {"Accept-Encoding": "identity"})
            with connection.getresponse() as response:
                yield response
    finally:
        end_of_patience.cancel()
        connection.close()


def _copy(response: http.client.HTTPResponse, file: IO[bytes], max_bytes: int, deadline: float) -> int:
    expected = response.length
    if expected is not None and expected > max_bytes:
        raise TooLarge
    written = 0
    while chunk := response.read(_CHUNK_BYTES):
        written += len(chunk)
        if written > max_bytes:
            raise TooLarge
        file.write(chunk)
    if time.monotonic() > deadline:
        raise UnusableAnswer("it took too long")
    if expected is not None and written != expected:
        raise UnusableAnswer(f"{written} bytes of {expected}")
    return written
