"""Imports point one way. ``docs/architecture.md`` says what each package is; here is who may know whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"
PACKAGE = SOURCE / "flambeau"

CONTRACTS = {"errors", "clock", "version", "request", "signature", "api"}
VALUES = CONTRACTS | {"config", "wire", "archive", "metrics", "logs"}
PARTS = VALUES | {"scheduling", "workers", "runtime"}
SERVER = PARTS - {"runtime"} | {"registry", "workflows", "frontends", "listeners", "grpc_ports", "observer", "server"}

MAY_IMPORT: dict[str, set[str]] = {
    "__init__": {"version", "local"},
    "errors": set(),
    "clock": set(),
    "version": set(),
    "request": {"errors"},
    "signature": set(),
    "api": {"errors", "request", "signature"},
    **dict.fromkeys(("config", "wire", "archive", "metrics", "logs"), CONTRACTS),
    "scheduling": VALUES,
    "workers": VALUES,
    "runtime": {"errors", "request", "signature", "version", "wire", "archive", "metrics.recorder"},
    "registry": PARTS - {"runtime"} | {"watching"},
    "frontends": {"errors", "request", "signature", "api", "version", "metrics", "logs"},
    "workflows": {"errors", "request", "api", "config", "archive"},
    "listeners": VALUES,
    "grpc_ports": VALUES | {"frontends", "listeners"},
    "observer": PARTS - {"runtime"} | {"registry"},
    "server": SERVER - {"server"},
    "local": PARTS | {"registry", "stages"},
    "stages": {"errors"},
    "watching": set(),
    "debug": {"errors", "request", "config", "archive", "runtime", "local", "watching"},
    "migrate": {"errors", "archive", "config", "metrics", "runtime", "workflows"},
    "cli": SERVER | {"debug", "migrate", "watching"},
    "__main__": {"cli"},
    "testing": {"errors", "request", "signature", "api", "clock", "wire"},
}
"""By package or module directly below ``flambeau``: what it may import besides itself."""

HAS_TORCH = {"runtime", "local", "stages"}
"""What runs where the handler runs. Everything else must work, and start fast, where torch is not installed."""

PURE = {
    "scheduling/job.py",
    "scheduling/queue.py",
    "scheduling/batching.py",
    "workflows/graph.py",
    "wire/messages.py",
    "wire/codec.py",
    "wire/frames.py",
    "workers/lifecycle.py",
    "workers/backoff.py",
}
"""What takes values and the time and returns values."""

IMPURE = {"asyncio", "concurrent", "multiprocessing", "os", "selectors", "socket", "subprocess", "threading", "time"}

FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """``flambeau/wire/codec.py`` to ``wire.codec``; packages to the name of the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imports_of(path: Path) -> Iterator[str]:
    """Full names of everything that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports_of(path: Path) -> Iterator[str]:
    """The same, of this project's own modules only, without ``flambeau.`` in front."""
    for name in imports_of(path):
        if name.startswith("flambeau."):
            yield name.removeprefix("flambeau.")


def is_within(name: str, packages: set[str]) -> bool:
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def test_every_package_is_in_the_table():
    found = {name_of(path).partition(".")[0] for path in FILES}
    assert found == set(MAY_IMPORT)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_imports_only_what_its_package_may_know(path):
    package = name_of(path).partition(".")[0]
    allowed = MAY_IMPORT[package] | {package}
    assert [name for name in own_imports_of(path) if not is_within(name, allowed)] == []


def test_the_table_has_no_circle():
    order: list[str] = []
    left = {package: {name.partition(".")[0] for name in names} for package, names in MAY_IMPORT.items()}
    while left:
        free = [package for package, names in left.items() if not names & set(left)]
        assert free, f"circle among {sorted(left)}"
        order.extend(free)
        for package in free:
            del left[package]
    assert len(order) == len(MAY_IMPORT)


def test_no_module_imports_itself_in_a_circle():
    modules = {name_of(path) for path in FILES}
    graph = {
        name_of(path): {
            module
            for name in own_imports_of(path)
            for module in modules
            if name == module or name.rpartition(".")[0] == module
        }
        for path in FILES
    }
    while graph:
        free = [module for module, names in graph.items() if not names & set(graph)]
        assert free, f"circle among {sorted(graph)}"
        for module in free:
            del graph[module]


@pytest.mark.parametrize(
    "path", [path for path in FILES if name_of(path).partition(".")[0] not in HAS_TORCH], ids=name_of
)
def test_what_runs_beside_the_handler_imports_neither_torch_nor_numpy_nor_torchserve(path):
    roots = {name.partition(".")[0] for name in imports_of(path)}
    assert not roots & {"torch", "torchvision", "numpy", "ts"}


@pytest.mark.parametrize("name", sorted(PURE))
def test_what_decides_knows_no_clock_socket_or_loop(name):
    roots = {imported.partition(".")[0] for imported in imports_of(PACKAGE / name)}
    assert not roots & IMPURE


@pytest.mark.parametrize(
    ("package", "allowed"), [("ts", {"runtime", "version"}), ("model_archiver", {"archive", "errors"})]
)
def test_shims_for_torchserve_stand_on_the_one_package_that_does_the_work(package, allowed):
    for path in (SOURCE / package).rglob("*.py"):
        own = list(own_imports_of(path))
        assert [name for name in own if not is_within(name, allowed)] == [], path


def test_importing_the_server_imports_neither_torch_nor_numpy():
    script = "import sys, flambeau.server; print(*sorted({'torch', 'numpy', 'flambeau.runtime'} & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert finished.stdout.split() == []


def test_every_test_file_has_a_name_of_its_own():
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(names) == sorted(set(names)), "pytest collects no two files of one name"
