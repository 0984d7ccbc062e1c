"""uvicorn's protocol class with a way past ASGI for predictions, and nothing else that it does not have by itself.

``POST /predictions/…`` goes from ``on_message_complete`` to ``Predictions``; every other target is an ASGI call of
uvicorn's. Order of pipelined responses and the keep-alive time-out are uvicorn's, too: an exchange stands where uvicorn
expects a ``RequestResponseCycle``. The ASGI scope, which uvicorn makes for each request at its first byte, is put off
until it is known that there is a use for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from flambeau.errors import RouteNotFound
from flambeau.frontends.http.connection import Exchange
from flambeau.frontends.http.predictions import Predictions
from flambeau.frontends.http.request_ids import RequestIds
from flambeau.request import Payload

PREDICTS = b"/predictions/"
NOTED = frozenset((b"content-type", b"content-length", b"expect", b"x-request-id", b"authorization"))
"""As in ``frontends/http/connection.py``: what ``Predictions`` may look for in ``Exchange.noted``."""


class Cycle(Exchange):
    """An exchange in the place of one of uvicorn's cycles."""

    __slots__ = ("chunks", "response_complete")

    def __init__(self, connection: BypassProtocol) -> None:
        super().__init__(connection)
        self.chunks: list[bytes] = []
        self.response_complete = False


class BypassProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self, predictions: Predictions, request_ids: RequestIds, config: Config, server_state: ServerState
    ) -> None:
        super().__init__(config, server_state, {})
        self.peer_text = "unix"
        self._predictions = predictions
        self._request_ids = request_ids
        self._noted: dict[bytes, bytes] = {}
        self._loading: Cycle | None = None
        """The prediction that is being received."""
        self._before: Cycle | RequestResponseCycle | None = None
        """What must be answered before it."""
        self._running: Cycle | None = None
        """The prediction that waits for its answer."""

    # --- asyncio -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        if self.client is not None:
            self.peer_text = f"{self.client[0]}:{self.client[1]}"

    def connection_lost(self, exc: Exception | None) -> None:
        running, self._running = self._running, None
        if running is not None and running.on_abandon is not None:
            running.on_abandon()
        if isinstance(self.cycle, Cycle):
            self.cycle = None
        super().connection_lost(exc)

    # --- httptools -----------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self._noted = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))
        key = name.lower()
        if key in NOTED:
            self._noted[key] = value

    def on_headers_complete(self) -> None:
        method = self.parser.get_method()
        if not self.url.startswith(PREDICTS) or method == b"OPTIONS":
            self._begin_cold()
            return
        loading = Cycle(self)
        loading.target = self.url
        loading.headers = self.headers
        loading.noted = self._noted
        loading.method = method
        self._loading = loading
        self._before, self.cycle = self.cycle, loading

    def on_body(self, body: bytes) -> None:
        if self._loading is None:
            super().on_body(body)
        else:
            self._loading.chunks.append(body)

    def on_message_complete(self) -> None:
        loading, before = self._loading, self._before
        if loading is None:
            super().on_message_complete()
            return
        self._loading = self._before = None
        chunks = loading.chunks
        loading.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        loading.keep_alive = self.parser.should_keep_alive()
        loading.arrived_at = time.monotonic()
        if before is None or before.response_complete:
            self._predict(loading)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((loading, None))

    # --- one request -----------------------------------------------------------------------------------------------

    def _begin_cold(self) -> None:
        """What uvicorn does from the first byte of a request to the end of its headers."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        for name, value in headers:
            super().on_header(name, value)
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: Cycle | RequestResponseCycle, app: Any) -> None:
        if isinstance(cycle, Cycle):
            self._predict(cycle)
        else:
            super()._start_asgi_task(cycle, app)

    def _predict(self, exchange: Cycle) -> None:
        self._running = exchange
        sent_id = exchange.noted.get(b"x-request-id")
        exchange.request_id = self._request_ids.new() if sent_id is None else self._request_ids.accept(sent_id)
        if not self._predictions.handle(exchange):
            self._predictions.responder.error(exchange, RouteNotFound())

    def finish(self, exchange: Cycle, buffers: Sequence[Payload]) -> None:
        """What ``Exchange.respond`` calls."""
        self._running = None
        exchange.response_complete = True
        transport = self.transport
        if not transport.is_closing():
            if len(buffers) == 1:
                transport.write(buffers[0])
            else:
                transport.writelines(buffers)
            if not exchange.keep_alive:
                transport.close()
        self.on_response_complete()
