from __future__ import annotations

import io
import resource
import threading
from pathlib import Path

import pytest

from flambeau.errors import ConfigError
from flambeau.logs.line_log import CHUNK_LINES, LineLog

STAMP = "2026-01-31T12:00:00,123"


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_the_file_exists_from_the_start_and_gets_lines_when_flushed(tmp_path: Path):
    log = LineLog(tmp_path / "new" / "folder" / "a.log")
    assert lines_of(log.path) == []
    log.write("one")
    log.write("two")
    assert lines_of(log.path) == []
    log.flush()
    assert lines_of(log.path) == ["one", "two"]
    log.close()


def test_close_writes_all_that_is_left_in_order(tmp_path: Path):
    log = LineLog(tmp_path / "a.log")
    lines = [str(number) for number in range(3 * CHUNK_LINES + 1)]
    for line in lines:
        log.write(line)
    log.close()
    assert lines_of(log.path) == lines


def test_an_existing_file_is_continued(tmp_path: Path):
    for line in ("first run", "second run"):
        log = LineLog(tmp_path / "a.log")
        log.write(line)
        log.close()
    assert lines_of(tmp_path / "a.log") == ["first run", "second run"]


def test_text_that_is_no_unicode_is_escaped(tmp_path: Path):
    log = LineLog(tmp_path / "a.log")
    log.write("größer \udcff")
    log.close()
    assert lines_of(log.path) == [r"größer \udcff"]


def test_lines_of_several_threads_are_all_written_once(tmp_path: Path):
    log = LineLog(tmp_path / "a.log")
    start = threading.Barrier(5)

    def write(name: str) -> None:
        start.wait()
        for number in range(2000):
            log.write(f"{name}{number}")

    def flush() -> None:
        start.wait()
        for _ in range(50):
            log.flush()

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    threads += [threading.Thread(target=flush) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    lines = lines_of(log.path)
    assert len(lines) == 6000
    for name in "abc":
        assert [line for line in lines if line[0] == name] == [f"{name}{number}" for number in range(2000)]


def test_more_lines_than_may_wait_are_dropped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    log = LineLog(tmp_path / "a.log", max_pending_chars=100)
    for _ in range(15):
        log.write("0123456789")
    log.flush()
    assert lines_of(log.path) == ["0123456789"] * 10
    assert [record.getMessage() for record in caplog.records] == [
        f"Log file {log.path} dropped 5 lines: more came than could be written"
    ]
    log.write("again")
    log.close()
    assert lines_of(log.path)[10:] == ["again"]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("path", ["file/a.log", "folder"])
def test_a_log_that_cannot_be_opened_is_refused_by_name(path: str, tmp_path: Path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match=rf"log file=.*{path}: cannot be opened for writing: "):
        LineLog(tmp_path / path)


def test_a_full_disk_is_reported_once_and_never_raises(capsys: pytest.CaptureFixture[str]):
    log = LineLog(Path("/dev/full"))
    for _ in range(3):
        log.write("lost")
        log.flush()
    log.close()
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "/dev/full" in error
    assert "No space left on device" in error


def test_when_the_disk_has_room_again_lines_go_on_whole_and_the_loss_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    log = LineLog(tmp_path / "a.log")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
    try:
        log.write("x" * 2**21)
        log.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.write("whole")
    log.close()
    assert lines_of(log.path) == ["x" * 2**20, "whole"]
    assert f"Log file {log.path} lost 1 lines that could not be written" in caplog.text


def test_the_echo_gets_every_line_too(tmp_path: Path):
    echo = io.StringIO()
    log = LineLog(tmp_path / "a.log", echo=echo)
    log.write("one")
    log.write("two")
    log.close()
    assert echo.getvalue() == "one\ntwo\n"


def test_the_echo_label_follows_the_time(tmp_path: Path):
    echo = io.StringIO()
    log = LineLog(tmp_path / "a.log", echo=echo, echo_label=" [INFO ] main TS_METRICS")
    log.write(f"{STAMP} - A.Count:1.0|#")
    log.close()
    assert echo.getvalue() == f"{STAMP} [INFO ] main TS_METRICS - A.Count:1.0|#\n"
    assert lines_of(log.path) == [f"{STAMP} - A.Count:1.0|#"]


def test_an_echo_that_knows_no_unicode_gets_escapes(tmp_path: Path):
    raw = io.BytesIO()
    log = LineLog(tmp_path / "a.log", echo=io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    log.write("größer")
    log.close()
    assert raw.getvalue() == b"gr\\xf6\\xdfer\n"


def test_an_echo_that_was_closed_is_given_up_and_the_file_goes_on(tmp_path: Path):
    echo = io.StringIO()
    echo.close()
    log = LineLog(tmp_path / "a.log", echo=echo)
    log.write("one")
    log.flush()
    log.write("two")
    log.close()
    assert lines_of(log.path) == ["one", "two"]
