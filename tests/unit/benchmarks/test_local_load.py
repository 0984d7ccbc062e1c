import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.local_report.load import LoadFailed, Sample, Window, closed_loop, measure_threads, pooled

latencies = st.lists(st.integers(1, 10**9), min_size=1, max_size=300)


class Clock:
    """Time that passes only while something is called."""

    def __init__(self, call_ns: int) -> None:
        self.time_ns = 0
        self.call_ns = call_ns

    def now(self) -> int:
        return self.time_ns

    def call(self, row: object) -> None:
        self.time_ns += self.call_ns


@pytest.mark.parametrize(("call_ns", "ended_within"), [(10, 10), (30, 3), (1, 100)])
def test_calls_that_end_within_the_window_count_whenever_they_began(call_ns: int, ended_within: int):
    clock = Clock(call_ns)
    latencies_ns = closed_loop(clock.call, None, Window(50, 150), clock.now)
    assert list(latencies_ns) == [call_ns] * ended_within


def test_a_client_that_comes_late_counts_from_when_it_comes():
    clock = Clock(10)
    clock.time_ns = 95
    assert list(closed_loop(clock.call, None, Window(50, 150), clock.now)) == [10] * 5


def test_a_window_in_which_nothing_ended_is_an_error():
    with pytest.raises(LoadFailed, match="no call ended within"):
        measure_threads(str, None, 2, Window(0, 0))


def far_away() -> Window:
    return Window.after(100, 100)


def test_as_many_calls_are_under_way_as_there_are_clients():
    company = threading.Barrier(3, timeout=30)

    def call(row: str) -> None:
        company.wait()
        raise ValueError(f"three came with {row}")

    with pytest.raises(LoadFailed, match="three came with this row"):
        measure_threads(call, "this row", 3, far_away())


@given(latencies)
def test_quantiles_are_values_that_were_measured_in_order_from_least_to_greatest(values: list[int]):
    quantiles = Sample.of(values, 1.0).quantiles_ns
    assert set(quantiles) <= set(values)
    assert list(quantiles) == sorted(quantiles)
    assert (quantiles[0], quantiles[-1]) == (min(values), max(values))


@given(latencies)
def test_half_of_the_calls_took_no_more_than_the_median_and_half_no_less(values: list[int]):
    median = Sample.of(values, 1.0).quantiles_ns[500]
    assert sum(value <= median for value in values) * 2 >= len(values)
    assert sum(value >= median for value in values) * 2 >= len(values)


def test_median_of_few_is_exact():
    assert Sample.of([5_000_000, 1_000_000, 3_000_000], 1.0).quantile_ms(0.5) == 3.0


def test_a_pool_weighs_each_process_by_its_calls():
    quick = Sample.of([1_000_000] * 900, 2.0)
    slow = Sample.of([9_000_000] * 100, 2.0)
    both = pooled([quick, slow])
    assert (both.calls, both.seconds) == (1000, 2.0)
    assert [both.quantile_ms(share) for share in (0.5, 0.89, 0.91, 1)] == [1.0, 1.0, 9.0, 9.0]


@given(latencies, latencies)
def test_a_pool_has_the_extremes_of_its_parts(some: list[int], others: list[int]):
    quantiles = pooled([Sample.of(some, 1.0), Sample.of(others, 1.0)]).quantiles_ns
    assert (quantiles[0], quantiles[-1]) == (min(some + others), max(some + others))


def test_latency_that_was_not_measured_is_not_a_number():
    assert math.isnan(pooled([Sample(10, 1.0, ())]).quantile_ms(0.5))
