"""Where metrics are recorded, and the one decision that follows: into memory for Prometheus, or into the logs.

A series has one destination, fixed by ``metrics_mode`` when it is first asked for. So the hot path decides nothing: the
caller keeps the series and calls its ``record``.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from flambeau.errors import ConfigError
from flambeau.metrics import exposition
from flambeau.metrics.catalog import BACKEND_HOST_DIMENSION, Catalog, MetricKind, MetricSpec
from flambeau.metrics.exposition import Family
from flambeau.metrics.log_sinks import EveryUpdateSink, FoldingSink, LogSink
from flambeau.metrics.series import DISCARDED, Series
from flambeau.request import MetricUpdate

MAX_SERIES_PER_METRIC = 10_000
"""Series of one metric that are kept for Prometheus. A handler that puts a request's id into a dimension would make one
for each request; so many take a few megabytes, and no scraper wants more."""

LEGACY_COUNTERS = frozenset(
    {"ts_inference_requests_total", "ts_inference_latency_microseconds", "ts_queue_latency_microseconds"}
)
"""What legacy mode shows to Prometheus, as counters whatever the file says. Everything else goes to the logs."""

_MODES = ("log", "prometheus", "legacy")

_logger = logging.getLogger(__name__)


class Recorder:
    """Takes the values of all metrics of one server. Only for the event loop's thread."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        mode: str,
        hostname: str,
        ts_log: Callable[[str], None],
        model_log: Callable[[str], None],
        auto_detect: bool = False,
        every_update: bool = False,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            mode: ``log``, ``prometheus`` or ``legacy``.
            hostname: value of every metric's last dimension.
            ts_log: takes one line, without time and line end, for the frontend's metrics log.
            model_log: the same for the workers' metrics log.
            auto_detect: whether a worker's metric that the catalog does not have is added to it.
            every_update: whether the logs get a line for each update, not one for all updates between two flushes.
            wall_clock: seconds since the epoch.
        """
        if mode not in _MODES:
            raise ConfigError("metrics_mode", mode, f"must be one of {', '.join(_MODES)}")
        self._mode = mode
        self._hostname = hostname
        self._auto_detect = auto_detect
        self._frontend = {spec.name: spec for spec in catalog.frontend}
        self._backend = {spec.name: spec for spec in catalog.backend}
        self._series: dict[tuple[str, tuple[str, ...]], Series] = {}
        self._families: dict[str, Family] = {}
        for spec in catalog:
            self._expose(spec)
        self._ts_sink: LogSink
        self._model_sink: LogSink
        if every_update:
            self._ts_sink = EveryUpdateSink(ts_log, hostname, wall_clock)
            self._model_sink = EveryUpdateSink(model_log, hostname, wall_clock)
        else:
            self._ts_sink = FoldingSink(ts_log, hostname)
            self._model_sink = FoldingSink(model_log, hostname)
        self._reported: set[str] = set()

    def _expose(self, spec: MetricSpec) -> None:
        if self._mode == "prometheus":
            self._families[spec.name] = Family(spec)
        elif self._mode == "legacy" and spec.name in LEGACY_COUNTERS:
            self._families[spec.name] = Family(replace(spec, kind=MetricKind.COUNTER))

    def series(self, name: str, *labels: str) -> Series:
        """The series of a frontend metric, the same object for the same labels.

        Args:
            labels: values in the order of the metric's dimensions, without the host's name.

        Returns:
            A series to keep. It ignores its updates where the catalog does not have the metric, or has it with another
            number of dimensions (which is logged).
        """
        key = (name, labels)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = self._open(name, labels)
        return series

    def _open(self, name: str, labels: tuple[str, ...]) -> Series:
        spec = self._frontend.get(name)
        if spec is None or not self._labels_fit(spec, labels):
            return DISCARDED
        family = self._families.get(name)
        if family is not None:
            return family.child((*labels, self._hostname))
        return self._ts_sink.series(spec, labels)

    def record_backend(self, updates: Sequence[MetricUpdate]) -> None:
        """Take what a worker has recorded.

        Labels are the update's dimension values by position, as in TorchServe; the names are the catalog's. An update
        that does not fit its metric is ignored, and logged the first time.
        """
        for update in updates:
            spec = self._backend.get(update.name) or self._detect(update)
            if spec is None:
                continue
            labels = tuple([value for _, value in update.dimensions])
            if not self._labels_fit(spec, labels) or not self._value_fits(spec, update.value):
                continue
            family = self._families.get(spec.name)
            if family is None:
                self._model_sink.record(spec, labels, update.value, update.request_ids)
            elif self._has_room(family, all_labels := (*labels, self._hostname)):
                family.child(all_labels).record(update.value)

    def _detect(self, update: MetricUpdate) -> MetricSpec | None:
        """Add the metric of an update to what is known, if that is wanted and possible."""
        if not self._auto_detect or update.name in self._frontend:
            return None
        names = [name for name, _ in update.dimensions]
        try:
            spec = MetricSpec(update.name, update.unit, MetricKind(update.kind), (*names, BACKEND_HOST_DIMENSION))
        except (ConfigError, ValueError) as error:
            self._report(update.name, f"cannot be added: {error}")
            return None
        self._backend[spec.name] = spec
        self._expose(spec)
        return spec

    def _labels_fit(self, spec: MetricSpec, labels: tuple[str, ...]) -> bool:
        if len(labels) + 1 == len(spec.dimensions):
            return True
        self._report(spec.name, f"has the dimensions {spec.dimensions}, the last for the host, but got {labels}")
        return False

    def _value_fits(self, spec: MetricSpec, value: float) -> bool:
        if math.isfinite(value):
            if value >= 0 or spec.kind is not MetricKind.COUNTER:
                return True
        elif spec.kind is MetricKind.GAUGE:
            return True
        self._report(spec.name, f"is a {spec.kind.value} and cannot take {value}")
        return False

    def _has_room(self, family: Family, labels: tuple[str, ...]) -> bool:
        if labels in family.children or len(family.children) < MAX_SERIES_PER_METRIC:
            return True
        self._report(family.spec.name, f"has {MAX_SERIES_PER_METRIC} series; further label values are ignored")
        return False

    def _report(self, name: str, problem: str) -> None:
        """Log what is wrong with a metric, once: the same may come with every batch, a thousand times a second."""
        if name not in self._reported:
            self._reported.add(name)
            _logger.error("Metric %s %s. Further errors of this metric are not logged.", name, problem)

    def flush(self, now: float) -> None:
        """Write the log lines that are due. To be called once a second and once at the end.

        Args:
            now: seconds since the epoch.
        """
        self._ts_sink.flush(now)
        self._model_sink.flush(now)

    def render(self, names: Collection[str] | None = None) -> str:
        """The text of a scrape; empty in log mode. ``names`` as in :func:`flambeau.metrics.exposition.render`."""
        return exposition.render(self._families.values(), names)
