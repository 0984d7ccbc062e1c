"""What of TorchServe works: each row of ``torchserve.yaml`` beside what the code and the cases say of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import yaml

import flambeau
from flambeau.config.model_settings import MODEL_SETTINGS_BY_GROUP
from flambeau.config.settings import SERVER_SETTINGS
from flambeau.metrics.catalog import load_catalog
from tests.compat import prediction_scenarios, scenarios
from tests.compat.cases import load_cases

FOLDER = Path(__file__).parent
SOURCES = Path(flambeau.__file__).parent

_PARAMETER = re.compile(r"\{\w+\}")


class Status(Enum):
    WORKS = "works"
    DIFFERS = "differs"
    NOT_YET = "not there yet"
    NOT_APPLICABLE = "not applicable"


class Row(NamedTuple):
    """One line of a table."""

    name: str
    status: Status
    remark: str
    """How, why, and which setting there is; empty only where it works."""
    details: tuple[str, ...] = ()
    """What else the table shows of it."""


class Stale(Exception):
    """A remark that the code does not bear out any more, or one that is missing."""

    def __init__(self, row: str, problem: str) -> None:
        super().__init__(f"{row}: {problem}; see tests/compat/torchserve.yaml")


class Call(NamedTuple):
    """The request of a case, or of a step of a scenario."""

    port: str
    method: str
    path: str
    """Percent-decoded."""
    differs: str | None


def load_remarks() -> dict[str, Any]:
    """The content of ``torchserve.yaml``."""
    remarks: dict[str, Any] = yaml.safe_load((FOLDER / "torchserve.yaml").read_text(encoding="utf-8"))
    return remarks


def endpoint_rows(
    endpoints: Mapping[str, Sequence[str | Mapping[str, Sequence[str]]]], differences: Mapping[str, Mapping[str, str]]
) -> dict[str, list[Row]]:
    """The rows of each port. ``details``: how many cases there are.

    Args:
        endpoints: calls by port; one with differences that no case shows is a mapping to their names.

    Raises:
        Stale: a request is no endpoint's, an endpoint has no case, a difference is named that there is not, or one has
            come to an end.
    """
    rows = {port: [_Endpoint.read(entry) for entry in entries] for port, entries in endpoints.items()}
    for call in _calls():
        endpoint = next((row for row in rows[call.port] if row.pattern.fullmatch(_line(call))), None)
        if endpoint is None:
            raise Stale(f"{call.method} {call.path}", f"no endpoint of the {call.port} port")
        endpoint.case_count += 1
        if call.differs is not None:
            endpoint.differences.add(call.differs)
    named = {name for endpoints_of_one in rows.values() for row in endpoints_of_one for name in row.differences}
    for name in sorted(named - set(differences)):
        raise Stale(name, "this difference is not described")
    for name, difference in differences.items():
        module, _, end = difference.get("until", "").rpartition(".")
        if module and end in _names(module):
            raise Stale(name, f"{module}.{end} is there now")
    return {port: [row.row() for row in endpoints_of_one] for port, endpoints_of_one in rows.items()}


def server_setting_rows(remarks: Mapping[str, Mapping[str, str] | None]) -> list[Row]:
    """The keys of ``config.properties``."""
    without_effect = {key: setting.without_effect for key, setting in SERVER_SETTINGS.items()}
    return [_setting_row(key, without_effect, remark or {}) for key, remark in remarks.items()]


def model_setting_rows(remarks: Mapping[str, Mapping[str, str] | None]) -> list[Row]:
    """The keys of a model's YAML file that the server reads."""
    without_effect = {row.key: row.without_effect for group in MODEL_SETTINGS_BY_GROUP.values() for row in group}
    return [_setting_row(key, without_effect, remark or {}) for key, remark in remarks.items()]


def handler_setting_rows(remarks: Mapping[str, Mapping[str, str]]) -> list[Row]:
    """The keys of a model's YAML file that packaged handlers read: works if its module here names the key."""
    rows = []
    for key, remark in remarks.items():
        if "read_by" in remark:
            module = SOURCES / "runtime" / "handlers" / f"{remark['read_by']}.py"
            if key.rpartition(".")[2] not in _texts(module):
                raise Stale(key, f"{module.name} does not read it")
            rows.append(Row(key, Status.WORKS, remark.get("differs", "")))
        else:
            rows.append(_remarked(key, is_there=False, remark=remark))
    return rows


