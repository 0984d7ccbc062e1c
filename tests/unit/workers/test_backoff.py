import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flambeau.workers.backoff import RetryWindow, restart_delay_s

moments = st.floats(min_value=0, max_value=1e6)


def test_delays_are_torchserves_steps_and_stay_at_the_last():
    steps = [0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987, 1597]
    assert [restart_delay_s(failures) for failures in range(20)] == [*steps, 1597, 1597]


def test_worker_that_never_failed_is_healthy_and_due_at_once():
    window = RetryWindow(max_retry_timeout_s=300)
    assert window.is_healthy(now=1e9)
    assert not window.is_given_up(now=1e9)
    assert window.next_delay_s(now=5.0) == 0


def test_window_counts_from_the_failure_that_began_the_outage():
    window = RetryWindow(max_retry_timeout_s=300)
    window.failed(now=100.0)
    window.failed(now=399.0)
    assert window.is_healthy(now=399.9)
    assert not window.is_given_up(now=399.9)
    assert not window.is_healthy(now=400.0)
    assert window.is_given_up(now=400.0)


def test_success_ends_the_outage_and_the_next_failure_begins_a_new_one():
    window = RetryWindow(max_retry_timeout_s=300)
    for now in (0.0, 1.0, 2.0):
        window.failed(now)
    window.succeeded()
    assert window.is_healthy(now=1000.0)
    window.failed(now=1000.0)
    assert window.is_healthy(now=1299.0)
    assert window.next_delay_s(now=1000.0) == 1


def test_delay_counts_from_the_last_failure():
    window = RetryWindow(max_retry_timeout_s=300)
    for now in (0.0, 10.0, 20.0):
        window.failed(now)
    assert window.next_delay_s(now=20.0) == 2
    assert window.next_delay_s(now=20.5) == 1.5
    assert window.next_delay_s(now=60.0) == 0


def test_window_of_zero_gives_up_at_the_first_failure():
    window = RetryWindow(max_retry_timeout_s=0)
    window.failed(now=7.0)
    assert window.is_given_up(now=7.0)


@given(st.integers(min_value=0, max_value=10_000))
def test_delays_never_shrink_as_failures_add_up(failures):
    assert 0 <= restart_delay_s(failures) <= restart_delay_s(failures + 1) <= 1597


@given(
    window_s=st.floats(min_value=0, max_value=1e4),
    failures=st.lists(moments, min_size=1).map(sorted),
    later=moments,
)
def test_a_failing_worker_is_healthy_exactly_while_its_window_is_open(window_s, failures, later):
    window = RetryWindow(window_s)
    for now in failures:
        window.failed(now)
    now = failures[-1] + later
    is_open = now - failures[0] < window_s
    assert window.is_healthy(now) is is_open
    assert window.is_given_up(now) is not is_open


@example([(1.8299834867014073, True)], 0.0)
@given(st.lists(st.tuples(moments, st.booleans())).map(sorted), moments)
def test_next_attempt_is_never_further_away_than_its_step(events, later):
    window = RetryWindow(300)
    now = 0.0
    for now, has_failed in events:
        window.failed(now) if has_failed else window.succeeded()
    step = restart_delay_s(window.failures)
    assert window.next_delay_s(now) == pytest.approx(step)
    assert 0 <= window.next_delay_s(now + later) <= step
