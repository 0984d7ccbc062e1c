"""What a comparison measured, round by round, and the questions asked of it. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.wrk import Measurement


class Cell(NamedTuple):
    """One combination that is measured once a round."""

    server: str
    batch_size: int
    connections: int


@dataclass(frozen=True)
class Spread:
    """A value over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


Metric = Callable[[Measurement], float]


def requests_per_s(measurement: Measurement) -> float:
    return measurement.requests_per_s


def p50_ms(measurement: Measurement) -> float:
    return measurement.p50_ms


def p99_ms(measurement: Measurement) -> float:
    return measurement.p99_ms


class Results:
    """Measurements by cell, in order of rounds."""

    def __init__(self) -> None:
        self.by_cell: dict[Cell, list[Measurement]] = {}

    def add(self, cell: Cell, measurement: Measurement) -> None:
        self.by_cell.setdefault(cell, []).append(measurement)

    def spread(self, cell: Cell, metric: Metric) -> Spread:
        """A metric of one cell over the rounds. Raises KeyError for a cell that was not measured."""
        return Spread.of([metric(measurement) for measurement in self.by_cell[cell]])

    def ratio(self, cell: Cell, base: Cell, metric: Metric) -> Spread:
        """``cell`` divided by ``base``, each round by itself: what slows the whole machine slows both.

        Raises KeyError for a cell that was not measured.
        """
        pairs = zip(self.by_cell[cell], self.by_cell[base], strict=True)
        return Spread.of([metric(mine) / metric(theirs) for mine, theirs in pairs])

    @property
    def failures(self) -> dict[Cell, int]:
        """Requests without a good reply, for those cells that have any."""
        totals = {cell: sum(run.failures for run in runs) for cell, runs in self.by_cell.items()}
        return {cell: total for cell, total in totals.items() if total}


@dataclass(frozen=True)
class Target:
    """A bound that Flambeau is to keep."""

    text: str
    spread: Callable[[Results], Spread]
    """Raises KeyError where the comparison did not measure what it needs."""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def bound(self) -> str:
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"

    def is_met(self, results: Results) -> bool:
        """Whether the median over the rounds keeps the bound."""
        median = self.spread(results).median
        return (self.at_least is None or median >= self.at_least) and (self.at_most is None or median <= self.at_most)


def ratio_target(
    metric: Metric,
    *,
    batch_size: int,
    connections: int,
    to: str,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Target:
    """Flambeau's metric as a multiple of another server's in the same cell."""
    return Target(
        f"{metric.__name__} ÷ {to}'s, batch {batch_size}, {connections} connections",
        lambda results: results.ratio(
            Cell("flambeau", batch_size, connections), Cell(to, batch_size, connections), metric
        ),
        at_least=at_least,
        at_most=at_most,
    )


def company_target(connections: int, *, batch_size: int) -> Target:
    """More clients never get fewer answers in all than one client alone."""
    return Target(
        f"requests_per_s ÷ 1 connection's, batch {batch_size}, {connections} connections",
        lambda results: results.ratio(
            Cell("flambeau", batch_size, connections), Cell("flambeau", batch_size, 1), requests_per_s
        ),
        at_least=1.0,
    )


def latency_target(*, batch_size: int, connections: int, at_most_ms: float) -> Target:
    return Target(
        f"p50_ms, batch {batch_size}, {connections} connections",
        lambda results: results.spread(Cell("flambeau", batch_size, connections), p50_ms),
        at_most=at_most_ms,
    )
