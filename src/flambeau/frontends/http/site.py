"""What stands behind the HTTP listeners: it tells predictions from cold routes and keeps an eye on connections."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Protocol

from flambeau.errors import InternalError, ServingError, ShuttingDown, TooManyConnections
from flambeau.frontends.http import asgi
from flambeau.frontends.http.connection import Exchange, HttpConnection
from flambeau.frontends.http.limits import ConnectionLimits
from flambeau.frontends.http.request_ids import RequestIds
from flambeau.frontends.http.responder import Responder

logger = logging.getLogger(__name__)

_SWEEP_S = 1.0


class Predictor(Protocol):
    """Answers requests without the application."""

    def handle(self, exchange: Exchange) -> bool:
        """Take a request, if it is of its kind. Returns whether it is; if not, nothing has been done with it."""
        ...


class HttpSite:
    """One listener's requests, in connections of its own."""

    def __init__(
        self, app: asgi.AsgiApp, responder: Responder, limits: ConnectionLimits, *predictors: Predictor
    ) -> None:
        """
        Args:
            app: every route that does not predict.
            predictors: asked in turn, before the application.
        """
        self.limits = limits
        self._app = app
        self._responder = responder
        self._predictors = predictors
        self._request_ids = RequestIds()
        self._connections: set[HttpConnection] = set()
        self._empty = asyncio.Event()
        self._is_draining = False
        self._calls: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._sweeping = self._loop.call_later(_SWEEP_S, self._sweep)

    def connect(self) -> HttpConnection:
        """A protocol for a new connection."""
        return HttpConnection(self)

    # --- what connections call -----------------------------------------------------------------------------------

    def handle(self, exchange: Exchange) -> None:
        self._identify(exchange)
        for predictor in self._predictors:
            if predictor.handle(exchange):
                return
        call = self._loop.create_task(self._call(exchange, exchange.connection.http_version))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        exchange.on_abandon = call.cancel

    def refuse(self, exchange: Exchange, error: ServingError) -> None:
        self._identify(exchange)
        self._responder.error(exchange, error)

    def connected(self, connection: HttpConnection) -> ServingError | None:
        self._connections.add(connection)
        if self._is_draining:
            return ShuttingDown()
        limit = self.limits.max_connections
        return TooManyConnections(limit) if len(self._connections) > limit else None

    def disconnected(self, connection: HttpConnection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    # --- stopping --------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take no new request; each connection closes after its last response, and says so in it."""
        self._is_draining = True
        for connection in list(self._connections):
            connection.drain()

    async def close(self, timeout_s: float) -> None:
        """Let what is under way finish, then close every connection."""
        self._empty.clear()
        self.drain()
        if self._connections:
            try:
                await asyncio.wait_for(self._empty.wait(), timeout_s)
            except asyncio.TimeoutError:
                logger.warning("%d connections are cut off at stop", len(self._connections))
        self._sweeping.cancel()
        for connection in list(self._connections):
            connection.abort()
        for call in list(self._calls):
            call.cancel()
        if self._calls:
            await asyncio.wait(self._calls)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _identify(self, exchange: Exchange) -> None:
        sent_id = exchange.noted.get(b"x-request-id")
        exchange.request_id = self._request_ids.new() if sent_id is None else self._request_ids.accept(sent_id)

    async def _call(self, exchange: Exchange, http_version: str) -> None:
        try:
            status, headers, body = await asgi.call(
                self._app,
                method=exchange.method.decode("latin-1"),
                target=exchange.target,
                http_version=http_version,
                headers=exchange.headers,
                body=bytes(exchange.body),
                client=exchange.connection.peer,
                is_tls=exchange.connection.is_tls,
                request_id=exchange.request_id,
            )
        except Exception:
            # The border of one request: whatever an application raises, its client gets an answer.
            logger.exception("request %s failed", exchange.request_id)
            error = InternalError(f"Internal server error, see the log for request {exchange.request_id}.")
            self._responder.error(exchange, error)
        else:
            self._responder.respond(exchange, status, body, headers)

    def _sweep(self) -> None:
        self._sweeping = self._loop.call_later(_SWEEP_S, self._sweep)
        now = time.monotonic()
        for connection in list(self._connections):
            connection.sweep(now)
