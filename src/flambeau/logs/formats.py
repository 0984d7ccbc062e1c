"""What the lines of each log look like; all of them begin with the time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from flambeau.logs.console import ConsoleLines
from flambeau.logs.line_log import LineLog
from flambeau.logs.text import one_entry, one_line, stamp

_LOG4J_LEVELS = {"WARNING": "WARN", "CRITICAL": "FATAL"}


def label(level: str, thread: str, logger: str) -> str:
    """What stands between time and message: `` [INFO ] main TS_METRICS``."""
    return f" [{_LOG4J_LEVELS.get(level, level):<5}] {thread} {logger}"


class MetricsLog:
    """A metrics log: ``<time> - <message>``."""

    def __init__(self, log: LineLog, wall_clock: Callable[[], float] = time.time) -> None:
        self._log = log
        self._wall_clock = wall_clock

    def write(self, message: str) -> None:
        """Take one metric's line. Control characters in it are escaped."""
        self._log.write(f"{stamp(self._wall_clock())} - {one_line(message)}")


class WorkerLog:
    """What workers print: ``<time> [INFO ] <worker>-stdout MODEL_LOG - <line>``."""

    def __init__(self, log: LineLog, wall_clock: Callable[[], float] = time.time) -> None:
        self._log = log
        self._wall_clock = wall_clock

    def write(self, worker: str, line: str, *, is_error: bool = False) -> None:
        """Take one line that a worker printed, without its line end. Control characters in it are escaped.

        Args:
            worker: ``W-<number>-<model>_<version>``.
            is_error: whether it came on the error stream: then its level is WARN.
        """
        level, stream = ("WARN", "stderr") if is_error else ("INFO", "stdout")
        text = f"{stamp(self._wall_clock())}{label(level, f'{worker}-{stream}', 'MODEL_LOG')} - {one_line(line)}"
        self._log.write(text)


class ServerLogHandler(logging.Handler):
    """Puts the records of ``logging`` into a log: ``<time> [INFO ] <thread> <logger> - <message>``.

    Further lines of a message, and a traceback's, begin with a tab.
    """

    _formatter = logging.Formatter()

    def __init__(self, log: LineLog, console: ConsoleLines | None = None) -> None:
        """
        Args:
            console: gets warnings and errors, in one line each: ``error: <message>``.
        """
        super().__init__()
        self._log = log
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
            if self._console is not None and record.levelno >= logging.WARNING:
                severity = "error" if record.levelno >= logging.ERROR else "warning"
                self._console.write(f"{severity}: {one_line(text)}")
            if record.exc_info:
                text = f"{text}\n{self._formatter.formatException(record.exc_info)}"
            place = label(record.levelname, record.threadName or "", record.name)
            self._log.write(f"{stamp(record.created)}{place} - {one_entry(text)}")
        except Exception:  # logging's own rule: a record that does not format must not end the program
            self.handleError(record)
