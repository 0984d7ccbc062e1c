"""The page of compatibility says what the code and the cases say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flambeau.config.model_settings import MODEL_SETTINGS_BY_GROUP
from tests.compat import document, statuses
from tests.compat.endpoint_statuses import endpoint_rows
from tests.compat.statuses import Stale, Status

PAGE = Path(__file__).parents[2] / document.PAGE


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == document.page(), "stale: run python -m tests.compat.document"


def test_every_row_says_what_becomes_of_it() -> None:
    tables = re.findall(r"^\| `.*\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in tables]
    said = {status.value for status in Status}
    assert [row for row in cells if not said & set(row)] == []
    assert [row for row in cells if row[-1] == "" and Status.WORKS.value not in row] == []


def test_every_difference_is_shown_by_a_case() -> None:
    remarks = statuses.load_remarks()
    rows = endpoint_rows(remarks["endpoints"], remarks["differences"])
    shown = {name for port in rows.values() for row in port for name in row.remark.split(", ")}
    assert set(remarks["differences"]) - shown == set()


def test_what_is_there_is_not_said_to_be_missing() -> None:
    with pytest.raises(Stale, match=r"ts\.context: is there now"):
        statuses.module_rows({"ts.context": {"names": ["Context"], "not_yet": "one day"}})
    with pytest.raises(Stale, match="batchSize: is there now"):
        statuses.model_setting_rows({"batchSize": {"not_yet": "one day"}})


def test_requests_and_calls_that_do_not_meet_are_told() -> None:
    remarks = statuses.load_remarks()
    calls, differences = remarks["endpoints"], remarks["differences"]
    with pytest.raises(Stale, match="GET /nowhere: no endpoint of the metrics port"):
        endpoint_rows(
            {**calls, "metrics": [call for call in calls["metrics"] if call != "ANY /{rest...}"]}, differences
        )
    with pytest.raises(Stale, match=r"GET /never/\{x\}: no case sends it"):
        endpoint_rows({**calls, "metrics": ["GET /never/{x}", *calls["metrics"]]}, differences)


def test_differences_that_are_not_described_or_over_are_told() -> None:
    remarks = statuses.load_remarks()
    calls, differences = remarks["endpoints"], remarks["differences"]
    with pytest.raises(Stale, match="HEAD: this difference is not described"):
        endpoint_rows(calls, {name: row for name, row in differences.items() if name != "HEAD"})
    with pytest.raises(Stale, match=r"HEAD: ts\.context\.Context is there now"):
        endpoint_rows(calls, {**differences, "HEAD": {"until": "ts.context.Context"}})


def test_what_is_missing_says_why() -> None:
    with pytest.raises(Stale, match=r"ts\.context: is not there"):
        statuses.module_rows({"ts.context": {"names": ["Contextual"]}})
    with pytest.raises(Stale, match="nothing: is not there"):
        statuses.server_setting_rows({"nothing": None})
    with pytest.raises(Stale, match="Requests2XX: is not there"):
        statuses.metric_rows({"Requests2XX": {"declared": ["gauge", "Count", "Level", "Hostname"]}})


def test_torchserves_settings_are_all_on_the_page() -> None:
    remarks = statuses.load_remarks()
    ours = {row.key for group in MODEL_SETTINGS_BY_GROUP.values() for row in group if row.without_effect}
    assert ours - set(remarks["model_settings"]) == set()
    assert len(remarks["model_settings"]) == 23
