"""The values behind metrics: each takes updates at next to no cost and adds them up by its kind.

``record`` is called several times for every request, so it does two stores and no more. Whoever reads (a scrape, or a
flush to the log) runs on the same thread and does the rest.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Protocol

from flambeau.metrics.catalog import MetricKind

BUCKET_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper bounds of a histogram's buckets; one more bucket takes what is greater. The Prometheus clients' default."""


class Series(Protocol):
    """One metric with one set of label values."""

    def record(self, value: float) -> None:
        """Take one update. Only for the event loop's thread."""
        ...


class Discarded:
    """The series of a metric that is not recorded."""

    __slots__ = ()

    def record(self, value: float) -> None:
        return


DISCARDED = Discarded()


class Counter:
    """A sum of updates."""

    __slots__ = ("_is_updated", "_total")

    def __init__(self) -> None:
        self._total = 0.0
        self._is_updated = False

    def record(self, value: float) -> None:
        self._total += value
        self._is_updated = True

    def take(self) -> float | None:
        """The sum of the updates since the last ``take``, which begins at zero again; None if there were none."""
        if not self._is_updated:
            return None
        total = self._total
        self._total = 0.0
        self._is_updated = False
        return total

    def samples(self) -> Iterator[tuple[str, str, float]]:
        """What Prometheus is to see: ``(suffix of the name, text of a further label, value)`` each."""
        yield "", "", self._total


class Gauge:
    """The last update."""

    __slots__ = ("_is_updated", "_value")

    def __init__(self) -> None:
        self._value = 0.0
        self._is_updated = False

    def record(self, value: float) -> None:
        self._value = value
        self._is_updated = True

    def take(self) -> float | None:
        """The last update since the last ``take``; None if there was none."""
        if not self._is_updated:
            return None
        self._is_updated = False
        return self._value

    def samples(self) -> Iterator[tuple[str, str, float]]:
        """As :meth:`Counter.samples`."""
        yield "", "", self._value


class Histogram:
    """How often updates fell between bounds."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._counts = [0] * (len(BUCKET_BOUNDS) + 1)
        self._sum = 0.0

    def record(self, value: float) -> None:
        self._counts[bisect_left(BUCKET_BOUNDS, value)] += 1
        self._sum += value

    def take(self) -> float | None:
        """The mean of the updates since the last ``take``, which begins anew; None if there were none."""
        count = sum(self._counts)
        if not count:
            return None
        mean = self._sum / count
        self._reset()
        return mean

    def samples(self) -> Iterator[tuple[str, str, float]]:
        """As :meth:`Counter.samples`: the buckets, each with all that is below it, then count and sum."""
        below = 0
        for bound, count in zip((*BUCKET_BOUNDS, "+Inf"), self._counts, strict=True):
            below += count
            yield "_bucket", f'le="{bound}",', below
        yield "_count", "", below
        yield "_sum", "", self._sum


Accumulator = Counter | Gauge | Histogram

_ACCUMULATORS: dict[MetricKind, type[Accumulator]] = {
    MetricKind.COUNTER: Counter,
    MetricKind.GAUGE: Gauge,
    MetricKind.HISTOGRAM: Histogram,
}


def new_accumulator(kind: MetricKind) -> Accumulator:
    """An accumulator that has seen nothing yet."""
    return _ACCUMULATORS[kind]()
