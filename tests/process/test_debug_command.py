"""``flambeau debug``, run as a command, mostly on a terminal of its own: that is what it is for."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.serving import write_model

BIN = Path(sys.executable).with_name("flambeau")
TIMEOUT_S = 60.0

STAGED = """
import torch
from ts.torch_handler.base_handler import BaseHandler


class Doubler(BaseHandler):
    def initialize(self, context):
        self.context = context
        self.device = "cpu"

    def preprocess(self, data):
        return torch.tensor([float(bytes(row["body"])) for row in data])

    def inference(self, data):
        return data * 2

    def postprocess(self, data):
        print("in postprocess")
        return data.tolist()
"""

PIPELINE = """
words: {run: "stages.py:words"}
count: {run: "stages.py:count", after: words}
longest: {run: "stages.py:longest", after: words}
both: {after: [count, longest]}
"""

STAGES = """
def words(rows):
    return [text.split() for text in rows]

def count(rows):
    return [len(each) for each in rows]

def longest(rows):
    return [max(each, key=len) for each in rows]
"""


@pytest.fixture
def run(tmp_path):
    """Runs the command in the test's folder, to its end."""

    def run(*arguments: object, stdin: str = ""):
        return subprocess.run(
            [BIN, "debug", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "200"},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )

    return run


TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
"""Makes standard input the terminal that Ctrl-C comes from, and becomes the command."""