def module_rows(remarks: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """The modules that archives import. ``details``: the names of each."""
    rows = []
    for module, remark in remarks.items():
        missing = sorted(set(remark["names"]) - _names(module))
        row = _remarked(module, is_there=not missing, remark=remark)
        text = f"without {_listed(missing)}: {row.remark}" if missing and _names(module) else row.remark
        rows.append(Row(module, row.status, text, (_listed(remark["names"]),)))
    return rows


def metric_rows(remarks: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """The metrics. ``details``: kind, unit and dimensions."""
    catalog = {spec.name: [spec.kind.value, spec.unit, *spec.dimensions] for spec in load_catalog()}
    rows = []
    for name, remark in remarks.items():
        if "not_declared" in remark:
            if name in catalog:
                raise Stale(name, "is declared")
            rows.append(Row(name, Status.WORKS, remark["not_declared"], ("gauge", "ms", "`ModelName`, `Level`")))
            continue
        is_there = catalog.get(name) == remark["declared"]
        kind, unit, *dimensions = remark["declared"]
        row = _remarked(name, is_there=is_there, remark=remark)
        rows.append(Row(name, row.status, row.remark, (kind, unit, _listed(dimensions))))
    return rows


def grpc_rows(remarks: Mapping[str, Mapping[str, str] | None]) -> list[Row]:
    """The methods of gRPC: there if a module of the frontend names it."""
    named = set().union(*(_texts(path) for path in (SOURCES / "frontends" / "grpc").glob("*.py")))
    return [
        _remarked(method, is_there=bool({name, f"/{name}"} & named), remark=remark or {})
        for method, remark in remarks.items()
        for name in [method.rpartition("/")[2]]
    ]


def _remarked(name: str, *, is_there: bool, remark: Mapping[str, str]) -> Row:
    """The row of what is there or not, with the remark that says so."""
    if is_there:
        if "not_yet" in remark:
            raise Stale(name, "is there now")
        return Row(name, Status.DIFFERS if "differs" in remark else Status.WORKS, remark.get("differs", ""))
    if "not_yet" in remark:
        return Row(name, Status.NOT_YET, remark["not_yet"])
    if "not_applicable" in remark:
        return Row(name, Status.NOT_APPLICABLE, remark["not_applicable"])
    raise Stale(name, "is not there, and nothing says why")


def _setting_row(key: str, without_effect: Mapping[str, str], remark: Mapping[str, str]) -> Row:
    """The row of a setting, which says itself why it has no effect."""
    reason = without_effect.get(key)
    if reason and not remark:
        return Row(key, Status.NOT_APPLICABLE, reason)
    return _remarked(key, is_there=reason == "", remark=remark)


@dataclass
class _Endpoint:
    name: str
    differences: set[str]
    pattern: re.Pattern[str]
    case_count: int = 0

    @classmethod
    def read(cls, entry: str | Mapping[str, Sequence[str]]) -> _Endpoint:
        """An entry of the list of calls."""
        if isinstance(entry, str):
            return cls(entry, set(), _endpoint_pattern(entry))
        ((name, differences),) = entry.items()
        return cls(name, set(differences), _endpoint_pattern(name))

    def row(self) -> Row:
        if not self.case_count:
            raise Stale(self.name, "no case sends it")
        status = Status.DIFFERS if self.differences else Status.WORKS
        return Row(self.name, status, ", ".join(sorted(self.differences)), (str(self.case_count),))


def _calls() -> Iterator[Call]:
    for file in load_cases():
        for case in file.cases:
            yield _call(case.port, case.step.method, case.step.target, case.differs)
    for scenario in scenarios.load(FOLDER / "management"):
        for managed in scenario.steps:
            yield _call("management", managed.method, managed.target)
    for predicting in prediction_scenarios.load(FOLDER / "predictions"):
        for step in predicting.steps:
            yield _call("inference", step.method, step.target)


def _call(port: str, method: str, target: str, differs: str | None = None) -> Call:
    return Call(port, method, unquote(target.partition("?")[0]), differs)


def _line(call: Call) -> str:
    path = call.path.rstrip("/") or "/"
    return f"{call.method} {path if path.startswith('/') else f'/{path}'}"


def _endpoint_pattern(endpoint: str) -> re.Pattern[str]:
    """What fits ``GET /models/{model}``; ``ANY`` is any method, ``{rest...}`` any number of segments, or none."""
    method, _, path = endpoint.partition(" ")
    fixed, rest, _ = path.partition("/{rest...}")
    segments = "[^/]*".join(map(re.escape, _PARAMETER.split(fixed)))
    further = "(/.*)?" if rest else ""
    return re.compile(f"{'[A-Z]+' if method == 'ANY' else method} {segments}{further}", re.DOTALL)


@cache
def _names(module: str) -> frozenset[str]:
    """What a module defines or imports, by its source, so that the packages that it needs need not be there."""
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
def _texts(path: Path) -> frozenset[str]:
    """The texts that stand in a source file."""
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return frozenset(node.value for node in tree if isinstance(node, ast.Constant) and isinstance(node.value, str))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
