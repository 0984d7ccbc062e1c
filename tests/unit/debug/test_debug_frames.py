"""Tracebacks that begin where the model's own code does."""

from __future__ import annotations

import json

import pytest

from flambeau.debug.frames import own_traceback
from flambeau.debug.trace import Trace


@pytest.fixture
def handler(tmp_path):
    """A function of a model's folder that hands what it is given to a library."""
    source = (
        "import json\n\ndef handle(text):\n    return inner(text)\n\ndef inner(text):\n    return json.loads(text)\n"
    )
    (tmp_path / "handler.py").write_text(source)
    names: dict[str, object] = {}
    exec(compile(source, str(tmp_path / "handler.py"), "exec"), names)
    return names["handle"]


def test_the_frames_before_the_handler_are_left_out_and_those_behind_it_stay(handler, tmp_path):
    watched = Trace(lambda call: None).around("outer", lambda text: handler(text))
    with pytest.raises(json.JSONDecodeError) as caught:
        watched("{")
    lines = own_traceback(caught.value, tmp_path).splitlines()
    places = [line.strip().rpartition(", ")[2] for line in lines if line.startswith("  File")]
    assert places[:2] == ["in handle", "in inner"]
    assert places[2] == "in loads"
    assert lines[-1].startswith("json.decoder.JSONDecodeError: ")


def test_the_watching_is_not_among_the_frames(handler, tmp_path):
    handler.__globals__["inner"] = Trace(lambda call: None).around("inner", json.loads)
    with pytest.raises(json.JSONDecodeError) as caught:
        handler("{")
    assert "trace.py" not in own_traceback(caught.value, tmp_path)


def test_causes_are_shown(tmp_path):
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise ValueError("outer") from inner
    except ValueError as error:
        text = own_traceback(error, tmp_path)
    assert "KeyError: 'inner'" in text
    assert "direct cause" in text
    assert text.endswith("ValueError: outer\n")


def test_a_file_that_is_not_python_has_no_frames_but_its_line(tmp_path):
    path = tmp_path / "handler.py"
    path.write_text("def handle(:\n")
    with pytest.raises(SyntaxError) as caught:
        compile(path.read_text(), str(path), "exec")
    caught.value.__traceback__ = None
    assert own_traceback(caught.value, tmp_path).startswith(f'  File "{path}", line 1')
