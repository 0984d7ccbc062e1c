"""``flambeau migrate`` on installations with everything that can be wrong with one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import psutil
import pytest

from tests.serving import ECHO, write_model

BIN = Path(sys.executable).with_name("flambeau")


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def migrate(tmp_path):
    """Runs the command in the folder that the server would be started in."""

    def migrate(*arguments: object):
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("TS_", "LOG_"))}
        return subprocess.run(
            [BIN, "migrate", *map(str, arguments)],
            cwd=tmp_path,
            env={**environment, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=100,
        )

    return migrate


def pack(store: Path, name: str, source: str = ECHO, *, runtime: str = "python", **model: str) -> None:
    """An archive; ``model`` are further entries of its manifest."""
    described = {"modelName": name, "modelVersion": "1.0", "handler": "handler.py:handle", **model}
    with ZipFile(store / f"{name}.mar", "w") as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"runtime": runtime, "model": described}))
        archive.writestr("handler.py", source)


def test_an_installation_that_runs_unchanged_says_so(migrate, store):
    pack(store, "echo")
    write_model(store, "folder", config="minWorkers: 1\nmaxWorkers: 1\n")
    done = migrate(store, "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    assert {model["name"]: model["verdict"] for model in report["models"]} == {"echo": "runs", "folder": "runs"}
    assert all(model["trial"]["loaded"] for model in report["models"])
    assert report["needsAttention"] is False


def test_each_handler_is_tried_and_none_stops_the_report(migrate, store):
    pack(store, "crashes", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    pack(store, "hangs", "import subprocess, time\nsubprocess.Popen(['sleep', '987654'])\ntime.sleep(1000)\n")
    pack(store, "leaves", "print('goodbye')\nraise SystemExit(3)\n")
    pack(store, "raises", "def handle(data, context):\n    raise ValueError('no weights')\n")
    pack(store, "needs", "import nothing_of_this_name\n" + ECHO)
    pack(store, "works")
    done = migrate(store, "--json", "--timeout", "5")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    problems = {model["name"]: model["trial"].get("problem") for model in report["models"]}
    assert problems == {
        "crashes": "its code ended the process by SIGSEGV",
        "hangs": "it was not loaded within 5 s",
        "leaves": "its code ended the process with status 3: goodbye",
        "raises": "ValueError: no weights",
        "needs": "ModuleNotFoundError: No module named 'nothing_of_this_name'",
        "works": None,
    }
    verdicts = {model["name"]: model["verdict"] for model in report["models"]}
    assert verdicts == {**dict.fromkeys(problems, "does not run"), "needs": "needs a change", "works": "runs"}
    assert report["install"] == ["nothing-of-this-name"]
    (needs,) = (model["findings"] for model in report["models"] if model["name"] == "needs")
    assert [(finding["file"], finding["line"]) for finding in needs] == [("handler.py", 1)]
    assert not [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "987654"]]


def test_what_no_trial_is_needed_for_is_found_by_reading(migrate, store):
    pack(store, "cpp", runtime="LSP")
    pack(store, "unnamed", handler="")
    pack(store, "missing", handler="no_such_handler")
    pack(store, "absent", configFile="none.yaml")
    (store / "broken.mar").write_text("no archive")
    done = migrate(store, "--json", "--no-run")
    report = json.loads(done.stdout)
    assert done.returncode == 1
    blocks = {model["name"]: [one["what"] for one in model["findings"]] for model in report["models"]}
    assert {name: len(found) for name, found in blocks.items()} == dict.fromkeys(blocks, 1)
    assert all(model["verdict"] == "does not run" and model["trial"] is None for model in report["models"])


def test_the_properties_file_and_what_lies_beside_it_are_read(migrate, store, tmp_path):
    pack(store, "echo")
    (tmp_path / "config.properties").write_text(
        "job_queue_size=many\nload_models=echo.mar,gone.mar\nvmargs=-Xmx1g\nkeystore=k.p12\n"
        'models={"other": {"1.0": {"minWorkers": 1}}}\n'
    )
    (tmp_path / "key_file.json").write_text("{}")
    done = migrate(store, "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 1
    found = {finding.get("key") or finding["file"]: finding["severity"] for finding in report["findings"]}
    assert (
        found.items()
        >= {
            "job_queue_size": "blocks",
            "load_models": "change",
            "keystore": "change",
            "vmargs": "differs",
            "models": "note",
            "key_file.json": "note",
        }.items()
    )
    lines = {finding.get("key"): finding.get("line") for finding in report["findings"]}
    assert (lines["job_queue_size"], lines["load_models"], lines["models"]) == (1, 2, 5)


def test_workflow_archives_are_read(migrate, store):
    pack(store, "echo")
    with ZipFile(store / "flow.war", "w") as archive:
        workflow = {"workflowName": "flow", "specFile": "spec.yaml", "handler": "functions.py"}
        manifest = {"createdOn": "01/01/2024 00:00:00", "archiverVersion": "0.2.15", "workflow": workflow}
        archive.writestr("WAR-INF/MANIFEST.json", json.dumps(manifest))
        archive.writestr("spec.yaml", "models:\n  a: {url: echo.mar}\n  b: {url: gone.mar}\ndag:\n  a: [b]\n")
        archive.writestr("functions.py", "import nothing_of_this_name\n")
    (store / "broken.war").write_text("no archive")
    report = json.loads(migrate(store, "--json", "--no-run").stdout)
    found = [(one["file"], one["severity"]) for one in report["findings"] if ".war" in one.get("file", "")]
    assert found == [("broken.war", "blocks"), ("flow.war", "blocks"), ("flow.war/functions.py", "change")]


def test_the_report_is_written_as_a_page_too(migrate, store, tmp_path):
    pack(store, "needs", "import nothing_of_this_name\n" + ECHO)
    done = migrate(store, "--no-run", "--output", "report.md")
    assert "needs a change" in done.stdout
    assert "pip install nothing-of-this-name" in done.stdout
    page = (tmp_path / "report.md").read_text()
    assert "| needs | 1.0 | needs.mar | needs a change | not tried |" in page
    assert (
        "| change | handler.py:1 | nothing_of_this_name is not installed | pip install nothing-of-this-name |" in page
    )


def test_the_store_is_left_as_it_was(migrate, store):
    pack(store, "echo")
    folder = write_model(store, "folder", "open('written', 'w')\n" + ECHO)
    before = sorted(path.name for path in store.rglob("*"))
    migrate(store, "--no-run")
    assert sorted(path.name for path in store.rglob("*")) == before
    assert not (folder / "written").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("none",), "model store none is not there"),
        (("file",), "model store file is not a folder"),
        (("empty",), "no models in empty"),
        (("store", "--config", "none.properties"), "properties file none.properties is not there"),
        (("store", "--config", "empty"), "properties file empty is a folder"),
        (("store", "--config", "bad.properties"), "\\u needs four hexadecimal digits"),
        (("store", "--output", "none/report.md"), "--output none/report.md cannot be written"),
        (("store", "--timeout", "0"), "Invalid value for '--timeout'"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_sentence(migrate, store, tmp_path, arguments, sentence):
    pack(store, "echo")
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.properties").write_text("key=\\u12\n")
    done = migrate(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
