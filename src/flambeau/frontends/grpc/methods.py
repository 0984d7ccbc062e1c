"""What a port can be asked: methods by path, and how the bytes of their messages become values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from flambeau.frontends.grpc.errors import ErrorTable
from flambeau.frontends.grpc.messages import BadMessage
from flambeau.frontends.grpc.status import Status

if TYPE_CHECKING:
    from flambeau.frontends.grpc.call import Call

RequestT = TypeVar("RequestT", bound=Message)


class Inbox(Protocol):
    """Takes the messages of a call that may send several."""

    def message(self, message: bytes) -> None:
        """The next one. Raises ServingError or BadMessage: the call ends with it."""
        ...

    def end(self) -> None:
        """No more will come."""
        ...

    def drain(self) -> None:
        """The server stops: finish what has come and end the call."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method. Exactly one of ``handle`` and ``open`` is given."""

    path: str
    """``package.Service/Method``."""
    errors: ErrorTable
    handle: Callable[[Call, bytes], None] | None = None
    """Answers the one message of a call, now or later. Raises ServingError or BadMessage: the call ends with it."""
    open: Callable[[Call], Inbox] | None = None
    """Where a client may send any number of messages."""


def parse(kind: type[RequestT], message: bytes) -> RequestT:
    """A message as its type. Raises BadMessage: it is not one."""
    try:
        return kind.FromString(message)
    except DecodeError:
        raise BadMessage(Status.INTERNAL, f"The message is not a {kind.DESCRIPTOR.full_name}.") from None


def answering(kind: type[RequestT], function: Callable[[RequestT], Message]) -> Callable[[Call, bytes], None]:
    """The ``handle`` of a method that has its answer at once."""

    def handle(call: Call, message: bytes) -> None:
        call.reply(function(parse(kind, message)).SerializeToString())

    return handle


def awaiting(kind: type[RequestT], function: Callable[[RequestT], Awaitable[Message]]) -> Callable[[Call, bytes], None]:
    """The ``handle`` of a method that takes its time. It is cancelled if the client leaves."""

    def handle(call: Call, message: bytes) -> None:
        request = parse(kind, message)

        async def answer() -> None:
            call.reply((await function(request)).SerializeToString())

        call.run(answer)

    return handle
