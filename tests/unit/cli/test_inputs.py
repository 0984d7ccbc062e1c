"""What a command line sends."""

import io
import sys
from types import SimpleNamespace

import pytest

from flambeau.cli.failures import UsageProblem
from flambeau.cli.inputs import gather_inputs, guess_content_type


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a/cat.JPG", "image/jpeg"),
        ("x.json", "application/json"),
        ("notes.txt", "text/plain"),
        ("weights", "application/octet-stream"),
        ("x.json.gz", "application/octet-stream"),
    ],
)
def test_a_content_type_follows_from_the_name(name, content_type):
    assert guess_content_type(name) == content_type


def test_files_come_first_then_text_then_json(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    inputs = gather_inputs([str(tmp_path / "a.png")], text="hi", json_text='{"a": 1}')
    assert [(one.content_type, one.read()) for one in inputs] == [
        ("image/png", b"\x89PNG"),
        ("text/plain; charset=utf-8", b"hi"),
        ("application/json", b'{"a": 1}'),
    ]


def test_a_content_type_that_is_given_is_that_of_all(tmp_path):
    (tmp_path / "a.png").touch()
    inputs = gather_inputs([str(tmp_path / "a.png")], text="hi", content_type="x/y")
    assert {one.content_type for one in inputs} == {"x/y"}


def test_a_dash_is_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"piped")))
    (one,) = gather_inputs(["-"])
    assert (one.name, one.read()) == ("standard input", b"piped")


def test_what_cannot_be_read_is_refused_before_anything_is_sent(tmp_path):
    with pytest.raises(UsageProblem, match="is a folder"):
        gather_inputs([str(tmp_path)])
    with pytest.raises(UsageProblem, match="no such file"):
        gather_inputs([str(tmp_path / "none")])


def test_json_that_is_none_is_refused():
    with pytest.raises(UsageProblem, match="not JSON"):
        gather_inputs([], json_text="{a: 1}")
