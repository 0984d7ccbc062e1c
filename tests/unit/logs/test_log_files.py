from __future__ import annotations

import io
import logging
import sys
import threading
from pathlib import Path

import pytest

from flambeau.errors import ConfigError
from flambeau.logs.files import LogFiles
from flambeau.logs.line_log import LineLog
from flambeau.logs.writer import LogWriter

NAMES = {"access_log.log", "model_log.log", "ts_log.log", "model_metrics.log", "ts_metrics.log"}


class Signal(io.StringIO):
    """A stream that says when something was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def flush(self) -> None:
        if self.getvalue():
            self.written.set()


def fill(files: LogFiles) -> None:
    files.handler.handle(logging.LogRecord("flambeau.server", logging.INFO, "", 1, "started", None, None))
    files.worker.write("W-9000-echo_1.0", "hello")
    files.access.record("127.0.0.1:1", "GET", "/ping", 200, 1.0)
    files.ts_metrics.write("Requests2XX.Count:1.0|#Level:Host|#hostname:h,timestamp:1")
    files.model_metrics.write("PredictionTime.ms:1.0|#Level:Model|#hostname:h,timestamp:1")


def without_time(text: str) -> list[str]:
    return sorted(line[23:] for line in text.splitlines())


def test_all_files_exist_from_the_start(tmp_path: Path):
    files = LogFiles(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == NAMES
    files.close()


def test_metrics_can_have_a_folder_of_their_own(tmp_path: Path):
    LogFiles(tmp_path / "logs", tmp_path / "metrics").close()
    assert {path.name for path in (tmp_path / "metrics").iterdir()} == {"model_metrics.log", "ts_metrics.log"}
    assert {path.name for path in (tmp_path / "logs").iterdir()} == NAMES - {"model_metrics.log", "ts_metrics.log"}


def test_each_kind_of_line_has_its_file(tmp_path: Path):
    files = LogFiles(tmp_path)
    fill(files)
    files.flush()
    assert {path.name: without_time(path.read_text()) for path in tmp_path.iterdir()} == {
        "ts_log.log": [" [INFO ] MainThread flambeau.server - started"],
        "model_log.log": [" [INFO ] W-9000-echo_1.0-stdout MODEL_LOG - hello"],
        "access_log.log": [' - /127.0.0.1:1 "GET /ping HTTP/1.1" 200 1'],
        "ts_metrics.log": [" - Requests2XX.Count:1.0|#Level:Host|#hostname:h,timestamp:1"],
        "model_metrics.log": [" - PredictionTime.ms:1.0|#Level:Model|#hostname:h,timestamp:1"],
    }
    files.close()


def test_the_console_gets_what_goes_wrong_in_a_line_each(tmp_path: Path):
    console = io.StringIO()
    files = LogFiles(tmp_path, console=console)
    fill(files)
    for level, message in (
        (logging.WARNING, "no\x1b[31m GPU"),
        (logging.ERROR, "Failed to load model: a.mar: damaged"),
    ):
        files.handler.handle(logging.LogRecord("flambeau.server", level, "", 1, message, None, None))
    files.close()
    assert console.getvalue() == "warning: no\\x1b[31m GPU\nerror: Failed to load model: a.mar: damaged\n"


def test_the_console_gets_no_traceback(tmp_path: Path):
    console = io.StringIO()
    files = LogFiles(tmp_path, console=console)
    try:
        raise ValueError("details")
    except ValueError:
        exc_info = sys.exc_info()
    files.handler.handle(logging.LogRecord("flambeau.server", logging.ERROR, "", 1, "work failed", None, exc_info))
    files.close()
    assert console.getvalue() == "error: work failed\n"
    assert "ValueError: details" in (tmp_path / "ts_log.log").read_text()


def test_the_console_can_have_everything_in_torchserves_form(tmp_path: Path):
    console = io.StringIO()
    files = LogFiles(tmp_path, console=console, echo_all=True)
    fill(files)
    files.close()
    assert without_time(console.getvalue()) == [
        " [INFO ] MainThread flambeau.server - started",
        " [INFO ] W-9000-echo_1.0-stdout MODEL_LOG - hello",
        ' [INFO ] main ACCESS_LOG - /127.0.0.1:1 "GET /ping HTTP/1.1" 200 1',
        " [INFO ] main MODEL_METRICS - PredictionTime.ms:1.0|#Level:Model|#hostname:h,timestamp:1",
        " [INFO ] main TS_METRICS - Requests2XX.Count:1.0|#Level:Host|#hostname:h,timestamp:1",
    ]


def test_console_metrics_can_be_read_as_torchserves_benchmark_suite_reads_them(tmp_path: Path):
    console = io.StringIO()
    files = LogFiles(tmp_path, console=console, echo_all=True)
    files.model_metrics.write("PredictionTime.ms:1.42|#Level:Model|#hostname:h,timestamp:1")
    files.close()
    assert console.getvalue().split("|")[0].split(":")[3] == "1.42"


def test_lines_are_written_in_the_background(tmp_path: Path):
    console = Signal()
    files = LogFiles(tmp_path, console=console, echo_all=True)
    fill(files)
    assert console.written.wait(timeout=10)
    files.close()


def test_a_folder_that_cannot_be_made_is_refused_and_leaves_no_thread(tmp_path: Path):
    (tmp_path / "file").touch()
    threads = threading.active_count()
    with pytest.raises(ConfigError, match="cannot be opened for writing"):
        LogFiles(tmp_path / "logs", tmp_path / "file" / "metrics")
    assert threading.active_count() == threads


def test_a_line_that_fails_does_not_end_the_thread(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    class Bad(LineLog):
        def flush(self, pause_s: float = 0.0) -> None:
            raise RuntimeError("no text")

    echo = Signal()
    log = Bad(tmp_path / "a.log")
    good = LineLog(tmp_path / "b.log", echo=echo)
    good.write("still written")
    writer = LogWriter([log, good], interval_s=0.001)
    assert echo.written.wait(timeout=10)
    writer.close()
    assert "no text" in capsys.readouterr().err
    log._file.close()
    good.close()
