"""One request and its response, as HTTP/2 sees them."""

from __future__ import annotations

from collections import deque
from typing import Protocol


class Receiver(Protocol):
    """Takes what comes on one stream."""

    def receive(self, data: bytes, ended: bool) -> None:
        """The next bytes of the request; ``ended``: they are the last."""
        ...

    def cancelled(self) -> None:
        """The stream is gone: nothing more comes, nothing more can be sent."""
        ...

    def drain(self) -> None:
        """The server stops: come to an end."""
        ...


class Stream:
    """State of one stream."""

    __slots__ = (
        "id",
        "is_held",
        "is_open",
        "pending",
        "receiver",
        "send_window",
        "stalled_since",
        "their_end",
        "trailers",
        "unacknowledged",
    )

    receiver: Receiver
    """Set by whoever is told that the stream is open."""

    def __init__(self, stream_id: int, send_window: int) -> None:
        self.id = stream_id
        self.is_open = True
        self.is_held = False
        """Whether the client is to stop sending when its window is used up."""
        self.their_end = False
        """Whether the client has sent its last byte."""
        self.unacknowledged = 0
        """Bytes that came and that the client has not been told it may send anew."""
        self.send_window = send_window
        """Bytes that the client has room for."""
        self.pending: deque[memoryview] = deque()
        """What waits for more room."""
        self.trailers = b""
        """The header block to send after it; empty: more data will follow."""
        self.stalled_since: float | None = None
        """The sweep since which the client has taken nothing of what waits."""
