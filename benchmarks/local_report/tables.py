"""What was measured, as tables, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.local_report.load import Sample
from benchmarks.local_report.published import SOURCE
from benchmarks.local_report.sections import FLAMBEAU, Section
from benchmarks.report import MET, MISSED, Grid, as_json, format_spread
from benchmarks.results import Cell, Metric, Results, Spread, p50_ms, p99_ms, requests_per_s
from benchmarks.wrk import Measurement

NOTHING = "-"


@dataclass
class Findings:
    """One section, measured."""

    section: Section
    results: Results = field(default_factory=Results)
    missing: dict[str, str] = field(default_factory=dict)
    """Sides that could not be measured, and why."""

    def add(self, side: str, batch_size: int, clients: int, sample: Sample) -> None:
        measurement = Measurement(
            requests=sample.calls,
            seconds=sample.seconds,
            p50_ms=sample.quantile_ms(0.5),
            p99_ms=sample.quantile_ms(0.99),
            max_ms=sample.quantile_ms(1),
            failed_replies=0,
            failed_connections=0,
        )
        self.results.add(Cell(side, batch_size, clients), measurement)

    def give_up(self, side: str, reason: str) -> None:
        """Leave a side out: a figure that stands for some of the rounds only would not compare."""
        self.missing[side] = reason
        for cell in [cell for cell in self.results.by_cell if cell.server == side]:
            del self.results.by_cell[cell]


def section_grid(findings: Findings) -> Grid:
    """A row per side and number of clients, those that were published only among them."""
    section = findings.section
    figures = {(row.side, row.batch_size, row.clients): row.figure for row in section.published}
    rows: list[tuple[str, ...]] = []
    for batch_size in section.batch_sizes:
        for clients in section.clients:
            rows += [
                (str(batch_size), str(clients), side, *_measured(findings, Cell(side, batch_size, clients)), published)
                for side in section.sides
                for published in [_figure(figures.pop((side, batch_size, clients), None), section.metric)]
            ]
            others = [key for key in figures if key[1:] == (batch_size, clients)]
            rows += [
                (
                    str(batch_size),
                    str(clients),
                    side,
                    *[NOTHING] * 4,
                    _figure(figures[side, batch_size, clients], section.metric),
                )
                for side, *_ in others
            ]
    unit = "ms" if section.metric is p50_ms else "calls/s"
    header = (
        "batch",
        "clients",
        "side",
        "calls/s",
        "p50 ms",
        "p99 ms",
        f"{reference_of(section)} ÷ side",
        f"published, {unit}",
    )
    return Grid(section.title, header, tuple(rows))


def reference_of(section: Section) -> str:
    """The side that the others are compared with: the first of Flambeau's."""
    return next(side for side in section.sides if side.startswith(FLAMBEAU))


def missing_lines(findings: Findings) -> list[str]:
    return [f"Not measured: {side}: {reason}" for side, reason in findings.missing.items()]


def _measured(findings: Findings, cell: Cell) -> tuple[str, str, str, str]:
    results = findings.results
    if cell not in results.by_cell:
        return ("not measured", NOTHING, NOTHING, NOTHING)
    reference = Cell(reference_of(findings.section), cell.batch_size, cell.connections)
    ratio = NOTHING
    if cell != reference and reference in results.by_cell:
        metric = findings.section.metric
        ratio = _spread(results.ratio(reference, cell, metric))
    return (
        _spread(results.spread(cell, requests_per_s)),
        _spread(results.spread(cell, p50_ms)),
        _spread(results.spread(cell, p99_ms)),
        ratio,
    )


def _spread(spread: Spread) -> str:
    return NOTHING if math.isnan(spread.median) else format_spread(spread, _form(spread.median))


def _figure(figure: float | None, metric: Metric) -> str:
    return NOTHING if figure is None else f"{figure:,.2f}" if metric is p50_ms else f"{figure:,.0f}"


def _form(value: float) -> str:
    """Three significant digits, and whole numbers from 100 on."""
    if value >= 100:
        return ",.0f"
    return f".{max(0, 2 - math.floor(math.log10(value)))}f" if value > 0 else ".0f"


def bounds_grid(findings: Findings) -> Grid:
    """A row per bound of the section."""
    rows = []
    for target in findings.section.targets:
        try:
            spread = target.spread(findings.results)
        except KeyError:
            rows.append((target.text, target.bound, NOTHING, "not measured"))
        else:
            outcome = MET if target.is_met(findings.results) else MISSED
            rows.append((target.text, target.bound, _spread(spread), outcome))
    return Grid(f"Bounds: {findings.section.title}", ("bound", "", "measured", ""), tuple(rows))


COLUMNS = ("section", "batch_size", "clients", "side", "round", "calls_per_s", "p50_ms", "p99_ms", "max_ms")


def as_csv(all_findings: Iterable[Findings]) -> str:
    """A line per section, side, number of clients and round."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for findings in all_findings:
        for cell, runs in findings.results.by_cell.items():
            for number, run in enumerate(runs, 1):
                latencies = (run.p50_ms, run.p99_ms, run.max_ms)
                writer.writerow(
                    [
                        findings.section.name,
                        cell.batch_size,
                        cell.connections,
                        cell.server,
                        number,
                        f"{run.requests_per_s:.1f}",
                        *("" if math.isnan(value) else f"{value:.4f}" for value in latencies),
                    ]
                )
    return text.getvalue()


def json_report(all_findings: Iterable[Findings], about: Mapping[str, object]) -> str:
    """Every run of every section, for other programs; null where something was not measured."""
    sections = {}
    for findings in all_findings:
        section = findings.section
        told = as_json(findings.results, {"title": section.title}, section.targets)
        del told["machine"]
        published = [asdict(figure) for figure in section.published]
        sections[section.name] = {**told, "published": published, "not_measured": findings.missing}
    report = {"about": dict(about), "source": SOURCE, "sections": sections}
    return json.dumps(_without_nan(report), indent=2, allow_nan=False) + "\n"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
