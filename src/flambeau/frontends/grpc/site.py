"""What stands behind a gRPC listener: its methods, who may call them, its connections and their end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable

from flambeau.errors import Unauthorized
from flambeau.frontends.grpc import heads
from flambeau.frontends.grpc.call import Call, Method
from flambeau.frontends.grpc.connection import GrpcConnection, GrpcLimits
from flambeau.frontends.grpc.frames import ConnectionProblem, ErrorCode
from flambeau.frontends.grpc.heads import CallHead
from flambeau.frontends.grpc.status import Status
from flambeau.frontends.grpc.streams import Stream
from flambeau.frontends.http.limits import ConnectionLimits
from flambeau.frontends.http.request_ids import RequestIds
from flambeau.frontends.http.responder import AccessRecorder

logger = logging.getLogger(__name__)

_SWEEP_S = 1.0


class GrpcSite:
    """One listener's calls, in connections of its own."""

    def __init__(
        self,
        methods: Iterable[Method],
        limits: ConnectionLimits,
        grpc_limits: GrpcLimits,
        *,
        check: Callable[[bytes | None], None] | None,
        access_log: AccessRecorder | None,
        check_management: Callable[[bytes | None], None] | None = None,
    ) -> None:
        """
        Args:
            check: lets a call pass by the value of its ``authorization``, or raises Unauthorized; None where calls need
                no token.
            check_management: the same for methods that need the management key.
            access_log: None where it is switched off.
        """
        self.limits = limits
        self.grpc_limits = grpc_limits
        self._methods = {b"/" + method.path.encode(): method for method in methods}
        self._check = check
        self._check_management = check_management
        self._access_log = access_log
        self._request_ids = RequestIds()
        self._connections: set[GrpcConnection] = set()
        self._empty = asyncio.Event()
        self._work: set[asyncio.Task[None]] = set()
        self._is_draining = False
        self._loop = asyncio.get_running_loop()
        self._sweeping = self._loop.call_later(_SWEEP_S, self._sweep)

    def connect(self) -> GrpcConnection:
        """A protocol for a new connection."""
        return GrpcConnection(self)

    # --- what connections call -----------------------------------------------------------------------------------

    def opened(self, connection: GrpcConnection, stream: Stream, head: CallHead) -> None:
        if not head.is_grpc:
            connection.send(stream, b"", b"", heads.UNSUPPORTED_MEDIA_TYPE)
            return
        method = self._methods.get(head.path)
        check = self._check_management if method is not None and method.needs_management_key else self._check
        if check is not None:
            try:
                check(head.authorization)
            except Unauthorized as error:  # which TorchServe does not log
                connection.send(stream, heads.RESPONSE_HEAD, b"", heads.trailers(Status.PERMISSION_DENIED, str(error)))
                return
        if method is None:
            self._refuse(connection, stream, head, Status.UNIMPLEMENTED, f"Method not found: {_path(head)}")
        elif head.has_bad_timeout:
            self._refuse(connection, stream, head, Status.INTERNAL, "The value of grpc-timeout cannot be read.")
        else:
            sent_id = head.request_id
            request_id = self._request_ids.new() if sent_id is None else self._request_ids.accept(sent_id)
            stream.receiver = Call(connection, stream, head, method, request_id)

    def ended(self, connection: GrpcConnection, call: Call, status: Status) -> None:
        if self._access_log is not None:
            milliseconds = (time.monotonic() - call.arrived_at) * 1e3
            self._access_log.record(connection.peer_text, "gRPC", call.method.path, status, milliseconds)

    def run(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task

    def connected(self, connection: GrpcConnection) -> ConnectionProblem | None:
        self._connections.add(connection)
        limit = self.limits.max_connections
        if len(self._connections) > limit:
            return ConnectionProblem(ErrorCode.ENHANCE_YOUR_CALM, f"too many connections (limit: {limit})")
        if self._is_draining:
            connection.drain()
        return None

    def disconnected(self, connection: GrpcConnection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    # --- stopping --------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take no new call; each connection closes after the last of its calls."""
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
                logger.warning("%d gRPC connections are cut off at stop", len(self._connections))
        self._sweeping.cancel()
        for connection in list(self._connections):
            connection.abort()
        for task in list(self._work):
            task.cancel()
        if self._work:
            await asyncio.wait(self._work)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _refuse(self, connection: GrpcConnection, stream: Stream, head: CallHead, status: Status, text: str) -> None:
        connection.send(stream, heads.RESPONSE_HEAD, b"", heads.trailers(status, text))
        if self._access_log is not None:
            self._access_log.record(connection.peer_text, "gRPC", _path(head), status, 0.0)

    def _sweep(self) -> None:
        self._sweeping = self._loop.call_later(_SWEEP_S, self._sweep)
        now = time.monotonic()
        for connection in list(self._connections):
            connection.sweep(now)


def _path(head: CallHead) -> str:
    return head.path.decode("latin-1").lstrip("/")
