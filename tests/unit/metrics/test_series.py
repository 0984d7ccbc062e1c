from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.metrics.series import BUCKET_BOUNDS, Counter, Gauge, Histogram


@pytest.mark.parametrize("kind", [Counter, Gauge, Histogram])
def test_nothing_is_taken_before_the_first_update_or_twice(kind):
    series = kind()
    assert series.take() is None
    series.record(0.0)
    assert series.take() == 0.0
    assert series.take() is None


@pytest.mark.parametrize(("kind", "taken"), [(Counter, 6.0), (Gauge, 1.0), (Histogram, 2.0)])
def test_what_is_taken_is_sum_last_value_or_mean(kind, taken: float):
    series = kind()
    for value in (2.0, 3.0, 1.0):
        series.record(value)
    assert series.take() == taken


def test_one_update_is_taken_exactly_as_it_was():
    counter = Counter()
    counter.record(89811.035)
    counter.take()
    counter.record(0.1)
    assert counter.take() == 0.1


def test_a_bucket_has_all_values_up_to_its_bound():
    histogram = Histogram()
    for value in (0.005, 0.0051, 10.0, 11.0, -1.0):
        histogram.record(value)
    samples = {suffix + label: value for suffix, label, value in histogram.samples()}
    assert samples['_bucketle="0.005",'] == 2
    assert samples['_bucketle="0.01",'] == 3
    assert samples['_bucketle="10.0",'] == 4
    assert samples['_bucketle="+Inf",'] == samples["_count"] == 5


@given(st.lists(st.floats(min_value=-100, max_value=100)))
def test_buckets_count_what_they_bound(values: list[float]):
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    buckets = [value for suffix, _, value in histogram.samples() if suffix == "_bucket"]
    assert buckets == [*(sum(value <= bound for value in values) for bound in BUCKET_BOUNDS), len(values)]
