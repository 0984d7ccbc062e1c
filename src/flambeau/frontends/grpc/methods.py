"""How methods that take one message are made of functions from message to message."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from flambeau.frontends.grpc.call import Call
from flambeau.frontends.grpc.messages import BadMessage
from flambeau.frontends.grpc.status import Status

RequestT = TypeVar("RequestT", bound=Message)


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
