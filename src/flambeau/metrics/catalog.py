"""Which metrics exist: read from a metrics YAML file in TorchServe's schema, and checked.

A metric that the catalog does not have is not recorded, so this is the one place that says what can be seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import yaml

from flambeau.errors import ConfigError

DEFAULT_METRICS_FILE = Path(__file__).with_name("metrics.yaml")
BACKEND_HOST_DIMENSION = "Hostname"

_FRONTEND_SECTION = "ts_metrics"
_BACKEND_SECTION = "model_metrics"
_SECTIONS = ("dimensions", _FRONTEND_SECTION, _BACKEND_SECTION)
_ENTRY_KEYS = ("name", "unit", "dimensions")
_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_DIMENSION_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_HISTOGRAM_BUCKET = "le"  # Prometheus gives this label to every bucket of a histogram


class MetricKind(str, Enum):
    """How the updates of a metric add up."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One metric.

    Raises:
        ConfigError: a name that Prometheus would not take, or an empty unit. ``key`` is the attribute's name.
    """

    name: str
    unit: str
    kind: MetricKind
    dimensions: tuple[str, ...]
    """In the order in which values are given; the last is the host's name."""

    def __post_init__(self) -> None:
        if not _METRIC_NAME.fullmatch(self.name):
            raise ConfigError("name", repr(self.name), "must be letters, digits and _, and not begin with a digit")
        if not self.unit or not self.unit.isprintable():
            raise ConfigError("unit", repr(self.unit), "must be a word")
        for dimension in self.dimensions:
            if not _DIMENSION_NAME.fullmatch(dimension):
                raise ConfigError("dimensions", repr(dimension), "must be letters, digits and _")
        if len(set(self.dimensions)) != len(self.dimensions):
            raise ConfigError("dimensions", list(self.dimensions), "names one dimension twice")
        if self.kind is MetricKind.HISTOGRAM and _HISTOGRAM_BUCKET in self.dimensions:
            raise ConfigError("dimensions", list(self.dimensions), "le is the buckets' own label")


@dataclass(frozen=True, slots=True)
class Catalog:
    """All metrics, in the order of the file. No name is used twice."""

    frontend: tuple[MetricSpec, ...] = ()
    """Recorded by the server."""
    backend: tuple[MetricSpec, ...] = ()
    """Recorded by workers and handlers."""

    def __iter__(self) -> Iterator[MetricSpec]:
        yield from self.frontend
        yield from self.backend


def load_catalog(path: Path | None = None) -> Catalog:
    """The catalog of a metrics YAML file; None: of the packaged one.

    Raises:
        ConfigError: the file cannot be read, or is not a metrics file; names file and entry.
    """
    path = path or DEFAULT_METRICS_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("metrics_config", path, f"cannot be read: {error}") from error
    return parse_catalog(text, source=str(path))


def parse_catalog(text: str, source: str) -> Catalog:
    """The catalog that a YAML text describes. Either section may be missing: then that side records nothing.

    Args:
        source: the file's name, for error messages.

    Raises:
        ConfigError: not YAML or not the schema; ``key`` is the entry, such as ``ts_metrics.counter[2].unit``.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise ConfigError("metrics_config", source, f"is not YAML: {problem}") from error
    try:
        return _catalog(document)
    except ConfigError as error:
        raise error.at(source) from None


def _catalog(document: object) -> Catalog:
    if not isinstance(document, dict):
        raise ConfigError("document", document, f"must be a mapping with {_FRONTEND_SECTION} and {_BACKEND_SECTION}")
    for section in document:
        if section not in _SECTIONS:
            raise ConfigError(str(section), document[section], f"is not one of {', '.join(_SECTIONS)}")
    catalog = Catalog(
        frontend=tuple(_section(document, _FRONTEND_SECTION)),
        backend=tuple(_section(document, _BACKEND_SECTION, host_dimension=BACKEND_HOST_DIMENSION)),
    )
    seen = set()
    for spec in catalog:
        if spec.name in seen:
            raise ConfigError("name", spec.name, "is declared twice")
        seen.add(spec.name)
    return catalog


def _section(document: dict[object, object], section: str, host_dimension: str | None = None) -> Iterator[MetricSpec]:
    by_kind = document.get(section)
    if by_kind is None:
        return
    kinds = [kind.value for kind in MetricKind]
    if not isinstance(by_kind, dict):
        raise ConfigError(section, by_kind, f"must be a mapping with {', '.join(kinds)}")
    for kind, entries in by_kind.items():
        place = f"{section}.{kind}"
        if kind not in kinds:
            raise ConfigError(place, entries, f"is not one of {', '.join(kinds)}")
        if not isinstance(entries, list):
            raise ConfigError(place, entries, "must be a list")
        for index, entry in enumerate(entries):
            yield _spec(entry, f"{place}[{index}]", MetricKind(kind), host_dimension)


def _spec(entry: object, place: str, kind: MetricKind, host_dimension: str | None) -> MetricSpec:
    if not isinstance(entry, dict):
        raise ConfigError(place, entry, "must be a mapping")
    for key in entry:
        if key not in _ENTRY_KEYS:
            raise ConfigError(f"{place}.{key}", entry[key], f"is not one of {', '.join(_ENTRY_KEYS)}")
    name, unit, dimensions = (entry.get(key) for key in _ENTRY_KEYS)
    for key, value in (("name", name), ("unit", unit)):
        if not isinstance(value, str):
            raise ConfigError(f"{place}.{key}", value, "must be a text")
    if not isinstance(dimensions, list) or not all(isinstance(dimension, str) for dimension in dimensions):
        raise ConfigError(f"{place}.dimensions", dimensions, "must be a list of names")
    if host_dimension is not None and host_dimension not in dimensions[-1:]:
        dimensions = [*dimensions, host_dimension]
    try:
        return MetricSpec(str(name), str(unit), kind, tuple(dimensions))
    except ConfigError as error:
        raise ConfigError(f"{place}.{error.key}", error.value, error.problem) from None
