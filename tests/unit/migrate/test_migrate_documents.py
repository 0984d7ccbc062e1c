"""Findings lead to sections of the documentation that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flambeau.migrate import findings

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "src" / "flambeau" / "migrate"
NAMED = {findings.PAGE, findings.TO_DO, findings.DIFFERENCES, findings.MISSING, findings.CONFIGURATION}
WRITTEN = {name for path in SOURCE.glob("*.py") for name in re.findall(r'"(docs/[\w./#-]+)"', path.read_text())}


@pytest.mark.parametrize("reference", sorted(NAMED | WRITTEN))
def test_a_section_that_a_finding_names_is_there(reference):
    page, _, section = reference.partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert not section or section in {re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) for heading in headings}
