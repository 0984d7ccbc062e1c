"""Results as tables for a terminal, as Markdown, and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks.results import Cell, Results, Spread, Target, p50_ms, p99_ms, requests_per_s

MET = "met"
MISSED = "MISSED"


@dataclass(frozen=True)
class Grid:
    """A table before it is drawn."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def format_spread(spread: Spread, form: str) -> str:
    """The median, and between parentheses the extremes."""
    return f"{spread.median:{form}} ({spread.low:{form}} to {spread.high:{form}})"


def comparison_grid(results: Results, *, reference: str, title: str) -> Grid:
    """A row per cell; the last column says how many times the row's server ``reference`` is."""
    rows = []
    for cell in sorted(results.by_cell, key=lambda cell: (cell.batch_size, cell.connections)):
        base = Cell(reference, cell.batch_size, cell.connections)
        has_ratio = cell.server != reference and base in results.by_cell
        rows.append(
            (
                str(cell.batch_size),
                str(cell.connections),
                cell.server,
                format_spread(results.spread(cell, requests_per_s), ",.0f"),
                f"{results.spread(cell, p50_ms).median:.2f}",
                f"{results.spread(cell, p99_ms).median:.2f}",
                format_spread(results.ratio(base, cell, requests_per_s), ".2f") if has_ratio else "",
            )
        )
    header = ("batch", "conns", "server", "requests/s", "p50 ms", "p99 ms", f"{reference} ÷ server")
    return Grid(title, header, tuple(rows))


def target_grid(results: Results, targets: Iterable[Target]) -> Grid:
    """A row per target; those that were not measured say so."""
    rows = []
    for target in targets:
        try:
            spread = target.spread(results)
        except KeyError:
            rows.append((target.text, target.bound, "", "not measured"))
        else:
            rows.append(
                (target.text, target.bound, format_spread(spread, ".2f"), MET if target.is_met(results) else MISSED)
            )
    return Grid("Targets", ("target", "bound", "measured", ""), tuple(rows))


def print_grid(console: Console, grid: Grid) -> None:
    table = Table(title=grid.title, title_justify="left")
    for index, name in enumerate(grid.header):
        table.add_column(name, justify="left" if index == 0 else "right")
    for row in grid.rows:
        style = "red" if row[-1] == MISSED else "bold" if "flambeau" in row else None
        table.add_row(*row, style=style)
    console.print(table)


def markdown(grid: Grid) -> str:
    """The grid as a Markdown table under a heading."""
    lines = [f"### {grid.title}", "", *map(_markdown_row, [grid.header, ["---"] * len(grid.header), *grid.rows]), ""]
    return "\n".join(lines)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def machine() -> dict[str, object]:
    """What the figures depend on besides the code."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def as_json(results: Results, settings: Mapping[str, object], targets: Iterable[Target]) -> dict[str, object]:
    """Everything measured, run by run, for other programs."""
    return {
        "machine": machine(),
        "settings": dict(settings),
        "runs": [
            {**cell._asdict(), "round": number, "requests_per_s": run.requests_per_s, **asdict(run)}
            for cell, runs in results.by_cell.items()
            for number, run in enumerate(runs, 1)
        ],
        "targets": [
            dict(zip(("target", "bound", "measured", "outcome"), row, strict=True))
            for row in target_grid(results, targets).rows
        ],
    }


def progress_bar(console: Console) -> Progress:
    """A bar with description, count, time spent and time left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console)


def show(console: Console, grids: Iterable[Grid], *, as_markdown: bool) -> None:
    """Print tables, drawn or as Markdown, and the machine that they were measured on."""
    for grid in grids:
        if as_markdown:
            print(markdown(grid))
        else:
            print_grid(console, grid)
    console.print(", ".join(f"{key}: {value}" for key, value in machine().items()), markup=False, highlight=False)
