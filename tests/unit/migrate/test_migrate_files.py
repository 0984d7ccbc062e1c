"""Files of a model and an installation: YAML, requirements, compiled files, snapshots."""

from __future__ import annotations

import importlib.util
import json
import sys

import pytest

from flambeau.config.model_settings import MODEL_SETTINGS
from flambeau.migrate.binaries import check_binaries
from flambeau.migrate.findings import Severity
from flambeau.migrate.model_yaml import check_yaml
from flambeau.migrate.requirements import check_requirements
from flambeau.migrate.snapshots import check_snapshots

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def in_yaml(text):
    return {finding.key: (finding.severity, finding.line) for finding in check_yaml(text, "m.yaml")}


def test_yaml_keys_that_work_are_not_mentioned():
    assert in_yaml("minWorkers: 1\nmaxWorkers: 2\nbatchSize: 1\nhandler: {anything: [1]}\n") == {}


def test_values_that_are_ignored_are_named_with_their_line():
    assert in_yaml("# comment\nminWorkers: two\n") == {"minWorkers": (Severity.NOTE, 2)}


def test_batches_differ_unless_the_policy_is_said():
    assert in_yaml("minWorkers: 1\nbatchSize: 8\n") == {"batchSize": (Severity.DIFFERS, 2)}
    assert in_yaml("batchSize: 8\nbatchPolicy: fixed\n") == {}


def test_keys_without_an_effect_matter_where_they_ask_for_something():
    for key, setting in MODEL_SETTINGS.items():
        if setting.without_effect:
            assert in_yaml(f"\n{key}: true\n")[key] == (Severity.CHANGE, 2)
            assert in_yaml(f"{key}: false\n") == {}


@pytest.mark.parametrize(("text", "line"), [("a: [1\n", 2), ("- 1\n", 1), ("\tx: 1", 1)])
def test_what_is_no_yaml_mapping_keeps_the_model_from_running(text, line):
    (finding,) = check_yaml(text, "m.yaml")
    assert (finding.severity, finding.line) == (Severity.BLOCKS, line)


def test_an_empty_yaml_file_is_fine():
    assert in_yaml("") == {}


def test_requirements_are_compared_with_what_is_installed(tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text(
        "# all\nno-such-package>=1 ; python_version > '3'\npytest\nhypothesis==0.0.1\n-r other.txt\na @ http://b/c\n"
    )
    found = [(finding.line, finding.severity, finding.package) for finding in check_requirements(path, path.name)]
    assert found == [(2, Severity.CHANGE, "no-such-package>=1"), (4, Severity.NOTE, "")]


def test_a_requirements_file_that_is_not_there_is_named(tmp_path):
    (finding,) = check_requirements(tmp_path / "none.txt", "none.txt")
    assert "No such file" in finding.what


def test_bytecode_without_its_source_must_be_of_this_python(tmp_path):
    (tmp_path / "here.pyc").write_bytes(importlib.util.MAGIC_NUMBER + bytes(12))
    (tmp_path / "old.pyc").write_bytes((3413).to_bytes(2, "little") + b"\r\n" + bytes(12))
    (tmp_path / "cut.pyc").write_bytes(b"x")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.pyc").write_bytes(b"")
    assert {finding.file: finding.what for finding in check_binaries(tmp_path)} == {
        "old.pyc": f"bytecode of Python 3.8; this is Python {HERE}",
        "cut.pyc": f"bytecode of Python an unknown version; this is Python {HERE}",
    }


def test_extension_modules_must_be_for_this_python(tmp_path):
    minor = sys.version_info.minor
    for name in (
        "a.cpython-36m-x86_64-linux-gnu.so",
        f"b.cpython-3{minor}-x86_64-linux-gnu.so",
        "c.abi3.so",
        "model.so",
    ):
        (tmp_path / name).touch()
    (finding,) = check_binaries(tmp_path)
    assert (finding.file[0], finding.what) == ("a", f"an extension module for Python 3.6; this is Python {HERE}")


def snapshot(folder, text, *archives):
    folder.mkdir(exist_ok=True)
    for archive in archives:
        (folder / archive).touch()
    (folder / "x.cfg").write_text(text)
    return list(check_snapshots(folder, folder))


def test_without_snapshots_there_is_nothing_to_say(tmp_path):
    assert list(check_snapshots(tmp_path / "none", tmp_path)) == []


def test_a_snapshot_says_what_will_be_restored_and_what_is_gone(tmp_path):
    models = {"m": {"1.0": {"marName": "m.mar"}, "2.0": {"marName": "gone.mar"}}}
    text = f"model_snapshot={json.dumps({'models': models})}\n"
    (gone,) = snapshot(tmp_path, text, "m.mar")
    assert (gone.severity, "gone.mar" in gone.what, "m.mar," in gone.what) == (Severity.CHANGE, True, False)
    (whole,) = snapshot(tmp_path, text, "m.mar", "gone.mar")
    assert whole.severity is Severity.NOTE


@pytest.mark.parametrize("text", ["model_snapshot={", "model_snapshot=[]", 'model_snapshot={"models": 1}', "a=\\u12"])
def test_a_snapshot_that_cannot_be_read_is_named(tmp_path, text):
    (finding,) = snapshot(tmp_path, text)
    assert finding.severity is Severity.CHANGE
