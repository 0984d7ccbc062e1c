"""The cold routes: one complete request through an ASGI application, one complete response back.

The body is whole before the application is called and the response is whole before it is written, so there is no
stream to manage; predictions, where size and speed matter, never come here.
"""

from __future__ import annotations

import asyncio
import http
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

AsgiMessage = MutableMapping[str, Any]
AsgiApp = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[AsgiMessage]], Callable[[AsgiMessage], Awaitable[None]]],
    Awaitable[None],
]

REASONS = {status.value: status.phrase for status in http.HTTPStatus}
REASONS[413] = "Request Entity Too Large"  # TorchServe's; Python 3.13 has renamed it
REASONS[507] = "Insufficient Storage"
del REASONS[418]  # TorchServe has no phrase for it


def reason_phrase(status: int) -> str:
    """The standard phrase; for statuses without one, the class of the status and its number, as TorchServe says."""
    known = REASONS.get(status)
    if known is not None:
        return known
    kinds = {1: "Informational", 2: "Success", 3: "Redirection", 4: "Client Error", 5: "Server Error"}
    return f"{kinds.get(status // 100, 'Unknown Status')} ({status})"


class ColdResponse(NamedTuple):
    """What an application answered."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


async def call(
    app: AsgiApp,
    *,
    method: str,
    target: bytes,
    http_version: str,
    headers: Sequence[tuple[bytes, bytes]],
    body: bytes,
    client: tuple[str, int] | None,
    is_tls: bool,
    request_id: str,
) -> ColdResponse:
    """Run one request through an application.

    Raises:
        RuntimeError: the application ended without a response.
    """
    raw_path, _, query = target.partition(b"?")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": http_version,
        "method": method,
        "scheme": "https" if is_tls else "http",
        "path": unquote(raw_path.decode("latin-1")),
        "raw_path": raw_path,
        "root_path": "",
        "query_string": query,
        "headers": [(name.lower(), value) for name, value in headers],
        "client": client,
        "server": None,
        "state": {"request_id": request_id},
    }
    incoming = [{"type": "http.request", "body": body, "more_body": False}]
    status = 0
    response_headers: list[tuple[bytes, bytes]] = []
    chunks: list[bytes] = []

    async def receive() -> AsgiMessage:
        if incoming:
            return incoming.pop()
        await asyncio.get_running_loop().create_future()  # a client that leaves cancels the whole call
        raise AssertionError("a future that nobody knows was settled; this is a bug")

    async def send(message: AsgiMessage) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            response_headers.extend(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            chunks.append(message.get("body", b""))

    await app(scope, receive, send)
    if not status:
        raise RuntimeError(f"no response to {method} {raw_path!r}")
    return ColdResponse(status, response_headers, b"".join(chunks))
