"""``context.metrics``: what a handler records, kept until the next reply takes it to the server.

Nothing is written or printed when a value is recorded. Names, defaults and errors are those of TorchServe's metrics
cache.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from flambeau.request import InferenceRequest, MetricUpdate
from flambeau.runtime.wire_text import wire_text

logger = logging.getLogger(__name__)

MAX_PENDING_UPDATES = 10_000
"""Between two replies; what a handler's own threads record beyond is dropped, so that an idle worker cannot grow."""

UNITS: Mapping[str | None, str] = {
    "ms": "Milliseconds",
    "s": "Seconds",
    "percent": "Percent",
    "count": "Count",
    "MB": "Megabytes",
    "GB": "Gigabytes",
    "kB": "Kilobytes",
    "B": "Bytes",
    "": "unit",
    None: "unit",
}
"""Short units, as handlers write them, to the words that are emitted. Any other unit stays as it is."""

TIME_UNITS = ("ms", "s")
SIZE_UNITS = ("MB", "kB", "GB", "B")


class GeneralMetricsCacheError(Exception):
    """Base of what the metrics cache raises."""

    __str__ = Exception.__str__  # and not that of KeyError, which quotes the sentence


class MetricsCacheIOError(GeneralMetricsCacheError, OSError):
    """The metrics YAML cannot be read."""


class MetricsCachePyYamlError(GeneralMetricsCacheError):
    """The metrics YAML is not YAML."""


class MetricsCacheTypeError(GeneralMetricsCacheError, TypeError):
    """A name or a type is of the wrong kind."""


class MetricsCacheValueError(GeneralMetricsCacheError, ValueError):
    """A unit does not go with the method."""


class MetricsCacheKeyError(GeneralMetricsCacheError, KeyError):
    """No such metric, or the metrics YAML lacks a key."""


