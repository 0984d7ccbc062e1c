"""What of TorchServe works: each row of ``torchserve.yaml`` beside what the code says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from flambeau.config.model_settings import MODEL_SETTINGS_BY_GROUP
from flambeau.config.settings import SERVER_SETTINGS
from flambeau.metrics.catalog import load_catalog
from tests.compat.sources import SOURCES, names_in, texts_in

FOLDER = Path(__file__).parent


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


def load_remarks() -> dict[str, Any]:
    """The content of ``torchserve.yaml``."""
    remarks: dict[str, Any] = yaml.safe_load((FOLDER / "torchserve.yaml").read_text(encoding="utf-8"))
    return remarks


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
            if key.rpartition(".")[2] not in texts_in(module):
                raise Stale(key, f"{module.name} does not read it")
            rows.append(Row(key, Status.WORKS, remark.get("differs", "")))
        else:
            rows.append(_remarked(key, is_there=False, remark=remark))
    return rows


def module_rows(remarks: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """The modules that archives import. ``details``: the names of each."""
    rows = []
    for module, remark in remarks.items():
        missing = sorted(set(remark["names"]) - names_in(module))
        row = _remarked(module, is_there=not missing, remark=remark)
        text = f"without {_listed(missing)}: {row.remark}" if missing and names_in(module) else row.remark
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
    named = set().union(*(texts_in(path) for path in (SOURCES / "frontends" / "grpc").glob("*.py")))
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


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
