"""gRPC sites without a network: connections on a transport in memory, models and records as a test wants them."""

from __future__ import annotations

import asyncio
import functools
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message
from grpc_frames import Answer, FrameClient, message

from flambeau.frontends.grpc.call import Method
from flambeau.frontends.grpc.connection import GrpcConnection, GrpcLimits
from flambeau.frontends.grpc.site import GrpcSite
from flambeau.request import InferenceReply, ModelRef
from flambeau.testing.inference import FakeServedModel, FakeTicket


@dataclass(frozen=True)
class Limits:
    max_request_bytes: int = 1000
    max_header_bytes: int = 4096
    max_headers: int = 16
    max_connections: int = 3
    max_pipelined: int = 4
    idle_timeout_s: float = 100.0
    request_timeout_s: float = 20.0
    write_timeout_s: float = 10.0


class Metrics:
    """Series by name and labels; each keeps what it was given."""

    def __init__(self) -> None:
        self.recorded: dict[tuple[str, ...], list[float]] = defaultdict(list)

    def series(self, *key: str) -> Any:
        values = self.recorded[key]

        class Series:
            record = staticmethod(values.append)

        return Series()


class AccessLines(list[tuple[Any, ...]]):
    """An access log: peer, target and status of each call."""

    def record(self, peer: str, method: str, target: str, status: int, milliseconds: float) -> None:
        assert method == "gRPC"
        assert milliseconds >= 0
        self.append((peer, target, int(status)))


class HeldModel(FakeServedModel):
    """Answers when it is told to."""

    def __init__(self, name: str = "held") -> None:
        super().__init__(ModelRef(name, "1.0"), lambda request: InferenceReply(b"done"))
        self.callers: list[Any] = []
        self.tickets: list[FakeTicket] = []

    def submit(self, request: Any, caller: Any, arrived_at: float) -> Any:
        ticket = super().submit(request, caller, arrived_at)
        self.tickets.append(ticket)
        return ticket

    def _settle(self, request: Any, caller: Any, ticket: FakeTicket) -> None:
        if not ticket.is_abandoned:
            self.callers.append(caller)

    def release(self, answer: Any = None) -> None:
        """Answer everything that waits."""
        callers, self.callers = self.callers, []
        for caller in callers:
            caller.answer(answer or InferenceReply(b"done"))


class MemoryTransport(asyncio.Transport):
    """Keeps what is written until the client takes it."""

    def __init__(self, protocol: GrpcConnection, peer: tuple[str, int] | None = ("192.0.2.1", 4321)) -> None:
        super().__init__({"peername": peer})
        self.written = bytearray()
        self.is_closed = False
        self.is_aborted = False
        self.is_reading = True
        self.protocol = protocol

    @classmethod
    def to(cls, site: GrpcSite) -> MemoryTransport:
        """A new connection to a site."""
        transport = cls(site.connect())
        transport.protocol.connection_made(transport)
        return transport

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.is_aborted = True
        self.close()

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True


class Client(FrameClient):
    """One connection to a site."""

    def __init__(self, site: GrpcSite, settings: dict[int, int] | None = None) -> None:
        super().__init__()
        self.transport = MemoryTransport.to(site)
        self.connection = self.transport.protocol
        self.send(self.begin(settings))

    def send(self, data: bytes) -> None:
        if not self.transport.is_closed:
            self.connection.data_received(data)

    def start(self, path: str, *contents: bytes | Message, headers: Iterable[tuple[str, str]] = ()) -> Answer:
        """Begin a call, send its messages and end the request. Returns its answer, which fills up later."""
        self.send(self.headers(*headers, path=f"/{path}") + self.data(b"".join(map(_message, contents))))
        return self.answer

    @property
    def answer(self) -> Answer:
        """To the last call."""
        return self.answers[self.last_id]

    async def call(self, path: str, *contents: bytes | Message, headers: Iterable[tuple[str, str]] = ()) -> Answer:
        """A whole call."""
        return await self.finished(self.start(path, *contents, headers=headers))

    async def finished(self, answer: Answer) -> Answer:
        """Wait until a call has ended."""
        await self.until(lambda: answer.has_ended or answer.reset is not None)
        return answer

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the loop turn until something is so."""
        for _ in range(1000):
            self.receive()
            if condition():
                return
            await asyncio.sleep(0)
        raise AssertionError("it does not come")

    def receive(self) -> None:
        """Take what the server has written."""
        written, self.transport.written[:] = bytes(self.transport.written), b""
        self.take(written)


def _message(content: bytes | Message) -> bytes:
    return message(content if isinstance(content, bytes) else content.SerializeToString())


def site_of(
    methods: Iterable[Method],
    limits: Limits | None = None,
    *,
    check: Callable[[bytes | None], None] | None = None,
    check_management: Callable[[bytes | None], None] | None = None,
    access_log: AccessLines | None = None,
    **grpc_limits: Any,
) -> GrpcSite:
    limits_of_grpc = GrpcLimits(**{"max_calls": 10, **grpc_limits})
    return GrpcSite(
        methods,
        limits or Limits(),
        limits_of_grpc,
        check=check,
        access_log=access_log,
        check_management=check_management,
    )


async def turn(times: int = 5) -> None:
    """Let the loop do what is due."""
    for _ in range(times):
        await asyncio.sleep(0)


def on_loop(test: Any) -> Any:
    """Run a test that is a coroutine function."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run
