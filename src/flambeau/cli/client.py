"""The commands' HTTP client: one connection to one server, on the standard library."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from flambeau.cli.failures import UsageProblem
from flambeau.config.server import Address
from flambeau.errors import FlambeauError

CONNECT_TIMEOUT_S = 10.0

_PART_BYTES = 64 * 1024
_DEFAULT_PORTS = {"http": 80, "https": 443}


class ServerProblem(FlambeauError):
    """There is no server, or it gave no answer that can be used."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Refusal(FlambeauError):
    """The server answered with an error; ``str()`` is its sentence."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        """The type that it names, such as ``ModelNotFoundException``; empty where it names none."""


class Answer(NamedTuple):
    """A reply with a status below 400."""

    status: int
    content_type: str
    """Empty where the server says none, as it does of a handler's answers unless the handler says one."""
    body: bytes
    """Empty where it was handed on part by part."""
    seconds: float
    """From the first byte sent to the last byte received."""

    def document(self) -> Any:
        """What its JSON says.

        Raises:
            ServerProblem: it is not JSON.
        """
        try:
            return json.loads(self.body)
        except ValueError:
            raise ServerProblem("the answer is not JSON, so what listens there is no Flambeau server") from None


class Client:
    """Not for several threads at once. The connection is opened by the first call and kept."""

    def __init__(self, url: str, token: str | None = None, timeout_s: float | None = None) -> None:
        """
        Args:
            url: ``http://host:port``, ``https://…`` or ``unix:/path``; a path at its end goes before every path.
            token: sent as ``Bearer``.
            timeout_s: longest wait for the next byte of an answer; None: any.

        Raises:
            UsageProblem: it is no such URL.
        """
        self._address, self._prefix = _parse(url)
        self.url = url.rstrip("/")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._timeout_s = timeout_s
        self._connection = _connection(self._address)

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: bytes | None = None,
        content_type: str | None = None,
        on_part: Callable[[bytes], None] | None = None,
    ) -> Answer:
        """One request and its answer.

        Args:
            path: quoted, see :func:`path_of`.
            query: fields; those that are None are left out, booleans are ``true`` and ``false``.
            on_part: given the parts of an answer that comes in parts, as they come.

        Raises:
            ServerProblem: nobody answered.
            Refusal: the answer is an error.
        """
        fields = {name: _word(value) for name, value in (query or {}).items() if value is not None}
        target = self._prefix + path + (f"?{urlencode(fields)}" if fields else "")
        headers = self._headers if content_type is None else {**self._headers, "Content-Type": content_type}
        connection = self._connection
        try:
            if connection.sock is None:
                self._connect()
            started_at = perf_counter()
            try:
                connection.request(method, target, body=body, headers=headers)
            except (BrokenPipeError, ConnectionResetError):
                pass  # a server that refuses a large body answers before it has read it all
            response = connection.getresponse()
            if on_part is not None and response.chunked and response.status < 400:
                while part := response.read1(_PART_BYTES):
                    on_part(part)
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._problem(error) from error
        if response.status >= 400:
            raise _refusal(response.status, response.reason, content)
        content_type = response.getheader("content-type", "")
        return Answer(response.status, content_type, content, perf_counter() - started_at)

    def abort(self) -> None:
        """End the call that another thread is in, if there is one."""
        sock = self._connection.sock
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed already

    def close(self) -> None:
        self._connection.close()

    def _connect(self) -> None:
        try:
            self._connection.connect()
        except TimeoutError:
            self._connection.close()
            raise ServerProblem(f"no answer from {self.url} within {CONNECT_TIMEOUT_S:g} s") from None
        sock: socket.socket = self._connection.sock
        sock.settimeout(self._timeout_s)

    def _problem(self, error: OSError | http.client.HTTPException) -> ServerProblem:
        match error:
            case ConnectionRefusedError() | FileNotFoundError():
                hint = "start one with flambeau serve MODEL, or say where it listens with --url"
                return ServerProblem(f"no server at {self.url}", hint)
            case socket.gaierror():
                return ServerProblem(f"no host is called {self._address.host}", "correct --url")
            case ssl.SSLCertVerificationError():
                hint = "SSL_CERT_FILE=certificate.pem in the environment names a certificate to trust"
                return ServerProblem(f"the certificate of {self.url} is not trusted: {error.verify_message}", hint)
            case ssl.SSLError():
                return ServerProblem(f"{self.url} does not speak TLS", "try http:// instead of https://")
            case TimeoutError():
                return ServerProblem(f"no answer from {self.url} within {self._timeout_s:g} s", "see --timeout")
            case ConnectionError() | http.client.IncompleteRead():
                return ServerProblem(f"{self.url} closed the connection before it had answered")
            case http.client.HTTPException():
                return ServerProblem(f"what listens at {self.url} does not speak HTTP", "correct --url")
        return ServerProblem(f"{self.url}: {error.strerror or error}")


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONNECT_TIMEOUT_S)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.close()
            raise


def address_of(url: str) -> Address:
    """Where a URL leads.

    Raises:
        UsageProblem: it is none that a server could listen at.
    """
    return _parse(url)[0]


def path_of(*segments: str | None) -> str:
    """A path of these segments, quoted; those that are None are left out."""
    return "".join(f"/{quote(segment, safe='')}" for segment in segments if segment is not None)


def _parse(url: str) -> tuple[Address, str]:
    """Address, and the path that goes before every path."""
    if url.startswith("unix:"):
        return Address("unix", path=url.removeprefix("unix:").removeprefix("//")), ""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise UsageProblem(f"--url {url}: {error}", "write --url http://host:port") from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise UsageProblem(f"--url {url}: not the address of a server", "write --url http://host:port")
    return Address(parts.scheme, parts.hostname, port), parts.path.rstrip("/")


def _connection(address: Address) -> http.client.HTTPConnection:
    if address.scheme == "unix":
        return _UnixConnection(address.path)
    if address.is_tls:
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(address.host, address.port, timeout=CONNECT_TIMEOUT_S, context=context)
    return http.client.HTTPConnection(address.host, address.port, timeout=CONNECT_TIMEOUT_S)


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refusal(status: int, reason: str, content: bytes) -> Refusal:
    """An error in the words of the server, whichever protocol's layout they come in."""
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if isinstance(document, dict):
        message = document.get("message") or document.get("error")
        if isinstance(message, str):
            return Refusal(status, str(document.get("type", "")), message)
    text = content[:500].decode(errors="replace").strip()
    return Refusal(status, "", text or f"{status} {reason}".strip())