class Terminal:
    """The command on a terminal."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self.shown = ""
        self._seen = 0
        self._terminal, commands = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, BIN, "debug", *map(str, arguments)],
            cwd=folder,
            env={**os.environ, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"},
            stdin=commands,
            stdout=commands,
            stderr=commands,
            start_new_session=True,
        )
        os.close(commands)

    def wait_for(self, text: str) -> None:
        """Until it shows a text, behind those that were waited for before."""
        deadline = time.monotonic() + TIMEOUT_S
        while text not in self.shown[self._seen :]:
            assert time.monotonic() < deadline, f"no {text!r} in\n{self.shown}"
            assert self._read(), f"ended without {text!r}:\n{self.shown}"
        self._seen = self.shown.index(text, self._seen) + len(text)

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def end(self) -> int:
        """Read on to the end. Returns the exit code."""
        while self._read():
            pass
        return self._process.wait(TIMEOUT_S)

    def hang_up(self) -> None:
        os.close(self._terminal)
        self._process.kill()
        self._process.wait()

    def _read(self) -> bool:
        if not select.select([self._terminal], [], [], 1.0)[0]:
            return True
        try:
            self.shown += os.read(self._terminal, 65536).decode(errors="replace")
        except OSError:  # how the end of a terminal reads on Linux
            return False
        return True


@pytest.fixture
def terminal(tmp_path):
    terminals = []

    def start(*arguments: object) -> Terminal:
        terminals.append(Terminal(tmp_path, *arguments))
        return terminals[-1]

    yield start
    for started in terminals:
        started.hang_up()


def test_each_stage_of_a_base_handler_is_shown_with_what_it_is_given_and_gives(run, tmp_path):
    (tmp_path / "in.bin").write_text("21")
    write_model(tmp_path, "doubler", STAGED)
    manifest = tmp_path / "doubler-1.0" / "MAR-INF" / "MANIFEST.json"
    manifest.write_text(manifest.read_text().replace("handler.py:handle", "handler.py"))
    done = run("doubler-1.0", "--input", "in.bin", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    shown = [(stage["stage"], stage.get("given"), stage.get("gave")) for stage in report["stages"]]
    tensor = "Tensor float32 [1] cpu, 4 bytes"
    row = "list[1] of dict{body: bytearray[2]}"
    assert shown == [
        ("initialize", None, None),
        ("preprocess", row, tensor),
        ("inference", tensor, tensor),
        ("postprocess", tensor, "list[1] of float 42"),
        ("handle", row, "list[1] of float 42"),
    ]
    (batch,) = report["batches"]
    assert batch["answers"] == [{"status": 200, "contentType": "", "bytes": 4, "body": 42.0}]
    assert {"HandlerTime", "PredictionTime"} == {metric["name"] for metric in batch["metrics"]}
    assert "in postprocess" in done.stderr


def test_stages_of_a_pipeline_are_shown(run, tmp_path):
    (tmp_path / "stages.py").write_text(STAGES)
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    done = run("pipeline.yaml", "-d", "to be or not", "--json")
    report = json.loads(done.stdout)
    assert [stage["stage"] for stage in report["stages"]] == ["initialize", "words", "count", "longest", "handle"]
    assert report["batches"][0]["answers"][0]["body"] == {"count": 4, "longest": "not"}


def test_an_object_of_a_file_is_run_and_several_inputs_are_a_batch(run, tmp_path):
    (tmp_path / "stages.py").write_text(STAGES)
    (tmp_path / "app.py").write_text(
        "import flambeau\nfrom stages import words, count\n"
        "pipeline = flambeau.Pipeline([flambeau.Stage('words', words), flambeau.Stage('count', count)])\n"
    )
    (tmp_path / "a.txt").write_text("one two")
    done = run("app.py:pipeline", "-i", "a.txt", "-d", "three", "--json")
    report = json.loads(done.stdout)
    assert [answer["body"] for answer in report["batches"][0]["answers"]] == [2, 1]
    assert [stage["stage"] for stage in report["stages"]].count("words") == 2


def test_what_is_raised_is_shown_from_the_handlers_frames_on_with_what_a_client_gets(run, tmp_path):
    write_model(tmp_path, "failing", "def handle(data, context):\n    return data and [1 / 0 for row in data]\n")
    done = run("failing-1.0", "-d", "x")
    assert done.returncode == 1
    assert "503 Service Unavailable, application/json" in done.stdout
    _, _, trace = done.stdout.partition("Traceback (most recent call last):\n")
    assert trace.startswith(f'  File "{tmp_path}/failing-1.0/handler.py", line 2, in handle')
    assert trace.endswith("ZeroDivisionError: division by zero\n")


def test_a_load_that_fails_is_shown_and_nothing_is_asked(run, tmp_path):
    write_model(tmp_path, "broken", "import nothing_of_this_name\n")
    done = run("broken-1.0", "-d", "x", "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["batches"] == []
    assert report["failure"]["error"] == "ModuleNotFoundError: No module named 'nothing_of_this_name'"
    assert f'"{tmp_path}/broken-1.0/handler.py", line 1' in report["failure"]["traceback"]


def test_without_an_input_the_model_is_only_loaded(run, tmp_path):
    write_model(tmp_path, "echo")
    done = run("echo-1.0", "--json")
    assert done.returncode == 0
    assert [stage["stage"] for stage in json.loads(done.stdout)["stages"]] == ["initialize"]


def test_repeating_says_how_long_each_stage_took(run, tmp_path):
    write_model(tmp_path, "echo")
    done = run("echo-1.0", "-d", "x", "--repeat", "20")
    assert done.returncode == 0
    assert done.stdout.count("answer ") == 1
    assert "20 batches, ms" in done.stdout
    assert done.stdout.splitlines()[-1].split()[0] == "handle"


def test_a_model_runs_in_its_own_folder_and_is_unpacked_for_the_time_being(run, tmp_path):
    source = "import os\ndef handle(data, context):\n    return data and [os.getcwd() for row in data]\n"
    (tmp_path / "where.py").write_text(source)
    subprocess.run([BIN, "archive", "--model-name", "where", "--handler", "where.py"], cwd=tmp_path, check=True)
    done = run("where.mar", "-d", "x", "--json")
    folder = json.loads(done.stdout)["batches"][0]["answers"][0]["body"]
    assert folder != str(tmp_path)
    assert not Path(folder).exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("none.mar",), "model not found: none.mar"),
        (("echo-1.0", "-i", "none.jpg"), "none.jpg: no such file"),
        (("echo-1.0", "-i", "echo-1.0"), "echo-1.0 is a folder"),
        (("echo-1.0", "--device", "tpu"), "device=tpu: must be cpu, cuda or cuda:N"),
        (("echo-1.0", "-i", "-", "--watch"), "standard input can be read once"),
        (("notes.txt",), "neither a zip file"),
        (("empty",), "empty names no handler; say which with --handler"),
    ],
)
def test_what_cannot_be_debugged_is_refused_with_a_sentence(run, tmp_path, arguments, sentence):
    write_model(tmp_path, "echo")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no archive")
    done = run(*arguments)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("error: ")
    assert sentence in done.stderr


def test_breakpoint_works(terminal, tmp_path):
    source = (
        "def handle(data, context):\n    answer = 42\n    breakpoint()\n    return [answer for row in data or []]\n"
    )
    write_model(
        tmp_path, "paused", source.replace("    answer", "    if data is None:\n        return None\n    answer", 1)
    )
    shell = terminal("paused-1.0", "-d", "x")
    shell.wait_for("(Pdb) ")
    shell.type("p answer + 1\n")
    shell.wait_for("43")
    shell.type("c\n")
    shell.wait_for("200 OK")
    assert shell.end() == 0


def test_leaving_the_debugger_leaves_the_command(terminal, tmp_path):
    write_model(tmp_path, "paused", "def handle(data, context):\n    if data:\n        breakpoint()\n    return data\n")
    shell = terminal("paused-1.0", "-d", "x")
    shell.wait_for("(Pdb) ")
    shell.type("q\n")
    assert shell.end() == 130


def test_the_debugger_opens_where_something_was_raised(terminal, tmp_path):
    write_model(tmp_path, "failing", "def handle(data, context):\n    secret = 7\n    return data and secret.nothing\n")
    shell = terminal("failing-1.0", "-d", "x", "--pdb")
    shell.wait_for("(Pdb) ")
    shell.type("p secret * 6\n")
    shell.wait_for("42")
    shell.type("q\n")
    assert shell.end() == 1


def test_a_save_runs_it_again_but_not_while_somebody_debugs(terminal, tmp_path):
    def save(statement: str) -> None:
        text = f"def handle(data, context):\n    if data is None:\n        return None\n    {statement}\n"
        (folder / "handler.py.new").write_text(text)
        (folder / "handler.py.new").rename(folder / "handler.py")

    folder = write_model(tmp_path, "edited")
    save("return ['first']")
    shell = terminal("edited-1.0", "-d", "x", "--watch")
    shell.wait_for("first\r\n")
    shell.wait_for("Ctrl-C ends")
    save("import time; print('asleep', flush=True); time.sleep(1000)")
    shell.wait_for("has changed")
    shell.wait_for("asleep")
    save("breakpoint(); return ['second']")
    shell.wait_for("(Pdb) ")
    save("return ['third']")
    shell.type("p 6 * 7\n")
    shell.wait_for("42")
    shell.type("c\n")
    shell.wait_for("third\r\n")
    shell.wait_for("Ctrl-C ends")
    shell.type("\x03")
    assert shell.end() == 130
