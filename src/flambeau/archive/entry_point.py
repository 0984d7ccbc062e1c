"""Tell from a handler's source, without running it, whether a worker will find an entry point in it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from flambeau.errors import PackagingError

_DEFAULT_FUNCTION = "handle"


def check_entry_point(path: Path, function: str | None) -> list[str]:
    """Compile a handler and look for what a worker calls.

    A worker calls the named function (``handle`` if none is named) where the module has it, and else makes an object of
    the one class that the module defines.

    Args:
        function: named by the user after a colon.

    Returns:
        Doubts, one sentence each: names made at run time cannot be seen.

    Raises:
        PackagingError: it does not compile.
    """
    names, classes = set[str](), list[ast.ClassDef]()
    for statement in _top_level(compile_source(path).body):
        if isinstance(statement, ast.ImportFrom) and any(alias.name == "*" for alias in statement.names):
            return []
        names.update(_bound_names(statement))
        if isinstance(statement, ast.ClassDef):
            classes.append(statement)
    if (function or _DEFAULT_FUNCTION) in names:
        return []
    if len(classes) != 1:
        count = f"{len(classes)} classes" if classes else "no class"
        wanted = function or _DEFAULT_FUNCTION
        return [f"{path}: no function named {wanted} and {count}; a worker needs that function, or exactly one class."]
    if function is not None:
        return [f"{path}: no function named {function}; workers will use the class {classes[0].name}."]
    if not classes[0].bases and _DEFAULT_FUNCTION not in _class_names(classes[0]):
        return [f"{path}: the class {classes[0].name} has no method named {_DEFAULT_FUNCTION}."]
    return []


def compile_source(path: Path) -> ast.Module:
    """Parse a Python file.

    Raises:
        PackagingError: it is not Python; says where and why.
    """
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as error:
        raise PackagingError(f"{path}, line {error.lineno}: {error.msg}", (error.text or "").strip()) from error
    except (ValueError, RecursionError) as error:
        raise PackagingError(f"{path}: {error}") from error


def _top_level(statements: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when the module is imported, those in ``if``, ``try``, ``with`` and loops among them."""
    for statement in statements:
        yield statement
        if not isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            for block in ("body", "orelse", "finalbody"):
                yield from _top_level(getattr(statement, block, ()))
            for handler in getattr(statement, "handlers", ()):
                yield from _top_level(handler.body)


def _bound_names(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
        yield statement.name
    elif isinstance(statement, (ast.Import, ast.ImportFrom)):
        yield from (alias.asname or alias.name for alias in statement.names)
    elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))


def _class_names(node: ast.ClassDef) -> set[str]:
    """Names that a class body binds, and attributes of ``self`` that its methods assign."""
    names = {name for statement in _top_level(node.body) for name in _bound_names(statement)}
    return names | {
        inner.attr for inner in ast.walk(node) if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store)
    }
