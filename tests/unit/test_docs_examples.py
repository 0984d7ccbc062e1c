"""Python examples of the documentation run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("local",)
"""Those whose examples are whole programs; on other pages they are parts of handlers."""


@pytest.mark.parametrize("name", PAGES)
def test_examples_of_a_page_run_one_after_the_other(name, tmp_path, monkeypatch):
    page = DOCS / f"{name}.md"
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": f"docs_{page.stem}"}
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"{page.name}, example {number}", "exec"), names)
