"""Request ids: the client's where it sent a usable one, else a fresh UUID."""

from __future__ import annotations

import uuid

_MAX_LENGTH = 128
"""Long enough for any trace id in use; short enough that a log line stays one."""

_PER_PREFIX = 1 << 16


class RequestIds:
    """Makes UUIDs (version 4 in form) at the cost of a string format: random in front, counted at the end.

    The random part is drawn anew after every 65 536, the count starts at random; ids are unique, not secret.
    """

    def __init__(self) -> None:
        self._left = 0
        self._prefix = ""
        self._next = 0

    def new(self) -> str:
        """A fresh id."""
        if not self._left:
            fresh = str(uuid.uuid4())
            self._prefix, node = fresh[:24], fresh[24:]
            self._next = int(node, 16) & ~(_PER_PREFIX - 1)
            self._left = _PER_PREFIX
        self._left -= 1
        self._next += 1
        return f"{self._prefix}{self._next - 1:012x}"

    def accept(self, sent: bytes) -> str:
        """The client's id, or a fresh one where it could not be put into a header or a log line as it is."""
        if 0 < len(sent) <= _MAX_LENGTH and sent.isascii():
            text = sent.decode("ascii")
            if text.isprintable() and " " not in text:
                return text
        return self.new()
