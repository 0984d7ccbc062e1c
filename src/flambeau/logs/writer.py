"""The thread that writes the logs."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Sequence
from typing import Protocol

INTERVAL_S = 0.2
"""How old a line gets before it is written, at most: whoever follows a log does not notice."""
PAUSE_S = 0.0005
"""Rest between pieces of work, so that the event loop never waits for the interpreter longer than for one piece."""


class Flushed(Protocol):
    """What lines wait in until they are written."""

    def flush(self, pause_s: float = 0.0) -> None: ...


class LogWriter:
    """One background thread that flushes all logs again and again."""

    def __init__(self, logs: Sequence[Flushed], interval_s: float = INTERVAL_S) -> None:
        self._logs = logs
        self._interval_s = interval_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(self._interval_s):
            for log in self._logs:
                try:
                    log.flush(PAUSE_S)
                except Exception:  # the border of the thread: one bad line must not end all logging
                    traceback.print_exc(file=sys.stderr)

    def close(self) -> None:
        """Stop the thread. Lines that came since its last turn are left to the logs' own ``close``."""
        self._stopping.set()
        self._thread.join()
