from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from flambeau.logs.formats import MetricsLog, ServerLogHandler, WorkerLog
from flambeau.logs.line_log import LineLog

NOON = datetime(2026, 1, 31, 12).timestamp() + 0.125
STAMP = "2026-01-31T12:00:00,125"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LineLog]:
    log = LineLog(tmp_path / "a.log")
    yield log
    log.close()


def text_of(log: LineLog) -> str:
    log.flush()
    return log.path.read_text(encoding="utf-8")


def record(level: int, message: str, *arguments: object) -> logging.LogRecord:
    record = logging.LogRecord("flambeau.server", level, __file__, 1, message, arguments, None)
    record.created = NOON
    record.threadName = "main"
    return record


def test_metrics_lines_begin_with_the_time(log: LineLog):
    MetricsLog(log, lambda: NOON).write("Requests2XX.Count:1.0|#Level:Host|#hostname:host1,timestamp:1795288970")
    assert text_of(log) == (f"{STAMP} - Requests2XX.Count:1.0|#Level:Host|#hostname:host1,timestamp:1795288970\n")


def test_a_label_cannot_forge_a_metrics_line(log: LineLog):
    MetricsLog(log, lambda: NOON).write("A.Count:1.0|#Name:x\nB.Count:2.0|#")
    assert text_of(log) == f"{STAMP} - A.Count:1.0|#Name:x\\nB.Count:2.0|#\n"


def test_worker_lines_name_worker_stream_and_level(log: LineLog):
    worker_log = WorkerLog(log, lambda: NOON)
    worker_log.write("W-9000-echo_1.0", "loading\tweights")
    worker_log.write("W-9000-echo_1.0", "\x1b[31mbad", is_error=True)
    assert text_of(log) == (
        f"{STAMP} [INFO ] W-9000-echo_1.0-stdout MODEL_LOG - loading\tweights\n"
        f"{STAMP} [WARN ] W-9000-echo_1.0-stderr MODEL_LOG - \\x1b[31mbad\n"
    )


@pytest.mark.parametrize(
    ("level", "name"),
    [
        (logging.DEBUG, "DEBUG"),
        (logging.INFO, "INFO "),
        (logging.WARNING, "WARN "),
        (logging.ERROR, "ERROR"),
        (logging.CRITICAL, "FATAL"),
    ],
)
def test_records_are_written_in_torchserves_format(log: LineLog, level: int, name: str):
    ServerLogHandler(log).handle(record(level, "Model %s loaded.", "echo"))
    assert text_of(log) == f"{STAMP} [{name}] main flambeau.server - Model echo loaded.\n"


def test_further_lines_of_a_record_begin_with_a_tab(log: LineLog):
    ServerLogHandler(log).handle(record(logging.ERROR, "Backend worker error\n%s", "it did not respond"))
    assert text_of(log) == f"{STAMP} [ERROR] main flambeau.server - Backend worker error\n\tit did not respond\n"


def test_a_traceback_follows_its_message(log: LineLog):
    failed = record(logging.ERROR, "failed")
    try:
        raise ValueError(f"bad\n{STAMP} [INFO ] forged")
    except ValueError as error:
        failed.exc_info = (ValueError, error, error.__traceback__)
    ServerLogHandler(log).handle(failed)
    first, second, *others = text_of(log).splitlines()
    assert first.endswith("] main flambeau.server - failed")
    assert second == "\tTraceback (most recent call last):"
    assert all(line.startswith("\t") for line in others)
    assert others[-2:] == ["\tValueError: bad", f"\t{STAMP} [INFO ] forged"]


def test_a_record_that_does_not_format_ends_nothing(log: LineLog, capsys: pytest.CaptureFixture[str]):
    handler = ServerLogHandler(log)
    handler.handle(record(logging.INFO, "%d rows", "many"))
    handler.handle(record(logging.INFO, "%d rows", 3))
    assert text_of(log).endswith(" - 3 rows\n")
    assert "TypeError" in capsys.readouterr().err
