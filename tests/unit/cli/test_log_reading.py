"""Log files, read from their end and as they grow."""

from __future__ import annotations

import gzip
import os
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.cli import log_reading
from flambeau.cli.log_lines import LogKind
from flambeau.cli.log_reading import Follower, entries_backwards

BEGIN = datetime(2026, 1, 31, 12)


def stamp(second: int) -> str:
    return f"{BEGIN + timedelta(seconds=second):%Y-%m-%dT%H:%M:%S},000"


def texts(path, **options):
    return [entry.text for entry in entries_backwards(LogKind.SERVER, path, **options)]


@given(
    entries=st.lists(st.lists(st.text("ab é", min_size=1), min_size=1, max_size=4), max_size=20),
    block=st.integers(1, 80),
)
def test_entries_come_back_whole_in_reverse_whatever_the_size_of_a_block(tmp_path_factory, entries, block):
    path = tmp_path_factory.mktemp("logs") / "ts_log.log"
    lines = [f"{stamp(at)} - " + "\n\t".join(entry) + "\n" for at, entry in enumerate(entries)]
    path.write_text("".join(lines))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(log_reading, "_BLOCK_BYTES", block)
        assert texts(path) == ["\n\t".join(entry) for entry in reversed(entries)]


def test_lines_before_the_first_entry_are_left_out(tmp_path):
    path = tmp_path / "ts_log.log"
    path.write_text(f"\tthe end of something\n{stamp(0)} - a\n")
    assert texts(path) == ["a"]


def test_what_comes_behind_the_end_that_is_given_is_not_read(tmp_path):
    path = tmp_path / "ts_log.log"
    path.write_text(f"{stamp(0)} - a\n")
    size = path.stat().st_size
    with path.open("a") as file:
        file.write(f"{stamp(1)} - b\n")
    assert texts(path, until=size) == ["a"]


def test_files_that_were_put_aside_come_after_newest_first(tmp_path):
    path = tmp_path / "ts_log.log"
    path.write_text(f"{stamp(3)} - new\n")
    for age, (name, text) in enumerate([("ts_log.31-Jan.1.log", "b"), ("ts_log.31-Jan.log.gz", "a")]):
        data = f"{stamp(2 - age)} - {text}\n".encode()
        aside = tmp_path / name
        aside.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        os.utime(aside, (1000 - age, 1000 - age))
    (tmp_path / "ts_log.31-Jan.2.log.gz.part").write_bytes(b"unfinished")
    (tmp_path / "ts_log.30-Jan.log.gz").write_bytes(b"not gzip")
    assert texts(path) == ["new", "b", "a"]


def test_a_log_that_is_not_there_has_no_entries(tmp_path):
    assert texts(tmp_path / "ts_log.log") == []


class Growing:
    """A log and its follower."""

    def __init__(self, path):
        self.path = path
        self.path.write_text(f"{stamp(0)} - old\n")
        self.follower = Follower(LogKind.SERVER, path)

    def append(self, text):
        with self.path.open("a") as file:
            file.write(text)

    def new(self):
        return [entry.text for entry in self.follower.new_entries()]


@pytest.fixture
def growing(tmp_path):
    growing = Growing(tmp_path / "ts_log.log")
    yield growing
    growing.follower.close()


def test_a_follower_gives_what_is_added(growing):
    assert growing.new() == []
    growing.append(f"{stamp(1)} - a\n{stamp(2)} - b\n")
    assert growing.new() == ["a"]
    assert growing.new() == ["b"]
    assert growing.new() == []


def test_an_entry_waits_for_its_further_lines(growing):
    growing.append(f"{stamp(1)} - a\n\tmo")
    assert growing.new() == []
    growing.append("re\n")
    assert growing.new() == []
    assert growing.new() == ["a\n\tmore"]


def test_a_follower_goes_on_in_the_next_file(growing):
    growing.append(f"{stamp(1)} - a\n")
    growing.path.rename(growing.path.with_name("ts_log.31-Jan.log"))
    growing.path.write_text(f"{stamp(2)} - b\n")
    assert [*growing.new(), *growing.new(), *growing.new()] == ["a", "b"]


def test_a_follower_goes_on_in_a_file_that_was_emptied(growing):
    growing.path.write_text("")
    assert growing.new() == []
    growing.append(f"{stamp(1)} - a\n")
    assert [*growing.new(), *growing.new()] == ["a"]


def test_a_follower_waits_for_a_file_to_come(tmp_path):
    path = tmp_path / "ts_log.log"
    follower = Follower(LogKind.SERVER, path)
    assert follower.new_entries() == []
    path.write_text(f"{stamp(1)} - a\n")
    assert [entry.text for _ in range(2) for entry in follower.new_entries()] == ["a"]
    follower.close()
