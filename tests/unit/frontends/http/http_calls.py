"""One HTTP request to an ASGI application, without a server."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

REQUEST_ID = "8a1c-request"


def call(app: ASGIApp, send: str, **request: Any) -> httpx.Response:
    """Send ``"<method> <target>"``, with what ``httpx`` takes for headers and body."""

    async def with_request_id(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {"request_id": REQUEST_ID}
        await app(scope, receive, send)

    async def send_one() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(with_request_id)) as client:
            method, _, target = send.partition(" ")
            return await client.request(method, f"http://server{target}", **request)

    return asyncio.run(send_one())
