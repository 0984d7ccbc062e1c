"""Compiled files of a model: for which Python they were made."""

from __future__ import annotations

import importlib.util
import re
import sys
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

from flambeau.migrate.findings import Finding, Severity

_FIRST_MAGIC = (
    (3360, "3.6"),
    (3390, "3.7"),
    (3400, "3.8"),
    (3420, "3.9"),
    (3430, "3.10"),
    (3450, "3.11"),
    (3500, "3.12"),
    (3550, "3.13"),
    (3600, "3.14"),
    (3650, "3.15"),
)
"""The number that bytecode begins with, from the first preview of each Python on."""

_EXTENSION = re.compile(r"\.(?:cpython-|cp)3(?P<minor>\d+)[a-z]*-")
_CACHE = "__pycache__"


def check_binaries(folder: Path) -> Iterator[Finding]:
    """Bytecode without its source, and extension modules, that this Python cannot load."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    for path in sorted(folder.rglob("*.pyc")):
        if path.parent.name == _CACHE:  # made anew from the source
            continue
        magic = path.read_bytes()[:4]
        if magic != importlib.util.MAGIC_NUMBER:
            yield Finding(
                severity=Severity.CHANGE,
                what=f"bytecode of Python {_python_of(magic)}; this is Python {here}",
                todo="pack the source, or serve with that Python",
                file=str(path.relative_to(folder)),
            )
    for path in sorted((*folder.rglob("*.so"), *folder.rglob("*.pyd"))):
        made_for = _EXTENSION.search(path.name)
        if made_for is not None and f"3.{made_for['minor']}" != here:
            yield Finding(
                severity=Severity.CHANGE,
                what=f"an extension module for Python 3.{made_for['minor']}; this is Python {here}",
                todo="build it anew, or serve with that Python",
                file=str(path.relative_to(folder)),
            )


def _python_of(magic: bytes) -> str:
    number = int.from_bytes(magic[:2], "little")
    at = bisect_right([first for first, _ in _FIRST_MAGIC], number)
    return _FIRST_MAGIC[at - 1][1] if at and len(magic) == 4 else "an unknown version"
