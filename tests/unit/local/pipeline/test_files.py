"""Pipelines from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flambeau.errors import ConfigError
from flambeau.local.pipeline import Pipeline

CODE = """
class Add:
    def __init__(self, number=1):
        self.number = number

    def __call__(self, rows):
        return [row + self.number for row in rows]

def double(rows):
    return [2 * row for row in rows]

def total(rows):
    return [sum(row.values()) for row in rows]

def is_large(row):
    return row > 10

def size_of(row):
    return row
"""

YAML = """
name: sums
maxBatchDelay: 2
add:
  run: code.py:Add
  options: {number: 3}
  workers: 2
double:
  run: code.py:double
  batchSize: 4
large:
  run: code.py:double
  when: code.py:is_large
sum:
  run: code.py:total
  after: [double, large]
  sizeOf: code.py:size_of
"""

TOML = """
batching_timeout = 2
[add]
backend = "code.py:Add"
next = "double,large"
[double]
backend = "code.py:double"
max = 4
next = "sum"
[large]
run = "code.py:double"
when = "code.py:is_large"
next = "sum"
[sum]
backend = "code.py:total"
map = "double[result:left],large[result:right]"
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Writes a file beside ``code.py``."""
    (tmp_path / "code.py").write_text(CODE)

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def error_of(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        Pipeline.from_file(path)
    return str(caught.value)


def test_a_yaml_file_is_a_pipeline(write: Any):
    with Pipeline.from_file(write("sums.yaml", YAML)) as pipeline:
        assert pipeline.name == "sums"
        assert pipeline(1) == 8
        assert pipeline(9) == 24 + 48
        settings = {stage["name"]: stage["model"] for stage in pipeline.describe()["stages"]}
    assert len(settings["add"]["workers"]) == 2
    assert (settings["double"]["batchSize"], settings["double"]["maxBatchDelayMs"]) == (4, 2.0)


def test_a_toml_file_with_torchpipes_keys_is_a_pipeline(write: Any):
    with Pipeline.from_file(str(write("sums.toml", TOML))) as pipeline:
        assert pipeline.name == "sums"
        assert pipeline(1) == 4
        assert pipeline(10) == 22 + 22


def test_a_dict_is_a_pipeline(write: Any):
    folder = write("unused", "").parent
    with Pipeline.from_dict({"a": {"run": "code.py:double"}, "b": {}}, folder=folder, name="two") as pipeline:
        assert pipeline.name == "two"
        assert pipeline(1) == 2


def test_a_ready_made_stage_is_found_by_name(write: Any):
    with Pipeline.from_file(write("top.yaml", "top: {run: TopK, options: {k: 1}}")) as pipeline:
        assert pipeline.describe()["stages"][0]["model"]["source"] == "TopK"


def test_options_of_a_torchpipe_backend_stand_beside_its_settings(write: Any):
    with Pipeline.from_file(
        write("p.toml", '[add]\nbackend = "code.py:Add"\ninstance_num = 1\nnumber = 5')
    ) as pipeline:
        assert pipeline(1) == 6
    assert "unexpected keyword argument 'size'" in error_of(write("p.toml", '[add]\nbackend = "code.py:Add"\nsize = 5'))


def test_a_pipeline_file_is_a_stage_and_is_closed_with_the_one_that_names_it(write: Any):
    write("inner.toml", '[a]\nrun = "code.py:double"\n')
    pipeline = Pipeline.from_file(
        write("outer.yaml", "batchSize: 4\ninner: {run: inner.toml}\nout: {run: 'code.py:double'}")
    )
    inner = pipeline._members[0].model
    assert isinstance(inner, Pipeline)
    assert pipeline(1) == 4
    pipeline.close()
    assert inner._is_closing


def test_a_condition_may_be_items_of_the_row(write: Any):
    with Pipeline.from_file(write("if.yaml", "a: {}\nb: {when: {kind: text}}\nc: {after: [a, b]}")) as pipeline:
        row = {"kind": "text", "size": 1}
        assert pipeline(row) == {"a": row, "b": row}
        assert pipeline({"kind": "image"}) == {"a": {"kind": "image"}}
        assert pipeline({}) == {"a": {}}
        with pytest.raises(Exception, match="stage 'b': its condition raised TypeError: the row is int, not a mapping"):
            pipeline(7)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("p.yaml", "", "stages=[]: there must be at least one"),
        ("p.toml", "", "stages=[]: there must be at least one"),
        ("p.yaml", "batchSize: 8", "there must be at least one"),
        ("p.yaml", "- a\n- b", "must be a mapping of stages, not list"),
        ("p.yaml", "a: {run: [", "line 1"),
        ("p.yaml", "a: {}\na: {}", "line 2: 'a' is there twice"),
        ("p.yaml", "a:\n  workers: 1\n  workers: 2", "line 3: 'workers' is there twice"),
        ("p.yaml", "a: !!python/object:os.system {}", "line 1: could not determine a constructor"),
        ("p.toml", "[a]\n[a]", "line 2"),
        ("p.toml", "[a", "Expected ']' at the end of a table declaration"),
        ("p.yaml", "1: {}", "name=1: must be text"),
        ("p.json", "{}", "must end in one of .yaml, .yml, .toml"),
        ("p.toml", '[a]\nnext="b"\n[b]\nnext="a"', "p.toml: stages=a → b → a: go in a circle"),
        ("p.yaml", "a: {after: b}", "a.after=b: is no stage"),
        ("p.yaml", "a: {run: net.mar}", "a.run=net.mar: Model not found"),
        ("p.yaml", "a: {run: 'code.py:missing'}", "a.run=code.py:missing: Model not found"),
        ("p.yaml", "a: {run: 'no_such_module:f'}", "there is no module no_such_module"),
        ("p.yaml", "a: {run: 'code.py'}", "name what to load from the file"),
        ("p.yaml", "a: {run: DecodeImages}", "a.run=DecodeImages: there is no stage 'DecodeImages'"),
        ("p.yaml", "a: {run: TopK, options: {top: 5}}", "a.options={'top': 5}: TopK: "),
        ("p.yaml", "a: {run: 'code.py:double', options: {k: 5}}", "code.py:double is no class"),
        ("p.yaml", "a: {run: 'code.py:Add', options: {k: 5}}", "unexpected keyword argument 'k'"),
        ("p.yaml", "a: {when: 'code.py:missing'}", "a.when=code.py:missing: Model not found"),
        ("p.yaml", "a: {when: '.'}", "a.when=.: must name a function"),
        ("p.yaml", "a: {workers: 2}", "a.workers=2: the stage runs nothing"),
        ("p.yaml", "a: {run: p.yaml}", "p.yaml → p.yaml: pipelines that are stages of themselves"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_file(write: Any, name: str, text: str, problem: str):
    path = write(name, text)
    error = error_of(path)
    assert problem in error
    assert str(path) in error


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    assert error_of(tmp_path / "none.yaml") == f"file={tmp_path / 'none.yaml'}: no such file or directory"


def test_a_file_that_is_not_text_is_refused(tmp_path: Path):
    path = tmp_path / "p.toml"
    path.write_bytes(b"\xff\xfe")
    assert "is not UTF-8 text" in error_of(path)


def test_stages_that_were_opened_are_closed_when_a_later_one_cannot_be(write: Any, monkeypatch: pytest.MonkeyPatch):
    closed = []
    monkeypatch.setattr(Pipeline, "close", lambda self, timeout_s=None: closed.append(self.name))
    write("inner.toml", '[a]\nrun = "code.py:double"\n')
    error_of(write("outer.yaml", "inner: {run: inner.toml}\nbad: {run: missing.mar}"))
    assert "inner" in closed
