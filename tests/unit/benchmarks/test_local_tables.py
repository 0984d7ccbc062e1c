import csv
import json
import math

import pytest

from benchmarks.local_report.load import SHARES, Sample
from benchmarks.local_report.sections import SECTIONS
from benchmarks.local_report.tables import Findings, as_csv, bounds_grid, json_report, missing_lines, section_grid
from benchmarks.report import MET


def sample(calls: int, latency_ns: int = 100_000) -> Sample:
    return Sample(calls, 1.0, (latency_ns,) * (SHARES + 1))


def measured(name: str) -> Findings:
    """A section in which all sides are equally fast, but for its first."""
    findings = Findings(SECTIONS[name])
    for batch_size in findings.section.batch_sizes:
        for clients in findings.section.clients:
            for number, side in enumerate(findings.section.sides):
                findings.add(side, batch_size, clients, sample(1000 if number else 3000))
    return findings


@pytest.mark.parametrize("name", SECTIONS)
def test_every_bound_is_about_something_that_its_section_measures(name: str):
    outcomes = [row[-1] for row in bounds_grid(measured(name)).rows]
    assert outcomes
    assert "not measured" not in outcomes


@pytest.mark.parametrize("name", SECTIONS)
def test_every_published_figure_is_in_the_table(name: str):
    section = SECTIONS[name]
    shown = [row[-1] for row in section_grid(measured(name)).rows if row[-1] != "-"]
    assert len(shown) == len(section.published)


def test_a_row_has_rate_latencies_ratio_and_the_published_figure():
    rows = section_grid(measured("hello-local")).rows
    assert rows[1] == (
        *("1", "1", "torchpipe, Python backend", "1,000 (1,000 to 1,000)"),
        *("0.100 (0.100 to 0.100)", "0.100 (0.100 to 0.100)", "3.00 (3.00 to 3.00)", "65,227"),
    )


def test_a_side_that_failed_once_has_no_figures_and_a_reason():
    findings = measured("hello-rpc")
    findings.give_up("thrift", "not installed")
    assert [row[3] for row in section_grid(findings).rows if row[2] == "thrift"] == ["not measured"] * 2
    assert missing_lines(findings) == ["Not measured: thrift: not installed"]
    outcomes = {row[0]: row[-1] for row in bounds_grid(findings).rows}
    assert outcomes["flambeau, HTTP ÷ thrift, 1 client"] == "not measured"
    assert outcomes["flambeau, HTTP ÷ torchpipe + thrift, 1 client"] == MET


def test_latency_that_was_not_measured_is_shown_and_written_as_nothing():
    findings = Findings(SECTIONS["hello-local"])
    findings.add("torchpipe, C++ backend and client", 1, 1, Sample(1000, 1.0, ()))
    row = next(row for row in section_grid(findings).rows if row[2].endswith("and client"))
    assert row[3:6] == ("1,000 (1,000 to 1,000)", "-", "-")
    (line,) = csv.DictReader(as_csv([findings]).splitlines())
    assert (line["calls_per_s"], line["p50_ms"]) == ("1000.0", "")
    (run,) = json.loads(json_report([findings], {}))["sections"]["hello-local"]["runs"]
    assert (run["requests_per_s"], run["p50_ms"]) == (1000, None)


def test_csv_has_a_line_for_each_round():
    findings = Findings(SECTIONS["gil"])
    for calls in (10, 20):
        findings.add("bare loop", 1, 10, sample(calls))
    lines = list(csv.DictReader(as_csv([findings]).splitlines()))
    assert [(line["section"], line["side"], line["clients"], line["round"]) for line in lines] == [
        ("gil", "bare loop", "10", "1"),
        ("gil", "bare loop", "10", "2"),
    ]
    assert math.isclose(float(lines[1]["p99_ms"]), 0.1)


def test_page_holds_its_script_and_fetches_nothing():
    pytest.importorskip("plotly")
    from benchmarks.local_report.page import page

    findings = measured("hello-local")
    findings.give_up("torchpipe, C++ backend", "<not> installed")
    html = page([findings, measured("gil")], {"cores": 2}, "A & B")
    assert html.count("Plotly.newPlot(") >= 2
    assert "<script src=" not in html
    assert "<link" not in html
    assert "A &amp; B" in html
    assert "&lt;not&gt; installed" in html
