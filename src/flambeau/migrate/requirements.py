"""The requirements file of a model, against what is installed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from flambeau.migrate.findings import TO_DO, Finding, Severity

_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*(?P<exact>==\s*(?P<wanted>[\w.!+-]+))?"
)


def check_requirements(path: Path, name: str) -> Iterator[Finding]:
    """What is not installed, and what is pinned to another version. Lines that are no plain requirement are pip's.

    Args:
        name: of the file, for the findings.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        yield Finding(severity=Severity.CHANGE, what=f"it cannot be read: {error.strerror}", file=name)
        return
    for number, line in enumerate(text.splitlines(), start=1):
        found = _REQUIREMENT.match(line.strip())
        if found is None or "://" in line or "@" in line.partition("#")[0]:
            continue
        try:
            installed = version(found["name"])
        except PackageNotFoundError:
            requirement = line.partition("#")[0].partition(";")[0].strip()
            yield Finding(
                severity=Severity.CHANGE,
                what=f"{found['name']} is not installed",
                todo=f"pip install {requirement!r}",
                file=name,
                line=number,
                package=requirement,
                doc=TO_DO,
            )
            continue
        if found["wanted"] and found["wanted"] != installed.partition("+")[0]:
            yield Finding(
                severity=Severity.NOTE,
                what=f"it asks for {found['name']} {found['wanted']}; {installed} is installed",
                file=name,
                line=number,
            )
