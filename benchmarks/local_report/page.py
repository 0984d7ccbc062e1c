"""The report as one page that needs no network: plots, tables, the machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from benchmarks.local_report.published import SOURCE
from benchmarks.local_report.tables import Findings, bounds_grid, missing_lines, section_grid
from benchmarks.report import MISSED, Grid
from benchmarks.results import p50_ms

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1, h2 { line-height: 1.2 } h2 { margin-top: 3rem }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #ddd }
th:nth-child(3), td:nth-child(3), .bounds td:first-child, .bounds th:first-child { text-align: left }
tr.missed td { color: #b00020 } dt { font-weight: 600 } dd { margin: 0 0 .3rem 0 }
"""


def page(all_findings: Sequence[Findings], facts: Mapping[str, object], title: str) -> str:
    """HTML with plotly's JavaScript in it. Needs plotly (``pip install flambeau[report]``)."""
    facts_list = "".join(f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in facts.items())
    parts = [
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{escape(title)}</title>",
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1><dl>{facts_list}</dl>",
        f"<p>Published figures: <a href='{SOURCE}'>{SOURCE}</a>, on another machine.</p>",
    ]
    for number, findings in enumerate(all_findings):
        parts.append(f"<h2>{escape(findings.section.title)}</h2>")
        parts.append(_plot(findings, with_script=number == 0))
        parts.append(_table(section_grid(findings)))
        parts += [f"<p>{escape(line)}</p>" for line in missing_lines(findings)]
        parts.append(_table(bounds_grid(findings), kind="bounds"))
    return "\n".join([*parts, "</body></html>", ""])


def _plot(findings: Findings, *, with_script: bool) -> str:
    import plotly.graph_objects as go

    section = findings.section
    figure = go.Figure()
    for side in section.sides:
        cells = [cell for cell in findings.results.by_cell if cell.server == side]
        spreads = [findings.results.spread(cell, section.metric) for cell in cells]
        figure.add_bar(
            name=side,
            x=[_case(section.batch_sizes, cell.batch_size, cell.connections) for cell in cells],
            y=[spread.median for spread in spreads],
            error_y={
                "array": [spread.high - spread.median for spread in spreads],
                "arrayminus": [spread.median - spread.low for spread in spreads],
            },
        )
    unit = "p50, ms" if section.metric is p50_ms else "calls/s"
    layout: dict[str, Any] = {"barmode": "group", "template": "plotly_white", "height": 420, "yaxis_title": unit}
    figure.update_layout(**layout, legend={"orientation": "h"}, yaxis_type="log" if _spans_decades(findings) else None)
    html: str = figure.to_html(full_html=False, include_plotlyjs=with_script)
    return html


def _case(batch_sizes: Sequence[int], batch_size: int, clients: int) -> str:
    who = f"{clients} client{'s' if clients > 1 else ''}"
    return who if len(batch_sizes) == 1 else f"batch {batch_size}, {who}"


def _spans_decades(findings: Findings) -> bool:
    medians = [findings.results.spread(cell, findings.section.metric).median for cell in findings.results.by_cell]
    return bool(medians) and min(medians) > 0 and max(medians) > 20 * min(medians)


def _table(grid: Grid, kind: str = "") -> str:
    return "\n".join(
        [f"<table class='{kind}'>", _row(grid.header, "th"), *(_row(row, "td") for row in grid.rows), "</table>"]
    )


def _row(cells: Iterable[str], tag: str) -> str:
    words = list(cells)
    marked = " class='missed'" if MISSED in words else ""
    return f"<tr{marked}>{''.join(f'<{tag}>{escape(word)}</{tag}>' for word in words)}</tr>"
