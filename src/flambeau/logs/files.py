"""The five log files of a server, under TorchServe's names."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from flambeau.logs.access import AccessLog
from flambeau.logs.console import ConsoleLines
from flambeau.logs.formats import MetricsLog, ServerLogHandler, WorkerLog, label
from flambeau.logs.line_log import LineLog
from flambeau.logs.writer import LogWriter


class LogFiles:
    """Opens the logs and keeps the thread that writes them.

    Raises:
        ConfigError: a folder cannot be made, or a file in it cannot be written.
    """

    access: AccessLog
    worker: WorkerLog
    """What workers print; ``model_log.log``."""
    handler: ServerLogHandler
    """To be added to a logger of ``logging``, usually the root; ``ts_log.log``."""
    ts_metrics: MetricsLog
    model_metrics: MetricsLog

    def __init__(
        self, log_dir: Path, metrics_dir: Path | None = None, *, console: TextIO | None = None, echo_all: bool = False
    ) -> None:
        """
        Args:
            metrics_dir: folder of the two metrics logs; None: ``log_dir``.
            console: stream that gets what goes wrong, in a line each; None: none does.
            echo_all: whether ``console`` gets all that is logged instead.
        """
        metrics_dir = metrics_dir or log_dir
        echo = console if echo_all else None
        problems = None if console is None or echo_all else ConsoleLines(console)
        with ExitStack() as opened:

            def open_log(folder: Path, name: str, echo: TextIO | None, logger: str = "") -> LineLog:
                echo_label = label("INFO", "main", logger) if logger else ""
                log = LineLog(folder / name, echo=echo, echo_label=echo_label)
                opened.callback(log.close)
                return log

            if problems is not None:
                opened.callback(problems.flush)
            server_log = open_log(log_dir, "ts_log.log", echo)
            worker_log = open_log(log_dir, "model_log.log", echo)
            access_log = open_log(log_dir, "access_log.log", echo, "ACCESS_LOG")
            ts_metrics_log = open_log(metrics_dir, "ts_metrics.log", echo, "TS_METRICS")
            model_metrics_log = open_log(metrics_dir, "model_metrics.log", echo, "MODEL_METRICS")
            self._opened = opened.pop_all()
        self.handler = ServerLogHandler(server_log, problems)
        self.worker = WorkerLog(worker_log)
        self.access = AccessLog(access_log)
        self.ts_metrics = MetricsLog(ts_metrics_log)
        self.model_metrics = MetricsLog(model_metrics_log)
        self._logs = (server_log, worker_log, access_log, ts_metrics_log, model_metrics_log)
        self._writer = LogWriter(self._logs if problems is None else (*self._logs, problems))

    def flush(self) -> None:
        """Write what waits, from the calling thread."""
        for log in self._logs:
            log.flush()

    def close(self) -> None:
        """Write what waits and close the files. Lines that come later are not written."""
        self._writer.close()
        self._opened.close()
