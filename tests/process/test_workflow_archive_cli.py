"""Archives of workflows, as each command and the library make them."""

import json
import logging
import subprocess
import sys
import zipfile
from argparse import Namespace
from pathlib import Path

import pytest

from flambeau.archive.workflow_manifest import WORKFLOW_MANIFEST_PATH
from flambeau.cli import main, torch_workflow_archiver
from workflow_archiver.workflow_archiver_error import WorkflowArchiverError
from workflow_archiver.workflow_packaging import package_workflow

SPEC = """
models:
  m:
    url: m.mar
dag:
  pre: [m]
"""
FILES = ("--spec-file", "spec.yaml", "--handler", "functions.py")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "functions.py").write_text("def pre(data, context):\n    return data\n")
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra/labels.json").write_text("{}")
    return tmp_path


def flambeau(*arguments):
    return main.run(["archive-workflow", "--workflow-name", "w", *arguments])


def shim(*arguments):
    return torch_workflow_archiver.run(["--workflow-name", "w", *arguments])


def read(path):
    with zipfile.ZipFile(path) as archive:
        return archive.namelist(), json.loads(archive.read(WORKFLOW_MANIFEST_PATH))


@pytest.mark.parametrize("command", [flambeau, shim])
def test_an_archive_has_the_files_and_a_manifest_that_names_them(here, command):
    assert command(*FILES, "--extra-files", "extra") == 0
    names, manifest = read(here / "w.war")
    assert sorted(names) == [WORKFLOW_MANIFEST_PATH, "functions.py", "labels.json", "spec.yaml"]
    assert manifest["workflow"] == {"workflowName": "w", "specFile": "spec.yaml", "handler": "functions.py"}
    assert set(manifest) == {"createdOn", "workflow", "archiverVersion"}


def test_the_library_makes_the_same_archive(here):
    package_workflow(Namespace(workflow_name="w", spec_file="spec.yaml", handler="functions.py", export_path=str(here)))
    names, _ = read(here / "w.war")
    assert sorted(names) == [WORKFLOW_MANIFEST_PATH, "functions.py", "spec.yaml"]


def test_the_library_says_what_is_wrong_and_logs_what_is_doubtful(here, caplog):
    options = Namespace(workflow_name="w", spec_file="spec.yaml", handler="functions.py", force=True)
    (here / "functions.py").write_text("x = 1\n")
    with caplog.at_level(logging.WARNING):
        package_workflow(options)
    assert "no function named pre" in caplog.text
    options.spec_file = "nowhere.yaml"
    with pytest.raises(WorkflowArchiverError, match="File does not exist"):
        package_workflow(options)


@pytest.mark.parametrize("command", [["flambeau", "archive-workflow"], ["torch-workflow-archiver"]])
def test_the_commands_are_installed(command):
    path = Path(sys.executable).with_name(command[0])
    finished = subprocess.run([path, *command[1:], "--help"], capture_output=True, text=True, timeout=60, check=True)
    assert "--spec-file" in finished.stdout


@pytest.mark.parametrize("command", [flambeau, shim])
def test_an_archive_that_exists_is_replaced_only_by_force(here, command, capsys):
    assert command(*FILES) == 0
    before = (here / "w.war").read_bytes()
    assert command(*FILES) == 1
    assert "overwrite the workflow archive output file" in capsys.readouterr().err
    assert (here / "w.war").read_bytes() == before
    assert command(*FILES, "--force") == 0


@pytest.mark.parametrize(
    ("prepare", "arguments", "problem"),
    [
        ("", ("--spec-file", "spec.yaml"), "pre: no such model, and there is no file of functions."),
        ("", ("--spec-file", "spec.yaml", "--handler", "nowhere.py"), "File does not exist: nowhere.py"),
        ("", ("--spec-file", "nowhere.yaml", "--handler", "functions.py"), "File does not exist: nowhere.yaml"),
        ("", (*FILES, "--extra-files", "nowhere"), "File does not exist: nowhere"),
        ("", (*FILES, "--export-path", "spec.yaml"), "Given export-path spec.yaml is not a directory."),
        ("dag: {a: [a]}", FILES, "spec.yaml: Self loop exception"),
        ("dag: {", FILES, "spec.yaml: Failed to parse yaml."),
    ],
)
def test_mistakes_are_found_before_anything_is_written(here, prepare, arguments, problem, capsys):
    if prepare:
        (here / "spec.yaml").write_text(prepare)
    for command in (flambeau, shim):
        assert command(*arguments) == 1
        assert problem in capsys.readouterr().err
    assert not list(here.glob("*.war"))


def test_a_name_that_torchserve_does_not_take_is_refused(here, capsys):
    assert torch_workflow_archiver.run(["--workflow-name", "a b", *FILES]) == 1
    assert "Workflow name contains special characters." in capsys.readouterr().err


def test_a_workflow_of_models_alone_needs_no_handler(here):
    (here / "spec.yaml").write_text("models: {m: {url: m.mar}}\ndag: {m: []}")
    assert flambeau("--spec-file", "spec.yaml") == 0
    _, manifest = read(here / "w.war")
    assert "handler" not in manifest["workflow"]


def test_equal_input_gives_equal_bytes_where_the_time_is_given(here, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    archives = []
    for _ in range(2):
        assert flambeau(*FILES, "--force") == 0
        archives.append((here / "w.war").read_bytes())
    assert archives[0] == archives[1]
