"""The applications of the cold routes: links that are asked in turn, of which the first that answers ends a request.

TorchServe's ports are such chains. What a port serves, and which check stands before what, can be read off the one
line in ``apps`` that builds it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from flambeau.errors import InternalError, RouteNotFound, ServingError
from flambeau.frontends.http.errors import error_response
from flambeau.frontends.http.routes import split_path

logger = logging.getLogger(__name__)


class Call(NamedTuple):
    """One request, as the links look at it."""

    method: str
    """``GET`` for a ``HEAD`` too: its reply loses its body at the end of the chain."""
    segments: tuple[str, ...]
    """Of the decoded path."""
    request: Request

    @property
    def query(self) -> bytes:
        """The query string, percent-encoded."""
        query: bytes = self.request.scope["query_string"]
        return query

    @property
    def authorization(self) -> bytes | None:
        """Value of the header ``Authorization``."""
        value = self.request.headers.get("authorization")
        return None if value is None else value.encode("latin-1")


Link = Callable[[Call], Awaitable[Response | None]]
"""Answers a call, raises ``ServingError``, or returns None to leave the call to the next link."""


class Chain:
    """An ASGI application.

    It expects a request's whole body in one message, and the request's id as ``scope["state"]["request_id"]``. Every
    error, its own faults included, is answered with TorchServe's JSON body; nothing is raised to the server.
    """

    def __init__(self, *links: Link) -> None:
        self._links = links

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        is_head = request.method == "HEAD"
        response = await self._answer(Call("GET" if is_head else request.method, split_path(scope["path"]), request))
        if is_head:
            response.body = b""  # content-length stays what GET would say
        await response(scope, receive, send)

    async def _answer(self, call: Call) -> Response:
        try:
            for link in self._links:
                response = await link(call)
                if response is not None:
                    return response
            raise RouteNotFound
        except ServingError as error:
            return error_response(error, call.request.scope["raw_path"])
        except Exception:
            # The border of one request: whatever went wrong, its client gets an answer and the server goes on.
            request_id = call.request.state.request_id
            logger.exception("%s %s failed, request %s", call.method, call.request.scope["path"], request_id)
            fault = InternalError(f"Internal server error, see the log for request {request_id}.")
            return error_response(fault, call.request.scope["raw_path"])
