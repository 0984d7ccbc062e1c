"""Lines of logs, taken apart; the lines are made by what writes the logs."""

from __future__ import annotations

import logging
from datetime import datetime

import pytest

from flambeau.cli.log_lines import Entry, LogKind, begin_entry
from flambeau.logs import LogFiles

TIME = "2026-01-31T12:00:00,123"


@pytest.fixture
def written(tmp_path):
    """The first entry of each log, of files that a server's own loggers wrote."""
    files = LogFiles(tmp_path)
    files.access.record("10.0.0.7:41234", "POST", "/predictions/cat/2.0?x=1", 200, 12.4)
    files.worker.write("W-9000-cat_1.0", "hello", is_error=True)
    files.ts_metrics.write("QueueTime.Milliseconds:1|#Level:Host|#hostname:h")
    files.handler.emit(logging.LogRecord("a.b", logging.WARNING, "f", 1, "model %s is slow", ("cat",), None))
    files.close()

    def entry(kind: LogKind, name: str) -> Entry:
        line = (tmp_path / name).read_text().splitlines()[0]
        found = begin_entry(kind, line)
        assert found is not None, line
        return found

    return {
        LogKind.ACCESS: entry(LogKind.ACCESS, "access_log.log"),
        LogKind.MODEL: entry(LogKind.MODEL, "model_log.log"),
        LogKind.METRICS: entry(LogKind.METRICS, "ts_metrics.log"),
        LogKind.SERVER: entry(LogKind.SERVER, "ts_log.log"),
    }


def test_an_access_line_becomes_its_fields(written):
    fields = written[LogKind.ACCESS].fields()
    assert datetime.fromisoformat(str(fields.pop("time"))).tzinfo is not None
    assert fields == {
        "kind": "access",
        "client": "10.0.0.7:41234",
        "method": "POST",
        "target": "/predictions/cat/2.0?x=1",
        "status": 200,
        "ms": 12,
    }


def test_a_workers_line_names_model_and_version(written):
    fields = written[LogKind.MODEL].fields()
    del fields["time"]
    assert fields == {"kind": "model", "level": "WARN", "model": "cat", "version": "1.0", "message": "hello"}


def test_a_servers_line_has_its_level_and_message(written):
    entry = written[LogKind.SERVER]
    assert (entry.level, entry.text) == ("WARN", "model cat is slow")
    assert entry.place.endswith(" a.b")


def test_a_metric_is_a_message(written):
    assert written[LogKind.METRICS].fields()["message"] == "QueueTime.Milliseconds:1|#Level:Host|#hostname:h"


@pytest.mark.parametrize("line", ["", "\tFile x", "2026-01-31 12:00", "2026-13-31T12:00:00,123 - x"])
def test_other_lines_begin_nothing(line):
    assert begin_entry(LogKind.SERVER, line) is None


@pytest.mark.parametrize(
    ("kind", "line", "is_about"),
    [
        (LogKind.ACCESS, '- /1:2 "POST /predictions/cat HTTP/1.1" 200 1', True),
        (LogKind.ACCESS, '- /1:2 "POST /predictions/cat/1.0?a=b HTTP/1.1" 200 1', True),
        (LogKind.ACCESS, '- /1:2 "POST /v1/models/cat:predict HTTP/1.1" 200 1', True),
        (LogKind.ACCESS, '- /1:2 "POST /predictions/cats HTTP/1.1" 200 1', False),
        (LogKind.ACCESS, '- /1:2 "GET /ping?cat HTTP/1.1" 200 1', False),
        (LogKind.MODEL, "[INFO ] W-9000-cat_1.0-stdout MODEL_LOG - dog", True),
        (LogKind.MODEL, "[INFO ] W-9000-dog_1.0-stdout MODEL_LOG - cat", False),
        (LogKind.MODEL, "[INFO ] W-9000-big_cat_1.0-stdout MODEL_LOG - x", False),
        (LogKind.METRICS, "- PredictionTime.ms:1|#ModelName:cat,Level:Model|#hostname:h", True),
        (LogKind.METRICS, "- PredictionTime.ms:1|#ModelName:cats,Level:Model|#hostname:h", False),
        (LogKind.SERVER, "[INFO ] main a - Model cat loaded.", True),
        (LogKind.SERVER, "[INFO ] main a - W-9000-cat_1.0 State change", True),
        (LogKind.SERVER, "[INFO ] main a - Model big-cat loaded.", False),
    ],
)
def test_what_an_entry_is_about(kind, line, is_about):
    entry = begin_entry(kind, f"{TIME} {line}")
    assert entry is not None
    assert entry.is_about("cat") is is_about
