import json

from benchmarks.echo import json_body
from benchmarks.report import MET, MISSED, as_json, comparison_grid, markdown, target_grid
from benchmarks.results import Cell, Results, ratio_target, requests_per_s
from benchmarks.wrk import Measurement


def results() -> Results:
    made = Results()
    for server, requests in (("flambeau", 3000), ("mosec", 1000)):
        made.add(
            Cell(server, 8, 64),
            Measurement(requests, 1.0, p50_ms=0.5, p99_ms=1.5, max_ms=9.0, failed_replies=0, failed_connections=0),
        )
    return made


def target(at_least: float, to: str = "mosec"):
    return ratio_target(requests_per_s, batch_size=8, connections=64, to=to, at_least=at_least)


def test_comparison_says_how_many_times_each_peer_the_reference_is():
    rows = comparison_grid(results(), reference="flambeau", title="").rows
    assert [(row[2], row[-1]) for row in rows] == [("flambeau", ""), ("mosec", "3.00 (3.00 to 3.00)")]


def test_targets_are_met_missed_or_not_measured():
    rows = target_grid(results(), [target(3), target(4), target(1, to="torchserve")]).rows
    assert [row[-1] for row in rows] == [MET, MISSED, "not measured"]


def test_markdown_has_a_rule_under_the_header_and_a_line_per_row():
    lines = markdown(comparison_grid(results(), reference="flambeau", title="Echo")).splitlines()
    assert lines[0] == "### Echo"
    assert lines[3] == "| --- | --- | --- | --- | --- | --- | --- |"
    assert len([line for line in lines if line.startswith("| 8 |")]) == 2


def test_json_holds_every_run_and_every_target():
    report = json.loads(json.dumps(as_json(results(), {"rounds": 1}, [target(3)])))
    assert [(run["server"], run["requests_per_s"]) for run in report["runs"]] == [("flambeau", 3000), ("mosec", 1000)]
    assert report["targets"][0]["outcome"] == MET
    assert report["settings"] == {"rounds": 1}


def test_body_is_json_of_exactly_the_size_asked_for():
    assert len(json_body(64)) == 64
    assert set(json.loads(json_body(64))["data"]) == {"x"}
