"""What a model's Python files import, read without running them, and whether it is there."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from flambeau.migrate.findings import MISSING, TO_DO, Finding, Severity

PIP_NAMES = {
    "PIL": "pillow",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "faiss": "faiss-cpu",
    "fitz": "pymupdf",
    "jwt": "pyjwt",
    "magic": "python-magic",
    "pkg_resources": "setuptools",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""What pip calls modules whose packages have another name."""

MAX_FILES = 500
"""Of one model: a handler and its helpers; more is a library that was packed with it."""

_FORMERLY_OF_PYTHON = {"asynchat", "asyncore", "cgi", "distutils", "imp", "pipes", "smtpd", "telnetlib"}
_TORCHTEXT = "torchtext"
_TS = "ts"
_OLD_SERVER = "mms"
_PASSED_OVER = {"__pycache__", "site-packages", "venv", "node_modules"}


class Import(NamedTuple):
    """One module that a file imports, and by which line."""

    module: str
    """Dotted."""
    names: tuple[str, ...]
    """What is taken from it; empty for the module itself."""
    line: int


def python_files(folder: Path) -> list[Path]:
    """A model's Python files, at most :data:`MAX_FILES`; environments and caches that were packed with it left out."""
    files = (
        path
        for path in sorted(folder.rglob("*.py"))
        if not _PASSED_OVER.intersection(part for part in path.relative_to(folder).parts)
    )
    return [path for path, _ in zip(files, range(MAX_FILES), strict=False)]


def check_code(folder: Path, needed: Iterable[str]) -> Iterator[Finding]:
    """What a model's files import and is not there, each once, at the first line that does.

    Args:
        needed: names of the files that a worker imports for certain; one of those that is not Python does not load.
    """
    needed = set(needed)
    own = _own_modules(folder)
    seen: set[str] = set()
    for path in python_files(folder):
        name = str(path.relative_to(folder))
        try:
            tree = ast.parse(path.read_bytes(), filename=str(path))
        except (SyntaxError, ValueError, RecursionError) as error:
            yield Finding(
                severity=Severity.BLOCKS if name in needed else Severity.NOTE,
                what=f"it is not Python {sys.version_info.major}.{sys.version_info.minor}: {error}",
                file=name,
                line=getattr(error, "lineno", None),
            )
            continue
        for found in _imports(tree):
            finding = _check_import(found, name, own)
            if finding is not None and finding.what not in seen:
                seen.add(finding.what)
                yield finding


def pip_name(module: str) -> str:
    top = module.partition(".")[0]
    return PIP_NAMES.get(top, top.replace("_", "-"))


def missing_module(module: str, *, file: str = "", line: int | None = None) -> Finding:
    """What to say of a module that is not there, whether by reading the code or by running it."""
    top = module.partition(".")[0]
    if top == _TS:
        return Finding(
            severity=Severity.CHANGE,
            what=f"{module} of TorchServe is not there",
            todo="take what it needs into the archive",
            file=file,
            line=line,
            doc=MISSING,
        )
    if top == _OLD_SERVER:
        return Finding(
            severity=Severity.CHANGE,
            what=f"{module} is of the server before TorchServe",
            todo=f"import it from ts: {_TS}{module.removeprefix(_OLD_SERVER)}",
            file=file,
            line=line,
            doc=MISSING,
        )
    if top in _FORMERLY_OF_PYTHON:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return Finding(
            severity=Severity.CHANGE,
            what=f"{top} is no longer a part of Python {version}",
            todo="replace it in the model's code, or serve the model with an older Python",
            file=file,
            line=line,
        )
    if top == _TORCHTEXT:
        return Finding(
            severity=Severity.CHANGE,
            what="torchtext is not installed, is no longer developed, and does not go with torch 2.4 and later",
            todo="tokenise in the handler, for instance with tokenizers",
            file=file,
            line=line,
            doc="docs/handlers.md",
        )
    package = pip_name(module)
    return Finding(
        severity=Severity.CHANGE,
        what=f"{top} is not installed",
        todo=f"pip install {package}",
        file=file,
        line=line,
        package=package,
        doc=TO_DO,
    )


def _check_import(found: Import, file: str, own: set[str]) -> Finding | None:
    top = found.module.partition(".")[0]
    if top in own or top in sys.stdlib_module_names:
        return None
    if top == _TS:
        return _check_shim(found, file)
    return None if _is_there(top) else missing_module(found.module, file=file, line=found.line)


def _check_shim(found: Import, file: str) -> Finding | None:
    """Whether a module of TorchServe is here, and has the names that are taken from it."""
    if not _is_there(found.module):
        return missing_module(found.module, file=file, line=found.line)
    spec = importlib.util.find_spec(found.module)
    if spec is None or spec.origin is None:
        return None
    source = Path(spec.origin).read_bytes()
    held = _names(ast.parse(source))
    for name in found.names:
        if name != "*" and "*" not in held and name not in held and not _is_there(f"{found.module}.{name}"):
            return missing_module(f"{found.module}.{name}", file=file, line=found.line)
    return None


def _names(tree: ast.Module) -> set[str]:
    """What a module binds at its top; ``*`` where it takes all of another."""
    names = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def _imports(tree: ast.AST) -> Iterator[Import]:
    """Every import, but those that are tried and may fail."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, (), node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if not node.level and node.module:
                yield Import(node.module, tuple(alias.name for alias in node.names), node.lineno)
        elif isinstance(node, ast.Try) and any(_catches_imports(handler) for handler in node.handlers):
            for statement in (*node.orelse, *node.finalbody):
                yield from _imports(statement)
        else:
            yield from _imports(node)


def _catches_imports(handler: ast.ExceptHandler) -> bool:
    caught = handler.type
    kinds = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    names = {kind.id if isinstance(kind, ast.Name) else "" if kind else "Exception" for kind in kinds}
    return bool(names & {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


def _own_modules(folder: Path) -> set[str]:
    """Top-level modules that the model brings itself."""
    return {path.name.partition(".")[0] for path in folder.iterdir()}


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a package above it is not there, or is none
        return False
