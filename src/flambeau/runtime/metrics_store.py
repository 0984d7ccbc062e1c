"""The metrics of handlers written before the metrics cache: kept in a store, printed by ``emit_metrics``."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence

from flambeau.runtime.metrics import UNITS, Dimension


class Metric:
    """One value, its unit and its dimensions."""

    def __init__(
        self,
        name: str,
        value: float,
        unit: str | None,
        dimensions: Iterable[Dimension],
        request_id: str | None = None,
        metric_method: str | None = None,
    ) -> None:
        """
        Args:
            metric_method: ``counter`` for a value that updates add to; None for one that they replace.
        """
        self.name = name
        self.value = value
        self.unit = UNITS.get(unit, unit)
        self.dimensions = list(dimensions)
        self.request_id = request_id
        self.metric_method = metric_method

    def update(self, value: float) -> None:
        self.value = self.value + value if self.metric_method == "counter" else value

    def reset(self) -> None:
        self.value = 0

    def to_dict(self) -> dict[str, object]:
        return {
            "MetricName": self.name,
            "Value": self.value,
            "Unit": self.unit,
            "Dimensions": [dimension.to_dict() for dimension in self.dimensions],
            "Timestamp": int(time.time()),
            "HostName": socket.gethostname(),
            "RequestId": self.request_id,
        }

    def __str__(self) -> str:
        """The line that the server reads from a worker's output, without ``[METRICS]``."""
        dimensions = ",".join(str(dimension) for dimension in self.dimensions)
        requests = f",{self.request_id}" if self.request_id else ""
        value = f"{self.name}.{self.unit}:{self.value}"
        kind = "COUNTER" if self.metric_method == "counter" else "GAUGE"
        return f"{value}|#{dimensions}|#type:{kind}|#hostname:{socket.gethostname()},{int(time.time())}{requests}"


class MetricsStore:
    """The metrics of one batch, in ``store``."""

    def __init__(self, request_ids: Mapping[int, str] | None, model_name: str) -> None:
        self.store: list[Metric] = []
        self.request_ids = request_ids
        self.model_name = model_name
        self._by_series: dict[tuple[object, ...], Metric] = {}

    def add_counter(
        self, name: str, value: float, idx: int | None = None, dimensions: Sequence[Dimension] | None = None
    ) -> None:
        """Add to a counter; without a request's index, to that of all requests."""
        self._add(name, value, "count", idx, dimensions, "counter")

    def add_time(
        self,
        name: str,
        value: float,
        idx: int | None = None,
        unit: str = "ms",
        dimensions: Sequence[Dimension] | None = None,
    ) -> None:
        _check_unit(unit, ("ms", "s"))
        self._add(name, value, unit, idx, dimensions)

    def add_size(
        self,
        name: str,
        value: float,
        idx: int | None = None,
        unit: str = "MB",
        dimensions: Sequence[Dimension] | None = None,
    ) -> None:
        _check_unit(unit, ("MB", "kB", "GB", "B"))
        self._add(name, value, unit, idx, dimensions)

    def add_percent(
        self, name: str, value: float, idx: int | None = None, dimensions: Sequence[Dimension] | None = None
    ) -> None:
        self._add(name, value, "percent", idx, dimensions)

    def add_error(self, name: str, value: float, dimensions: Sequence[Dimension] | None = None) -> None:
        """Note an error, of the worker and of no request: its only dimension of our own is ``Level:Error``."""
        self._update(name, value, "", None, [*(dimensions or ()), Dimension("Level", "Error")])

    def add_metric(
        self,
        name: str,
        value: float,
        unit: str | None,
        idx: int | None = None,
        dimensions: Sequence[Dimension] | None = None,
    ) -> None:
        self._add(name, value, unit, idx, dimensions)

    def _add(
        self,
        name: str,
        value: float,
        unit: str | None,
        idx: int | None,
        dimensions: Sequence[Dimension] | None,
        metric_method: str | None = None,
    ) -> None:
        complete = list(dimensions or ())
        names = {dimension.name for dimension in complete}
        if "ModelName" not in names:
            complete.append(Dimension("ModelName", self.model_name))
        if "Level" not in names:
            complete.append(Dimension("Level", "Model"))
        self._update(name, value, unit, self._request_id(idx), complete, metric_method)

    def _update(
        self,
        name: str,
        value: float,
        unit: str | None,
        request_id: str | None,
        dimensions: list[Dimension],
        metric_method: str | None = None,
    ) -> None:
        series = (name, unit, request_id, *map(str, dimensions))
        metric = self._by_series.get(series)
        if metric is None:
            metric = self._by_series[series] = Metric(name, value, unit, dimensions, request_id, metric_method)
            self.store.append(metric)
        else:
            metric.update(value)

    def _request_id(self, idx: int | None) -> str | None:
        if not self.request_ids:
            return None
        return ",".join(self.request_ids.values()) if idx is None else self.request_ids.get(idx)


def emit_metrics(metrics: Iterable[Metric] | None) -> None:
    """Print metrics, such as a store's ``store``, for the server to read."""
    for metric in metrics or ():
        sys.stdout.write(f"[METRICS]{metric}\n")
    sys.stdout.flush()


def _check_unit(unit: str, allowed: Sequence[str]) -> None:
    if unit not in allowed:
        raise ValueError(f"unit {unit!r} is not one of {', '.join(allowed)}")


class MetricEncoder(json.JSONEncoder):
    """Writes metrics and dimensions as what their ``to_dict`` returns: ``json.dumps(metric, cls=MetricEncoder)``."""

    def default(self, o: object) -> object:
        return o.to_dict() if isinstance(o, (Metric, Dimension)) else super().default(o)
