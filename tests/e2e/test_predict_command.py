"""``flambeau predict`` against a real server."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from flambeau.cli.main import run
from tests.e2e.conftest import order
from tests.serving import ServerProcess, write_model

BIN = Path(sys.executable).with_name("flambeau")
RAW = ("--content-type", "application/octet-stream")
"""What the model takes: it is not given text as text."""


@pytest.fixture
def predict(server, tmp_path, monkeypatch, capfdbinary):
    """Runs the command in the test's folder. Returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def predict(*arguments: object, url: str = server.inference, model: str = "obedient"):
        code = run(["predict", model, *map(str, arguments), "--url", url])
        printed = capfdbinary.readouterr()
        return code, printed.out, printed.err.decode()

    return predict


def test_a_pipe_gets_the_bytes_of_the_answer(predict, tmp_path):
    (tmp_path / "x.bin").write_bytes(bytes(range(256)))
    assert predict("x.bin") == (0, bytes(range(256)), "")


def test_text_and_json_are_sent_as_what_they_are(predict, tmp_path, tmp_path_factory):
    typed = (
        "def handle(data, context):\n    return data and [[type(row['body']).__name__, row['body']] for row in data]"
    )
    folder = write_model(tmp_path, "typed", typed)
    with ServerProcess(folder, folder=tmp_path_factory.mktemp("typed"), options=["--workers", "1"]) as server:
        for arguments, seen in [(("-d", "grüße"), ["str", "grüße"]), (("--json", '{"a": 1}'), ["dict", {"a": 1}])]:
            code, out, error = predict(*arguments, url=server.inference, model="typed")
            assert (code, json.loads(out), error) == (0, seen, "")


def test_the_type_of_a_file_is_that_of_its_name(predict, tmp_path):
    (tmp_path / "x.json").write_text('["a"]')
    code, _, error = predict("x.json")  # decoded by its type, it is no bytes any more, and the handler fails
    assert (code, error.splitlines()[0]) == (1, "error: Prediction failed")
    assert predict("x.json", *RAW) == (0, b'["a"]', "")


def test_a_version_can_be_named(predict):
    assert predict("-d", "a", *RAW, "--version", "1.0")[0] == 0
    code, _, error = predict("-d", "a", "--version", "9")
    assert (code, error.splitlines()[0]) == (1, "error: Model version: 9 does not exist for model: obedient")


def test_several_answers_are_a_line_each_in_the_order_of_the_files(predict, tmp_path):
    names = [f"{number}.txt" for number in range(20)]
    for name in names:
        (tmp_path / name).write_text(name)
    code, out, _ = predict(*names, *RAW, "--parallel", 5)
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [(line["input"], line["answer"]) for line in lines] == [(name, name) for name in names]


def test_one_that_fails_does_not_keep_the_others(predict, tmp_path):
    (tmp_path / "bad.bin").write_bytes(order(status=418, phrase="teapot"))
    (tmp_path / "good.bin").write_bytes(b"fine")
    code, out, error = predict("bad.bin", "good.bin")
    assert code == 1
    assert [json.loads(line)["answer"] for line in out.splitlines()] == ["fine"]
    assert error.startswith("error: bad.bin: ")


def test_an_answer_is_written_to_a_file(predict, tmp_path):
    assert predict("-d", "hello", *RAW, "--output", "answer.txt") == (0, b"", "")
    assert (tmp_path / "answer.txt").read_bytes() == b"hello"


def test_answers_are_written_to_a_folder(predict, tmp_path):
    (tmp_path / "a.bin").write_bytes(b"\xff")
    (tmp_path / "b.bin").write_bytes(b"[1]")
    assert predict("a.bin", "b.bin", "--output", "answers")[0] == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "answers").iterdir()} == {
        "a.bin.out": b"\xff",
        "b.bin.json": b"[1]",
    }


def test_repeating_says_how_long_it_took(predict):
    code, out, error = predict("-d", "a", *RAW, "--repeat", 12, "--parallel", 3)
    assert (code, out) == (0, b"a")
    assert error.startswith("12 requests, 0 failed, ")
    assert "latency in ms: min " in error


@pytest.mark.parametrize(
    ("arguments", "code", "sentence", "hint"),
    [
        ((), 2, "nothing to send", "-d TEXT"),
        (("none.jpg",), 2, "none.jpg: no such file", ""),
        (("/",), 2, "/ is a folder", ""),
        (("--json", "{"), 2, "--json {: not JSON", ""),
        (("-d", "a", "-o", "none/x"), 2, "there is no folder none", ""),
        (("-d", "a", "-o", "/"), 2, "--output / is a folder", ""),
        (("-d", "a", "--json", "1", "-o", __file__), 2, "is a file", "name a folder"),
        (("-d", "a", "--key-file", "none.json"), 2, "none.json: No such file", ""),
        (("-d", "a", "--repeat", "0"), 2, "Invalid value for '--repeat'", "flambeau predict --help"),
        (("-d", "a", "--timeout", "x"), 2, "Invalid value for '--timeout'", ""),
    ],
)
def test_what_cannot_be_sent_is_refused_with_what_to_do(predict, arguments, code, sentence, hint):
    status, out, error = predict(*arguments)
    assert (status, out) == (code, b"")
    assert sentence in error
    assert hint in error


def test_an_unknown_model_is_named_with_where_to_look(predict):
    code, _, error = predict("-d", "a", model="none")
    assert code == 1
    assert error == "error: Model not found: none\n  hint: flambeau models shows what is served\n"


def test_without_a_server_it_says_so(predict, unused_url):
    code, _, error = predict("-d", "a", "-d", "b", url=unused_url)
    assert code == 1
    assert error.startswith(f"error: no server at {unused_url}\n  hint: start one with flambeau serve")


def test_the_wrong_address_of_the_right_server_is_told_from_a_missing_model(predict, server):
    code, _, error = predict("-d", "a", url=server.management)
    assert code == 1
    assert "--url wants the inference address" in error


def test_a_terminal_gets_json_in_a_readable_form(server, tmp_path):
    (tmp_path / "x.bin").write_bytes(b'["a\x1b[31m"]'.replace(b"\x1b", b"\\u001b"))
    assert on_terminal(["x.bin", "--url", server.inference], tmp_path) == (0, '[\r\n  "a\\u001b[31m"\r\n]\r\n')


def test_a_terminal_is_not_given_binary_data(server, tmp_path):
    (tmp_path / "x.bin").write_bytes(b"\xff\xd8\xff")
    code, shown = on_terminal(["x.bin", "--url", server.inference], tmp_path)
    assert code == 2
    assert "the answer is 3 bytes, binary" in shown
    assert "--output" in shown


def on_terminal(arguments: list[str], folder: Path) -> tuple[int, str]:
    """Exit code, and what the terminal shows."""
    controller, terminal = pty.openpty()
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "dumb"}
    process = subprocess.Popen(
        [BIN, "predict", "obedient", *arguments], cwd=folder, env=environment, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    shown = b""
    try:
        while part := os.read(controller, 4096):
            shown += part
    except OSError:
        pass  # how the end of a terminal reads on Linux
    os.close(controller)
    return process.wait(30), shown.decode()
