"""One log file: lines are taken at once and written later, by whichever thread calls ``flush``."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from flambeau.errors import ConfigError
from flambeau.logs.console import put_text
from flambeau.logs.rotation import RotatingFile
from flambeau.logs.text import STAMP_CHARS

MAX_PENDING_CHARS = 8 * 2**20
"""Text that may wait for the disk. It bounds memory when the disk hangs, and is over a second of the fastest server."""
CHUNK_LINES = 1024
"""Lines that are joined at a time: about 0.1 ms, in which the thread that does it holds the interpreter."""

_logger = logging.getLogger(__name__)


class LineLog:
    """A log file and the lines that wait to be written to it.

    Raises:
        ConfigError: the file cannot be opened for writing.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = 100 * 2**20,
        backups: int = 5,
        echo: TextIO | None = None,
        echo_label: str = "",
        max_pending_chars: int = MAX_PENDING_CHARS,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            max_bytes: size from which on the file is put aside and begun anew; that happens at midnight as well.
            backups: how many files that were put aside are kept.
            echo: takes all lines too.
            echo_label: put after the time stamp of each line there.
            max_pending_chars: beyond this much text that waits, lines are dropped and counted.
            wall_clock: seconds since the epoch, for the change of the day.
        """
        try:
            self._file = RotatingFile(path, max_bytes=max_bytes, backups=backups, wall_clock=wall_clock)
        except OSError as error:
            raise ConfigError("log file", path, f"cannot be opened for writing: {error.strerror}") from error
        self._echo = echo
        self._echo_label = echo_label
        self._max_pending_chars = max_pending_chars
        self._pending: list[str] = []
        # Only writers of lines change the first, only flush() the second: neither needs a lock.
        self._taken_in_chars = 0
        self._passed_on_chars = 0
        self._dropped = 0
        self._dropped_and_reported = 0
        self._lost = 0
        self._flushing = threading.Lock()

    @property
    def path(self) -> Path:
        return self._file.path

    def write(self, line: str) -> None:
        """Take a line, without its line end. Never blocks and never raises."""
        if self._taken_in_chars - self._passed_on_chars < self._max_pending_chars:
            self._taken_in_chars += len(line)
            self._pending.append(line)
        else:
            self._dropped += 1

    def flush(self, pause_s: float = 0.0) -> None:
        """Write what waits. Returns when the system has it. Never raises: what cannot be written is counted.

        Args:
            pause_s: time to sleep after every ``CHUNK_LINES`` lines, so that other threads get the interpreter.
        """
        with self._flushing:
            taken_in_chars = self._taken_in_chars
            pending = self._pending[:]
            # Not a new list: another thread may be about to append to this one.
            del self._pending[: len(pending)]
            for start in range(0, len(pending), CHUNK_LINES):
                self._put(pending[start : start + CHUNK_LINES])
                if pause_s:
                    time.sleep(pause_s)
            self._passed_on_chars = taken_in_chars
            self._report_dropped()

    def _put(self, lines: Sequence[str]) -> None:
        text = "\n".join(lines) + "\n"
        try:
            self._file.write(text.encode("utf-8", "backslashreplace"))
        except OSError as error:
            self._lose(len(lines), error)
        else:
            self._report_recovery()
        if self._echo is not None:
            if self._echo_label:
                lines = [f"{line[:STAMP_CHARS]}{self._echo_label}{line[STAMP_CHARS:]}" for line in lines]
                text = "\n".join(lines) + "\n"
            if not put_text(self._echo, text):
                self._echo = None

    def _lose(self, lines: int, error: OSError) -> None:
        if not self._lost:
            # Not through logging: that may end in this very file.
            with suppress(OSError, ValueError):
                print(f"Log file {self.path} cannot be written, lines are lost: {error}", file=sys.stderr, flush=True)
        self._lost += lines

    def _report_recovery(self) -> None:
        if self._lost:
            lost, self._lost = self._lost, 0
            _logger.warning("Log file %s lost %d lines that could not be written", self.path, lost)

    def _report_dropped(self) -> None:
        dropped = self._dropped - self._dropped_and_reported
        if dropped:
            self._dropped_and_reported += dropped
            _logger.warning("Log file %s dropped %d lines: more came than could be written", self.path, dropped)

    def close(self) -> None:
        """Write what waits and close the file. Nothing may be written afterwards."""
        self.flush()
        with self._flushing:
            self._file.close()
