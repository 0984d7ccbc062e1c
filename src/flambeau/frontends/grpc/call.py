"""One call: messages from the client to a method, its answers and its status back.

A call ends once: by its method, by its deadline, by the client that cancels or is gone, or because what came could not
be read. What comes after that is dropped. A method that waits for something says in ``on_abandon`` whom to tell if the
call ends without its answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Protocol

from flambeau.errors import InternalError, ServingError
from flambeau.frontends.grpc import heads
from flambeau.frontends.grpc.errors import ErrorTable, error_status, error_text
from flambeau.frontends.grpc.heads import CallHead
from flambeau.frontends.grpc.messages import PREFIX_BYTES, BadMessage, MessageReader, framed
from flambeau.frontends.grpc.status import Status
from flambeau.frontends.grpc.streams import Stream

logger = logging.getLogger(__name__)


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
    needs_management_key: bool = False
    """On whichever port, where calls need tokens."""
    handle: Callable[[Call, bytes], None] | None = None
    """Answers the one message of a call, now or later. Raises ServingError or BadMessage: the call ends with it."""
    open: Callable[[Call], Inbox] | None = None
    """Where a client may send any number of messages."""


class Carrier(Protocol):
    """What a call needs of the connection that it came on."""

    max_message_bytes: int
    incomplete_bytes: int
    """What its calls keep of messages that are not complete."""
    max_incomplete_bytes: int

    def send(self, stream: Stream, head: bytes, data: bytes, trailers: bytes) -> None:
        """As ``http2.Http2.send``."""
        ...

    def release(self, stream: Stream) -> None:
        """As ``http2.Http2.release``."""
        ...

    def run(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]: ...

    def ended(self, call: Call, status: Status) -> None:
        """A call is over. Told once for each."""
        ...


class Call:
    """Implements ``streams.Receiver``."""

    __slots__ = (
        "_carrier",
        "_deadline",
        "_has_begun",
        "_inbox",
        "_message",
        "_reader",
        "_stream",
        "arrived_at",
        "head",
        "method",
        "on_abandon",
        "request_id",
    )

    def __init__(self, carrier: Carrier, stream: Stream, head: CallHead, method: Method, request_id: str) -> None:
        self._carrier = carrier
        self._stream: Stream | None = stream
        """None when the call is over."""
        self._reader: MessageReader | None = None
        self._message: bytes | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._has_begun = False
        """Whether the response has."""
        self.head = head
        self.method = method
        self.request_id = request_id
        self.arrived_at = time.monotonic()
        """Monotonic seconds: when its header came, then when its one message was complete."""
        self.on_abandon: Callable[[], object] | None = None
        """What to call if the call ends before its method has answered."""
        self._inbox: Inbox | None = None if method.open is None else method.open(self)
        if head.timeout_s is not None:
            self._deadline = asyncio.get_running_loop().call_later(head.timeout_s, self._expire)

    @property
    def is_open(self) -> bool:
        """Whether an answer can still be sent."""
        return self._stream is not None

    @property
    def awaits_message(self) -> bool:
        """Whether its one message has not come yet."""
        return self._stream is not None and self.method.handle is not None and not self._stream.their_end

    # --- from the client -----------------------------------------------------------------------------------------

    def receive(self, data: bytes, ended: bool) -> None:
        """See ``streams.Receiver``."""
        if self._stream is None:
            return
        handle = self.method.handle
        try:
            if handle is not None and ended and self._reader is None and self._is_one_message(data):
                self.arrived_at = time.monotonic()
                handle(self, data[PREFIX_BYTES:])
            else:
                self._receive_part(data, ended)
        except ServingError as error:
            self.abort(error_status(error, self.method.errors), error_text(error, self.method.errors))
        except BadMessage as problem:
            self.abort(problem.status, problem.text)
        except Exception:
            self._fail_unexpectedly()

    def cancelled(self) -> None:
        """See ``streams.Receiver``."""
        if self._stream is not None:
            self._close(Status.CANCELLED)

    def drain(self) -> None:
        """See ``streams.Receiver``."""
        if self._inbox is not None:
            self._inbox.drain()

    def _is_one_message(self, data: bytes) -> bool:
        size = len(data) - PREFIX_BYTES
        return (
            0 <= size <= self._carrier.max_message_bytes
            and data[0] == 0
            and int.from_bytes(data[1:PREFIX_BYTES], "big") == size
        )

    def _receive_part(self, data: bytes, ended: bool) -> None:
        carrier, reader = self._carrier, self._reader
        if reader is None:
            reader = self._reader = MessageReader(carrier.max_message_bytes, self.head.encoding)
        before = reader.buffered_bytes
        try:
            messages = reader.receive(data)
        finally:
            carrier.incomplete_bytes += reader.buffered_bytes - before
        if carrier.incomplete_bytes > carrier.max_incomplete_bytes:
            raise BadMessage(Status.RESOURCE_EXHAUSTED, "Too much is being sent at once on this connection.")
        for message in messages:
            if self._inbox is None:
                if self._message is not None:
                    raise BadMessage(Status.INTERNAL, f"{self.method.path} takes one message.")
                self._message = message
            elif self._stream is not None:
                self._inbox.message(message)
        if ended:
            if reader.buffered_bytes:
                raise BadMessage(Status.INTERNAL, "The last message is cut short.")
            if self._inbox is not None:
                self._inbox.end()
            elif self._message is None:
                raise BadMessage(Status.INTERNAL, f"{self.method.path} takes one message, and none was sent.")
            elif self.method.handle is not None:
                self.arrived_at = time.monotonic()
                self.method.handle(self, self._message)

    # --- from the method -----------------------------------------------------------------------------------------

    def reply(self, message: bytes) -> None:
        """The one answer; the call is over, and has gone well."""
        stream = self._stream
        if stream is not None:
            head = b"" if self._has_begun else heads.RESPONSE_HEAD
            self.on_abandon = None
            self._carrier.send(stream, head, framed(message), heads.OK_TRAILERS)
            self._close(Status.OK)

    def send(self, message: bytes) -> None:
        """One of several answers."""
        if self._stream is not None:
            head = b"" if self._has_begun else heads.RESPONSE_HEAD
            self._has_begun = True
            self._carrier.send(self._stream, head, framed(message), b"")

    def finish(self, status: Status, text: str = "") -> None:
        """End the call; the method has nothing more to do for it."""
        self.on_abandon = None
        self.abort(status, text)

    def abort(self, status: Status, text: str) -> None:
        """End the call over its method's head, which is told by ``on_abandon``."""
        stream = self._stream
        if stream is not None:
            head = b"" if self._has_begun else heads.RESPONSE_HEAD
            self._carrier.send(stream, head, b"", heads.trailers(status, text))
            self._close(status)

    def fail(self, error: ServingError) -> None:
        """End the call with an error, as :meth:`finish` does."""
        self.finish(error_status(error, self.method.errors), error_text(error, self.method.errors))

    def hold(self, is_held: bool) -> None:
        """Whether the client is to stop sending before long: there is enough to do."""
        stream = self._stream
        if stream is not None and stream.is_held != is_held:
            stream.is_held = is_held
            if not is_held:
                self._carrier.release(stream)

    def run(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """See to the call with a coroutine function. It is cancelled if the call ends before it."""
        self.on_abandon = self._carrier.run(self._guard(work)).cancel

    # --- inside --------------------------------------------------------------------------------------------------

    async def _guard(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        try:
            await work()
        except ServingError as error:
            self.fail(error)
        except Exception:
            self.on_abandon = None
            self._fail_unexpectedly()

    def _fail_unexpectedly(self) -> None:
        # The border of one request: whatever went wrong, its client gets an answer and the server goes on.
        logger.exception("%s failed, request %s", self.method.path, self.request_id)
        error = InternalError(f"Internal server error, see the log for request {self.request_id}.")
        self.abort(error_status(error, self.method.errors), error_text(error, self.method.errors))

    def _expire(self) -> None:
        self._deadline = None
        self.abort(Status.DEADLINE_EXCEEDED, "Deadline exceeded.")

    def _close(self, status: Status) -> None:
        """Let everything go: a call and its stream know each other, and what forms no cycle is freed at once."""
        self._stream = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._reader is not None:
            self._carrier.incomplete_bytes -= self._reader.buffered_bytes
            self._reader = None
        self._inbox = None
        abandon, self.on_abandon = self.on_abandon, None
        if abandon is not None:
            abandon()
        self._carrier.ended(self, status)
