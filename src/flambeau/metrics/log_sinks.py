"""How updates become lines of a metrics log: added up, a line a series and flush, or each on its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from flambeau.metrics.catalog import MetricSpec
from flambeau.metrics.lines import LogLine
from flambeau.metrics.series import Accumulator, Series, new_accumulator

Write = Callable[[str], None]
Labels = tuple[str, ...]
"""Label values without the host's name, in the order of the metric's dimensions."""


class LogSink(Protocol):
    """Where the metrics of one log file go."""

    def series(self, spec: MetricSpec, labels: Labels) -> Series:
        """A new series that the caller keeps."""
        ...

    def record(self, spec: MetricSpec, labels: Labels, value: float, request_ids: str) -> None:
        """Take one update of a series that nobody keeps."""
        ...

    def flush(self, now: float) -> None:
        """Write what is due at ``now``, in seconds since the epoch."""
        ...


class _FoldedSeries:
    __slots__ = ("accumulator", "line", "request_ids")

    def __init__(self, accumulator: Accumulator, line: LogLine) -> None:
        self.accumulator = accumulator
        self.line = line
        self.request_ids = ""


class FoldingSink:
    """One line for all updates of a series since the last flush.

    It shows a counter's sum, a gauge's last value, a histogram's mean, and the request ids of the last update. A series
    with one update therefore gets the very line that :class:`EveryUpdateSink` writes.
    """

    def __init__(self, write: Write, hostname: str) -> None:
        self._write = write
        self._hostname = hostname
        self._kept: list[_FoldedSeries] = []
        # Emptied by each flush: handlers may choose label values without end, as TorchServe's log mode allows.
        self._passing: dict[tuple[str, Labels], _FoldedSeries] = {}

    def _fold(self, spec: MetricSpec, labels: Labels) -> _FoldedSeries:
        return _FoldedSeries(new_accumulator(spec.kind), LogLine(spec, labels, self._hostname))

    def series(self, spec: MetricSpec, labels: Labels) -> Series:
        folded = self._fold(spec, labels)
        self._kept.append(folded)
        return folded.accumulator

    def record(self, spec: MetricSpec, labels: Labels, value: float, request_ids: str) -> None:
        key = (spec.name, labels)
        folded = self._passing.get(key)
        if folded is None:
            folded = self._passing[key] = self._fold(spec, labels)
        folded.accumulator.record(value)
        folded.request_ids = request_ids

    def flush(self, now: float) -> None:
        passing, self._passing = self._passing, {}
        for folded in (*self._kept, *passing.values()):
            value = folded.accumulator.take()
            if value is not None:
                self._write(folded.line.text(value, now, folded.request_ids))


class _UnfoldedSeries:
    __slots__ = ("_line", "_wall_clock", "_write")

    def __init__(self, line: LogLine, write: Write, wall_clock: Callable[[], float]) -> None:
        self._line = line
        self._write = write
        self._wall_clock = wall_clock

    def record(self, value: float) -> None:
        self._write(self._line.text(value, self._wall_clock()))


class EveryUpdateSink:
    """A line for each update, at once: TorchServe's way."""

    def __init__(self, write: Write, hostname: str, wall_clock: Callable[[], float]) -> None:
        self._write = write
        self._hostname = hostname
        self._wall_clock = wall_clock

    def series(self, spec: MetricSpec, labels: Labels) -> Series:
        return _UnfoldedSeries(LogLine(spec, labels, self._hostname), self._write, self._wall_clock)

    def record(self, spec: MetricSpec, labels: Labels, value: float, request_ids: str) -> None:
        line = LogLine(spec, labels, self._hostname)
        self._write(line.text(value, self._wall_clock(), request_ids))

    def flush(self, now: float) -> None:
        """Nothing is ever due."""
