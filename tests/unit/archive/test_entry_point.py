from pathlib import Path
from textwrap import dedent

import pytest

from flambeau.archive.entry_point import check_entry_point
from flambeau.errors import PackagingError


def doubts(tmp_path: Path, source: str, function: str | None = None) -> str:
    path = tmp_path / "handler.py"
    path.write_text(dedent(source))
    return "\n".join(check_entry_point(path, function))


@pytest.mark.parametrize(
    "source",
    [
        "def handle(data, context): ...",
        "async def handle(data, context): ...",
        "handle = make()",
        "handle: object = make()",
        "from elsewhere import run as handle",
        "from elsewhere import *",
        "try:\n    import fast as handle\nexcept ImportError:\n    def handle(data, context): ...",
        "class A:\n    def handle(self, data, context): ...",
        "class A(BaseHandler): ...",
        "class A:\n    handle = other",
        "class A:\n    def __init__(self):\n        self.handle = MicroBatching(self)",
        "class A: ...\nclass B: ...\ndef handle(data, context): ...",
        "if True:\n    class A(BaseHandler): ...",
    ],
)
def test_a_handler_with_an_entry_point_raises_no_doubts(tmp_path, source):
    assert doubts(tmp_path, source) == ""


@pytest.mark.parametrize(
    ("source", "doubt"),
    [
        ("", "no function named handle and no class"),
        ("def outer():\n    def handle(data, context): ...", "no function named handle and no class"),
        ("class A(B): ...\nclass C(B): ...", "no function named handle and 2 classes"),
        ("class A:\n    def predict(self): ...", "class A has no method named handle"),
    ],
)
def test_a_handler_without_one_raises_a_doubt(tmp_path, source, doubt):
    assert doubt in doubts(tmp_path, source)


def test_a_function_that_was_named_is_looked_for(tmp_path):
    assert doubts(tmp_path, "def run(data, context): ...", "run") == ""
    assert "no function named run" in doubts(tmp_path, "def handle(data, context): ...", "run")
    assert "workers will use the class A" in doubts(tmp_path, "class A(B): ...", "run")


@pytest.mark.parametrize(
    ("source", "message"),
    [(b"x = 1\ndef f(:\n", r"handler\.py, line 2: "), (b"x = '\0'", "null byte"), (b"# coding: none\n", "none")],
)
def test_a_handler_that_is_not_python_is_refused_with_its_place(tmp_path, source, message):
    path = tmp_path / "handler.py"
    path.write_bytes(source)
    with pytest.raises(PackagingError, match=message):
        check_entry_point(path, None)
