"""What one client asks for and what it gets, on either side of the wire and in either process.

These are msgspec structs, laid out as arrays, because they cross the wire as they are: a request that arrives over HTTP
is not copied into another type on its way to the worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import msgspec

Payload = bytes | bytearray | memoryview


class Gathered:
    """Several buffers that are one value on the wire: they are put one after the other where the value goes.

    Only for values that travel outside the envelope (see ``wire``). The buffers must not change until it is written.
    """

    __slots__ = ("buffers", "size_bytes")

    def __init__(self, buffers: Sequence[Payload]) -> None:
        self.buffers = buffers
        self.size_bytes = sum(map(len, buffers))

    def __len__(self) -> int:
        return self.size_bytes

    def __bytes__(self) -> bytes:
        return b"".join(self.buffers)


if TYPE_CHECKING:
    RequestValue = Payload | Gathered | int
    ReplyBody = Payload | Gathered | int
else:
    # What msgspec makes when it decodes. Handlers written for TorchServe expect a bytearray; replies only pass through.
    RequestValue = bytearray | int
    ReplyBody = bytes | int


class ModelRef(NamedTuple):
    """A model and, where the client named one, its version."""

    name: str
    version: str | None = None


class Purpose(IntEnum):
    """What a request wants of the handler. A batch has one purpose: handlers look at its first row to tell."""

    PREDICT = 0
    EXPLAIN = 1
    DESCRIBE = 2
    """Always alone in its batch."""
    INFER = 3
    """One of the Open Inference Protocol: ``body`` is its JSON, and ``binary`` what follows that, if anything does."""


class InferenceRequest(msgspec.Struct, array_like=True, gc=False):
    """One row of a batch, as a client sent it."""

    request_id: str
    headers: Sequence[tuple[bytes, bytes]]
    """As received, in the client's letter case, then those that the frontend injects (``explain``, ``url_path``)."""
    parameters: Sequence[tuple[str, str, RequestValue]]
    """``(name, content type, value)`` each. A raw body is the one parameter ``body``. A parameter's value that travels
    outside the envelope is its length in bytes there (see ``wire``)."""
    purpose: int = Purpose.PREDICT
    """A :class:`Purpose`. The handler sees it as the injected headers."""

    def size_bytes(self) -> int:
        """Bytes that the request's values occupy: what a queue counts."""
        total = 0
        for _, _, value in self.parameters:
            total += value if isinstance(value, int) else len(value)
        return total


class RowError(IntEnum):
    """Why a row has no answer, as a worker reports it."""

    NONE = 0
    FAILED = 1
    """The handler raised or returned no answer: the body is a sentence for the client."""
    REJECTED = 2
    """The handler raised ``PredictionException``: the body is its message, the status its code."""
    OUT_OF_MEMORY = 3
    UNUSABLE = 4
    """The handler was not called: the row is not what the model takes. The body says why."""


class InferenceReply(msgspec.Struct, array_like=True, gc=False):
    """The answer to one row."""

    body: ReplyBody
    """What the client gets. An ``int`` only on the wire: the length of a segment outside the envelope."""
    status: int = 200
    phrase: str = ""
    headers: Sequence[tuple[str, str]] = ()
    """Set by the handler, in its letter case."""
    error: int = 0
    """A :class:`RowError`."""


class MetricUpdate(msgspec.Struct, array_like=True, gc=False):
    """One value that a handler recorded."""

    name: str
    unit: str
    kind: str
    """``counter``, ``gauge`` or ``histogram``."""
    value: float
    dimensions: Sequence[tuple[str, str]]
    request_ids: str = ""
    """Comma-joined."""


EXPLAIN = (b"explain", b"True")
PREDICT = (b"explain", b"False")
DESCRIBE = (b"describe", b"True")
