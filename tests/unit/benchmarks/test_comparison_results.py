from __future__ import annotations

import pytest

from benchmarks.presets import PRESETS, PresetName
from benchmarks.results import Cell, Results, company_target, latency_target, p99_ms, ratio_target, requests_per_s
from benchmarks.wrk import Measurement

FLAMBEAU = Cell("flambeau", 8, 64)
MOSEC = Cell("mosec", 8, 64)


def run(rate: float, *, p50_ms: float = 1.0, p99_ms: float = 2.0, failed_replies: int = 0) -> Measurement:
    return Measurement(
        requests=round(rate) + failed_replies,
        seconds=1.0,
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        max_ms=9.0,
        failed_replies=failed_replies,
        failed_connections=0,
    )


def results(rates: dict[Cell, list[float]]) -> Results:
    made = Results()
    for cell, values in rates.items():
        for value in values:
            made.add(cell, run(value))
    return made


def test_spread_is_the_median_and_the_extremes_over_the_rounds():
    spread = results({FLAMBEAU: [100, 400, 200]}).spread(FLAMBEAU, requests_per_s)
    assert (spread.median, spread.low, spread.high) == (200, 100, 400)


def test_ratio_is_taken_round_by_round_so_that_a_slow_round_slows_both_sides():
    ratio = results({FLAMBEAU: [300, 30, 600], MOSEC: [100, 10, 200]}).ratio(FLAMBEAU, MOSEC, requests_per_s)
    assert (ratio.median, ratio.low, ratio.high) == (3, 3, 3)


def test_ratio_to_a_server_that_was_not_measured_is_an_error():
    with pytest.raises(KeyError):
        results({FLAMBEAU: [1]}).ratio(FLAMBEAU, MOSEC, requests_per_s)


@pytest.mark.parametrize(("ours", "met"), [(159, False), (160, True)])
def test_lower_bound_holds_from_its_own_value_on(ours: float, met: bool):
    target = ratio_target(requests_per_s, batch_size=8, connections=64, to="mosec", at_least=1.6)
    assert target.is_met(results({FLAMBEAU: [ours], MOSEC: [100]})) is met


@pytest.mark.parametrize(("ours", "met"), [(3.0, True), (3.1, False)])
def test_upper_bound_holds_up_to_its_own_value(ours: float, met: bool):
    target = ratio_target(p99_ms, batch_size=8, connections=64, to="mosec", at_most=1)
    made = Results()
    made.add(FLAMBEAU, run(1, p99_ms=ours))
    made.add(MOSEC, run(1, p99_ms=3.0))
    assert target.is_met(made) is met


def test_company_is_compared_with_one_client_alone():
    made = results({Cell("flambeau", 32, 1): [100], Cell("flambeau", 32, 3): [99]})
    assert not company_target(3, batch_size=32).is_met(made)


def test_latency_target_reads_the_median_latency():
    made = Results()
    made.add(Cell("flambeau", 32, 1), run(1, p50_ms=0.2))
    assert latency_target(batch_size=32, connections=1, at_most_ms=0.25).is_met(made)


def test_only_cells_with_failures_are_reported():
    made = Results()
    made.add(FLAMBEAU, run(10))
    made.add(MOSEC, run(10, failed_replies=4))
    made.add(MOSEC, run(10, failed_replies=1))
    assert made.failures == {MOSEC: 5}


@pytest.mark.parametrize("name", PresetName)
def test_every_target_of_a_preset_can_be_answered_by_what_the_preset_measures(name: PresetName):
    preset = PRESETS[name]
    made = results(
        {
            Cell(server, batch_size, connections): [100.0]
            for server in preset.servers
            for batch_size in preset.batch_sizes
            for connections in preset.connections
        }
    )
    for target in preset.targets:
        target.is_met(made)
