import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from flambeau.archive.manifest import MANIFEST_PATH
from flambeau.archive.reader import read_manifest
from flambeau.cli import main, torch_model_archiver


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "handler.py").write_text("def handle(data, context): ...\n")
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra/labels.json").write_text("{}")
    return tmp_path


@dataclass(frozen=True)
class Result:
    code: int
    stdout: str
    stderr: str


Command = Callable[..., Result]


@pytest.fixture
def archive(here: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """``flambeau archive`` in this process."""

    def call(*arguments: str) -> Result:
        code = main.run(["archive", "--model-name", "m", *arguments])
        return Result(code, *capsys.readouterr())

    return call


@pytest.fixture
def shim(here: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """``torch-model-archiver`` in this process."""

    def call(*arguments: str) -> Result:
        try:
            code = torch_model_archiver.run(["--model-name", "m", *arguments])
        except SystemExit as leaving:
            code = leaving.code
        return Result(code, *capsys.readouterr())

    return call


@pytest.mark.parametrize("command", [["flambeau", "archive"], ["torch-model-archiver"]])
def test_both_commands_are_installed_and_exit_as_their_work_ends(here, command):
    program = Path(sys.executable).parent / command[0]
    options = ["--model-name", "m", "--handler", "handler.py", "-v", "3"]
    codes = [
        subprocess.run([program, *command[1:], *options], timeout=60, capture_output=True, check=False).returncode
        for _ in range(2)
    ]
    assert codes == [0, 1]
    assert read_manifest(here / "m.mar").model_version == "3"


def test_archive_writes_version_1_0_here_and_says_what_it_wrote(here, archive):
    result = archive("--handler", "handler.py", "--extra-files", "extra")
    assert result.code == 0
    assert result.stdout == f"m.mar: 3 files, {(here / 'm.mar').stat().st_size} bytes\n"
    assert result.stderr == ""
    assert read_manifest(here / "m.mar").model_version == "1.0"


def test_json_holds_path_size_digest_and_members(here, archive):
    result = archive("--handler", "handler.py", "--extra-files", "extra", "--export-path", "new/out", "--json")
    path = here / "new/out/m.mar"
    assert json.loads(result.stdout) == {
        "path": str(path.resolve()),
        "size": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "members": [MANIFEST_PATH, "handler.py", "labels.json"],
    }


def test_a_folder_has_a_size_and_no_digest(here, archive):
    result = archive("--handler", "handler.py", "--archive-format", "no-archive", "--json")
    made = json.loads(result.stdout)
    assert made["sha256"] is None
    assert made["size"] == sum(file.stat().st_size for file in (here / "m").rglob("*") if file.is_file())


def test_a_problem_is_one_line_and_a_hint(archive):
    result = archive("--handler", "none.py")
    assert result.code == 1
    problem, hint = result.stderr.splitlines()
    assert problem == "error: File does not exist: none.py"
    assert hint.startswith("  hint: --handler takes a file, or one of base_handler")


def test_doubts_are_warnings(here, archive):
    (here / "handler.py").write_text("")
    result = archive("--handler", "handler.py")
    assert result.code == 0
    assert result.stderr.startswith("warning: handler.py: no function named handle")


@pytest.mark.parametrize("option", [("--archive-format", "rar"), ("--runtime", "perl")])
def test_an_unknown_choice_is_refused_with_the_choices(archive, option):
    result = archive("--handler", "handler.py", *option)
    assert result.code == 1
    assert f"error: Unknown {option[0][2:]}: {option[1]}\n  hint: Choose from " in result.stderr


def test_the_shim_takes_all_of_torch_model_archivers_options(here, shim):
    for name, content in (("model.py", ""), ("model.pt", "0"), ("c.yaml", "batchSize: 1"), ("requirements.txt", "")):
        (here / name).write_text(content)
    result = shim(
        *("-v", "2.0", "--handler", "handler:handle", "--serialized-file", "model.pt", "--model-file", "model.py"),
        *("--extra-files", "extra/labels.json,extra", "--runtime", "python3", "--export-path", str(here)),
        *("--archive-format", "tgz", "-r", "requirements.txt", "-c", "c.yaml"),
    )
    assert (result.code, result.stdout, result.stderr) == (0, "", "")
    manifest = read_manifest(here / "m.tar.gz")
    assert (manifest.model_version, manifest.handler, manifest.runtime) == ("2.0", "handler:handle", "python3")
    assert (manifest.serialized_file, manifest.model_file) == ("model.pt", "model.py")
    assert (manifest.config_file, manifest.requirements_file) == ("c.yaml", "requirements.txt")


def test_the_shim_requires_a_version(shim):
    result = shim("--handler", "handler.py")
    assert result.code == 2
    assert "the following arguments are required: -v/--version" in result.stderr


def test_the_shim_overwrites_only_by_force_and_says_so(here, shim):
    target = here / "m.mar"
    assert shim("--handler", "handler.py", "-v", "1").code == 0
    refused = shim("--handler", "handler.py", "-v", "2")
    assert refused.code == 1
    assert refused.stderr == (
        f"ERROR - {target} already exists.\n"
        "Please specify --force/-f option to overwrite the model archive output file.\n"
        "See -h/--help for more details.\n"
    )
    forced = shim("--handler", "handler.py", "-v", "2", "-f")
    assert (forced.code, forced.stderr) == (0, f"WARNING - Overwriting {target} ...\n")
    assert read_manifest(target).model_version == "2"


def test_the_shim_names_a_missing_extra_file_in_torch_model_archivers_words(here, shim):
    result = shim("--handler", "handler.py", "-v", "1", "--extra-files", "none.txt")
    assert (result.code, result.stderr) == (1, "ERROR - File does not exist: none.txt\n")
    assert not (here / "m.mar").exists()
