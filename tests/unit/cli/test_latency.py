"""Latencies in a few numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.cli.latency import summarize


def test_of_nothing_there_is_nothing_to_say():
    assert summarize([]) == {}


def test_percentiles_are_the_nearest_values_at_or_above():
    figures = summarize([n / 1000 for n in range(100, 0, -1)])
    assert figures == pytest.approx({"min": 1, "mean": 50.5, "p50": 50, "p90": 90, "p99": 99, "max": 100})


@given(st.lists(st.floats(0, 1e3), min_size=1))
def test_the_figures_are_in_order(seconds):
    figures = summarize(seconds)
    assert figures["min"] <= figures["p50"] <= figures["p90"] <= figures["p99"] <= figures["max"]
    assert figures["min"] <= figures["mean"] * (1 + 1e-9) + 1e-300
    assert math.isclose(figures["max"], max(seconds) * 1000)