class MetricTypes(Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Dimension:
    """A name and a value that tell two series of one metric apart."""

    __slots__ = ("name", "value")

    def __init__(self, name: str, value: object) -> None:
        self.name = name
        self.value = value

    def __str__(self) -> str:
        return f"{self.name}:{self.value}"

    def to_dict(self) -> dict[str, object]:
        return {"Name": self.name, "Value": self.value}


class CachingMetric:
    """One metric: its unit, type and dimension names. Values go to the cache that made it."""

    def __init__(
        self,
        metric_name: str,
        unit: str | None,
        dimension_names: Sequence[str],
        metric_type: MetricTypes,
        record: Callable[[MetricUpdate], None],
    ) -> None:
        self.metric_name = wire_text(metric_name)
        self.unit = wire_text(UNITS.get(unit, unit))
        self.dimension_names = [wire_text(name) for name in dimension_names]
        self.metric_type = metric_type
        self._record = record

    def add_or_update(self, value: float, dimension_values: Sequence[object] = (), request_id: str = "") -> None:
        """Record a value. One that is no number, a negative step of a counter, or a wrong number of dimension values
        is logged as an error and not emitted.

        Args:
            dimension_values: one per dimension name, in their order.
            request_id: the request it belongs to; several are joined by commas.
        """
        if len(dimension_values) != len(self.dimension_names):
            logger.error(
                "metric %s not emitted: dimension values %s do not go with its dimensions %s",
                self.metric_name,
                list(dimension_values),
                self.dimension_names,
            )
            return
        try:
            number = float(value)
        except (TypeError, ValueError):
            logger.error("metric %s not emitted: %r is not a number", self.metric_name, value)
            return
        if number < 0 and self.metric_type is MetricTypes.COUNTER:
            logger.error("metric %s not emitted: a counter cannot go down by %s", self.metric_name, -number)
            return
        dimensions = tuple(zip(self.dimension_names, map(wire_text, dimension_values), strict=True))
        self._record(
            MetricUpdate(self.metric_name, self.unit, self.metric_type.value, number, dimensions, wire_text(request_id))
        )

    def update(self, value: float, request_id: str = "", dimensions: Sequence[Dimension] = ()) -> None:
        """:meth:`add_or_update`, with the dimension values taken from :class:`Dimension` objects, in order."""
        self.add_or_update(value, [dimension.value for dimension in dimensions], request_id)


class MetricsCache:
    """The metrics of one handler, and the values it has recorded since they were last taken."""

    def __init__(self, model_name: str, config_file_path: str | Path | None = None) -> None:
        """
        Args:
            config_file_path: a metrics YAML, whose ``model_metrics`` are known from the start; None for the two that
                every model has.

        Raises:
            GeneralMetricsCacheError: the file cannot be used; says why.
        """
        self.model_name = model_name
        self.config_file_path = config_file_path
        self.cache: dict[MetricTypes, dict[str, CachingMetric]] = {}
        self._rows: Sequence[InferenceRequest] = ()
        self._request_ids: Mapping[int, str] | None = None
        self._updates: list[MetricUpdate] = []
        self._is_full = False
        self.initialize_cache()

    @property
    def model_name(self) -> str:
        """The value of the dimension ``ModelName``."""
        return self._model_name

    @model_name.setter
    def model_name(self, model_name: str) -> None:
        self._model_name = model_name
        self._defaults = (Dimension("ModelName", model_name), Dimension("Level", "Model"))

    def initialize_cache(self) -> None:
        """Know the metrics of the configuration, and no others."""
        self.cache = {metric_type: {} for metric_type in MetricTypes}
        if self.config_file_path is None:
            for name in ("HandlerTime", "PredictionTime"):
                self.add_metric_to_cache(name, "ms", ["ModelName", "Level"], MetricTypes.GAUGE)
            return
        for metric_type, entries in _read_model_metrics(Path(self.config_file_path)).items():
            for entry in entries:
                self.add_metric_to_cache(entry["name"], entry["unit"], entry["dimensions"], metric_type)

    def cache_keys(self) -> list[MetricTypes]:
        return list(self.cache)

    def begin_batch(self, rows: Sequence[InferenceRequest]) -> None:
        """Values that are recorded from here on belong to these requests."""
        self._rows = rows
        self._request_ids = None

    def set_request_ids(self, ids: Mapping[int, str]) -> None:
        """Name the requests of the batch oneself: id by index."""
        self._request_ids = ids

    def request_id(self, idx: int | None = None) -> str:
        """The id of one request of the batch; without an index all of them, joined by commas."""
        ids = self._request_ids
        if ids is not None:
            return ",".join(ids.values()) if idx is None else ids.get(idx, "")
        rows = self._rows
        if idx is None:
            return rows[0].request_id if len(rows) == 1 else ",".join([row.request_id for row in rows])
        return rows[idx].request_id if 0 <= idx < len(rows) else ""

    def add_metric_to_cache(
        self,
        metric_name: str,
        unit: str | None,
        dimension_names: Sequence[str] = (),
        metric_type: MetricTypes = MetricTypes.COUNTER,
    ) -> CachingMetric:
        """Create a metric, or define it anew, without emitting a value.

        Raises:
            MetricsCacheTypeError: the name is not a text, or the type none of :class:`MetricTypes`.
        """
        if not isinstance(metric_name, str) or not metric_name:
            raise MetricsCacheTypeError(f"metric name {metric_name!r} is not a text")
        metric = CachingMetric(metric_name, unit, dimension_names, _metric_type(metric_type), self._record)
        self.cache[metric.metric_type][metric_name] = metric
        return metric

    def get_metric(self, metric_name: str, metric_type: MetricTypes = MetricTypes.COUNTER) -> CachingMetric:
        """
        Raises:
            MetricsCacheKeyError: no metric of this name and type.
        """
        metric = self.cache[_metric_type(metric_type)].get(metric_name)
        if metric is None:
            raise MetricsCacheKeyError(f"no {_metric_type(metric_type).value} metric named {metric_name}")
        return metric

    def add_metric(
        self,
        name: str,
        value: float,
        unit: str | None,
        idx: int | None = None,
        dimensions: Sequence[Dimension] = (),
        metric_type: MetricTypes = MetricTypes.COUNTER,
    ) -> None:
        """Record a value of any type, and create the metric if it is new.

        Args:
            idx: the request of the batch that it belongs to; None for all.
            dimensions: ``ModelName`` and ``Level`` are appended where they are missing.
        """
        names = {dimension.name for dimension in dimensions}
        complete = [*dimensions, *(default for default in self._defaults if default.name not in names)]
        self._metric(name, unit, complete, metric_type).update(value, self.request_id(idx), complete)

    def add_counter(
        self, name: str, value: float, idx: int | None = None, dimensions: Sequence[Dimension] = ()
    ) -> None:
        self.add_metric(name, value, "count", idx, dimensions, MetricTypes.COUNTER)

    def add_time(
        self,
        name: str,
        value: float,
        idx: int | None = None,
        unit: str = "ms",
        dimensions: Sequence[Dimension] = (),
        metric_type: MetricTypes = MetricTypes.GAUGE,
    ) -> None:
        """
        Raises:
            MetricsCacheValueError: ``unit`` is neither ``ms`` nor ``s``.
        """
        _check_unit(unit, TIME_UNITS)
        self.add_metric(name, value, unit, idx, dimensions, metric_type)

    def add_size(
        self,
        name: str,
        value: float,
        idx: int | None = None,
        unit: str = "MB",
        dimensions: Sequence[Dimension] = (),
        metric_type: MetricTypes = MetricTypes.GAUGE,
    ) -> None:
        """
        Raises:
            MetricsCacheValueError: ``unit`` is none of ``MB``, ``kB``, ``GB``, ``B``.
        """
        _check_unit(unit, SIZE_UNITS)
        self.add_metric(name, value, unit, idx, dimensions, metric_type)

    def add_percent(
        self,
        name: str,
        value: float,
        idx: int | None = None,
        dimensions: Sequence[Dimension] = (),
        metric_type: MetricTypes = MetricTypes.GAUGE,
    ) -> None:
        self.add_metric(name, value, "percent", idx, dimensions, metric_type)

    def add_error(self, name: str, value: float, dimensions: Sequence[Dimension] = ()) -> None:
        """Count errors, of the worker and of no request: the one dimension of our own is ``Level:Error``."""
        complete = [*dimensions, Dimension("Level", "Error")]
        self._metric(name, "", complete, MetricTypes.COUNTER).update(value, "", complete)

    def take_updates(self) -> list[MetricUpdate]:
        """What has been recorded and not yet taken. Other threads may go on recording: nothing is lost."""
        count = len(self._updates)
        if not count:
            return []
        taken = self._updates[:count]
        del self._updates[:count]
        self._is_full = False
        return taken

    def mark(self) -> int:
        """A point to :meth:`rewind` to."""
        return len(self._updates)

    def rewind(self, mark: int) -> None:
        """Forget what was recorded since ``mark``: the attempt that it measured is made again."""
        del self._updates[mark:]

    def _metric(
        self, name: str, unit: str | None, dimensions: Sequence[Dimension], metric_type: MetricTypes
    ) -> CachingMetric:
        """The metric of a name and type, created with these dimensions if it is new."""
        metric = self.cache[_metric_type(metric_type)].get(name)
        if metric is None:
            metric = self.add_metric_to_cache(name, unit, [dimension.name for dimension in dimensions], metric_type)
        return metric

    def _record(self, update: MetricUpdate) -> None:
        if len(self._updates) < MAX_PENDING_UPDATES:
            self._updates.append(update)
        elif not self._is_full:
            self._is_full = True
            logger.error("metrics are dropped: more than %d values since the last reply", MAX_PENDING_UPDATES)


def _metric_type(value: object) -> MetricTypes:
    try:
        return MetricTypes(value)
    except ValueError:
        raise MetricsCacheTypeError(f"metric type {value!r} is not counter, gauge or histogram") from None


def _check_unit(unit: str, allowed: Sequence[str]) -> None:
    if unit not in allowed:
        raise MetricsCacheValueError(f"unit {unit!r} is not one of {', '.join(allowed)}")


def _read_model_metrics(path: Path) -> dict[MetricTypes, list[dict[str, Any]]]:
    import yaml  # a worker without a metrics file of its own starts faster without it

    try:
        document = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise MetricsCacheIOError(f"metrics file cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise MetricsCachePyYamlError(f"metrics file {path} is not YAML: {error}") from error
    section = (document.get("model_metrics") or {}) if isinstance(document, dict) else None
    if not isinstance(section, dict):
        raise MetricsCacheKeyError(f"metrics file {path} has no mapping model_metrics")
    metrics: dict[MetricTypes, list[dict[str, Any]]] = {}
    for kind, entries in section.items():
        for entry in entries or ():
            missing = [key for key in ("name", "unit", "dimensions") if not isinstance(entry, dict) or key not in entry]
            if missing:
                raise MetricsCacheKeyError(f"metrics file {path}: {kind} metric {entry} lacks {', '.join(missing)}")
        metrics[_metric_type(kind)] = list(entries or ())
    return metrics
