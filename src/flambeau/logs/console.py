"""Lines for whoever watches the server, who may be slow to read or gone."""

from __future__ import annotations

from typing import TextIO

MAX_PENDING_LINES = 1000
"""Lines that wait for the stream; beyond that they are only counted, since every one is in the log as well."""


class ConsoleLines:
    """Takes lines at once and writes them later, from whichever thread calls ``flush``."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._pending: list[str] = []
        self._dropped = 0

    def write(self, line: str) -> None:
        """Take a line, without its line end. Never blocks and never raises."""
        if len(self._pending) < MAX_PENDING_LINES:
            self._pending.append(line)
        else:
            self._dropped += 1

    def flush(self, pause_s: float = 0.0) -> None:
        """Write what waits. A stream that nobody reads any more is no error."""
        pending = self._pending[:]
        del self._pending[: len(pending)]  # not a new list: another thread may be about to append to this one
        if self._dropped:
            pending.append(f"… and {self._dropped} more lines, which are in the log")
            self._dropped = 0
        if pending:
            put_text(self._stream, "\n".join(pending) + "\n")


def put_text(stream: TextIO, text: str) -> bool:
    """Write text and flush; what the stream cannot encode is escaped. Returns whether anybody takes it still."""
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:
            stream.write(text.encode("ascii", "backslashreplace").decode("ascii"))
        stream.flush()
    except (OSError, ValueError):  # whoever read it has gone, or it was closed
        return False
    return True
