"""What stands in source files, read without running them: the packages that they need need not be there."""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import flambeau

SOURCES = Path(flambeau.__file__).parent


@cache
def names_in(module: str) -> frozenset[str]:
    """What a module defines or imports; nothing, if there is no such module."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        return frozenset()
    if spec is None or spec.origin is None:
        return frozenset()
    names: set[str] = set()
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(target.id for target in targets if isinstance(target, ast.Name))
    return frozenset(names)


@cache
def texts_in(path: Path) -> frozenset[str]:
    """The texts that stand in a source file."""
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return frozenset(node.value for node in tree if isinstance(node, ast.Constant) and isinstance(node.value, str))
