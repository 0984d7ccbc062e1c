from __future__ import annotations

import gzip
import os
from datetime import datetime
from pathlib import Path

from flambeau.logs.rotation import RotatingFile

LAST_OF_JANUARY = datetime(2026, 1, 31, 12).timestamp()
DAY_S = 86400.0


class WallClock:
    def __init__(self, seconds: float = LAST_OF_JANUARY) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds


def rotating(folder: Path, clock: WallClock, *, max_bytes: int = 1000, backups: int = 5) -> RotatingFile:
    return RotatingFile(folder / "ts_log.log", max_bytes=max_bytes, backups=backups, wall_clock=clock)


def text_of(folder: Path) -> dict[str, bytes]:
    return {
        path.name: gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in folder.iterdir()
    }


def test_a_file_that_would_grow_too_large_is_put_aside_compressed(tmp_path: Path):
    file = rotating(tmp_path, WallClock(), max_bytes=10)
    for data in (b"12345\n", b"678\n", b"next\n"):
        file.write(data)
    file.close()
    assert text_of(tmp_path) == {"ts_log.31-Jan.log.gz": b"12345\n678\n", "ts_log.log": b"next\n"}


def test_further_files_of_one_day_are_numbered(tmp_path: Path):
    file = rotating(tmp_path, WallClock(), max_bytes=2)
    for data in (b"1\n", b"2\n", b"3\n"):
        file.write(data)
    file.close()
    assert text_of(tmp_path) == {
        "ts_log.31-Jan.log.gz": b"1\n",
        "ts_log.31-Jan.1.log.gz": b"2\n",
        "ts_log.log": b"3\n",
    }


def test_the_file_of_a_day_is_put_aside_under_that_day_when_the_next_begins(tmp_path: Path):
    clock = WallClock()
    file = rotating(tmp_path, clock)
    file.write(b"January\n")
    clock.seconds += DAY_S
    file.write(b"February\n")
    file.write(b"still February\n")
    file.close()
    assert text_of(tmp_path) == {"ts_log.31-Jan.log.gz": b"January\n", "ts_log.log": b"February\nstill February\n"}


def test_an_empty_file_is_never_put_aside(tmp_path: Path):
    clock = WallClock()
    file = rotating(tmp_path, clock, max_bytes=3)
    clock.seconds += DAY_S
    file.write(b"longer than the limit\n")
    file.close()
    assert text_of(tmp_path) == {"ts_log.log": b"longer than the limit\n"}


def test_the_day_of_a_file_begins_with_its_first_line(tmp_path: Path):
    clock = WallClock()
    file = rotating(tmp_path, clock)
    clock.seconds += DAY_S
    file.write(b"one\n")
    file.write(b"two\n")
    file.close()
    assert text_of(tmp_path) == {"ts_log.log": b"one\ntwo\n"}


def test_a_file_of_an_earlier_run_belongs_to_the_day_of_its_last_line(tmp_path: Path):
    path = tmp_path / "ts_log.log"
    path.write_bytes(b"old\n")
    os.utime(path, (LAST_OF_JANUARY - DAY_S,) * 2)
    file = rotating(tmp_path, WallClock())
    file.write(b"new\n")
    file.close()
    assert text_of(tmp_path) == {"ts_log.30-Jan.log.gz": b"old\n", "ts_log.log": b"new\n"}


def test_only_the_newest_files_that_were_put_aside_are_kept(tmp_path: Path):
    for age, name in enumerate(["ts_log.30-Jan.1.log.gz", "ts_log.30-Jan.log", "ts_log.29-Jan.log.gz"], start=1):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (LAST_OF_JANUARY - age * DAY_S,) * 2)
    (tmp_path / "ts_metrics.28-Jan.log.gz").touch()
    file = rotating(tmp_path, WallClock(), max_bytes=2, backups=2)
    file.write(b"1\n")
    file.write(b"2\n")
    file.close()
    assert {path.name for path in tmp_path.iterdir()} == {
        "ts_log.30-Jan.1.log.gz",
        "ts_log.31-Jan.log.gz",
        "ts_log.log",
        "ts_metrics.28-Jan.log.gz",
    }


def test_a_file_that_someone_else_moved_is_begun_anew(tmp_path: Path):
    file = rotating(tmp_path, WallClock(), max_bytes=5)
    file.write(b"moved\n")
    (tmp_path / "ts_log.log").unlink()
    file.write(b"new\n")
    file.close()
    assert text_of(tmp_path) == {"ts_log.log": b"new\n"}
