"""Files that change."""

from __future__ import annotations

import os
import time

import pytest

from flambeau.watching import WatchedFiles


@pytest.fixture
def folder(tmp_path):
    """A model with something in it that is not the model's."""
    for name in ("handler.py", "model.pt", "sub/vocab.json", ".git/config.json", "logs/out.txt", "notes.log"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("old")
    (tmp_path / "venv" / "lib").mkdir(parents=True)
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    (tmp_path / "venv" / "lib" / "x.py").touch()
    (tmp_path / "__pycache__").mkdir()
    return tmp_path


def test_nothing_has_changed_at_first(folder):
    assert WatchedFiles([folder]).changes() == []


@pytest.mark.parametrize("name", ["handler.py", "model.pt", "sub/vocab.json", "new.yaml"])
def test_a_change_of_the_models_files_is_seen_once(folder, name):
    watched = WatchedFiles([folder])
    (folder / name).write_text("something else")
    assert watched.changes() == [folder / name]
    assert watched.changes() == []


def test_a_file_that_is_replaced_by_one_as_long_and_as_old_has_changed(folder):
    watched = WatchedFiles([folder])
    old = (folder / "handler.py").stat()
    (folder / "draft").write_text("new")
    os.utime(folder / "draft", ns=(old.st_atime_ns, old.st_mtime_ns))
    (folder / "draft").rename(folder / "handler.py")
    assert watched.changes() == [folder / "handler.py"]


def test_a_file_that_goes_has_changed(folder):
    watched = WatchedFiles([folder])
    (folder / "handler.py").unlink()
    assert watched.changes() == [folder / "handler.py"]


@pytest.mark.parametrize(
    "name", [".git/config.json", "notes.log", "venv/lib/x.py", "__pycache__/handler.py", ".handler.py.swp", "out.csv"]
)
def test_what_is_not_the_models_is_not_looked_at(folder, name):
    watched = WatchedFiles([folder])
    (folder / name).write_text("something else")
    assert watched.changes() == []


def test_what_is_to_be_ignored_is_not_looked_at(folder):
    watched = WatchedFiles([folder], ignored=[folder / "logs", folder / "model.pt"])
    (folder / "logs" / "out.txt").write_text("something else")
    (folder / "model.pt").write_text("something else")
    assert watched.changes() == []


def test_a_file_alone_is_watched_whatever_its_name(folder):
    watched = WatchedFiles([folder / "notes.log"])
    (folder / "notes.log").write_text("something else")
    (folder / "handler.py").write_text("something else")
    assert watched.changes() == [folder / "notes.log"]


def test_a_root_may_come_later(tmp_path):
    watched = WatchedFiles([tmp_path / "model"])
    assert watched.changes() == []
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "handler.py").touch()
    assert watched.changes() == [tmp_path / "model" / "handler.py"]


def test_a_link_to_a_folder_above_is_not_followed(folder):
    (folder / "up").symlink_to(folder)
    watched = WatchedFiles([folder])
    (folder / "handler.py").write_text("something else")
    assert watched.changes() == [folder / "handler.py"]


def test_what_was_written_since_a_time_is_a_change(folder):
    now = time.time()
    os.utime(folder / "handler.py", (now - 10, now - 10))
    os.utime(folder / "model.pt", (now + 10, now + 10))
    assert WatchedFiles([folder], since_s=now + 5).changes() == [folder / "model.pt"]
