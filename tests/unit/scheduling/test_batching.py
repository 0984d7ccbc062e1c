"""The batch rules, by themselves and in simulations of closed-loop and open-loop clients."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from batching_simulator import AtOnceRule, Client, simulate
from hypothesis import given, settings
from hypothesis import strategies as st

from flambeau.config.model import BatchingConfig, BatchPolicy
from flambeau.scheduling.batching import AdaptiveRule, BatchCost, FixedRule, rule_for

ROUNDING_S = 1e-9


def config(batch_size, max_batch_delay_s=10.0, policy=BatchPolicy.ADAPTIVE):
    return BatchingConfig(batch_size=batch_size, max_batch_delay_s=max_batch_delay_s, policy=policy)


# --- fixed ---------------------------------------------------------------------------------------------------------


def test_fixed_sends_a_full_batch_at_once():
    rule = FixedRule(config(4, 0.05))
    assert rule.due_at(now=10.0, waiting=4, oldest_at=9.99, returned=0, idle=1) <= 10.0
    assert rule.due_at(now=10.0, waiting=7, oldest_at=9.99, returned=0, idle=1) <= 10.0


def test_fixed_sends_a_partial_batch_when_its_first_job_has_waited_for_the_longest_delay():
    rule = FixedRule(config(4, 0.05))
    assert rule.due_at(now=10.0, waiting=1, oldest_at=10.0, returned=0, idle=1) == 10.05
    assert rule.due_at(now=10.04, waiting=3, oldest_at=10.0, returned=0, idle=3) == 10.05


@pytest.mark.parametrize("policy", list(BatchPolicy))
def test_batches_of_one_never_wait(policy):
    rule = rule_for(config(1, policy=policy))
    assert rule.due_at(now=5.0, waiting=1, oldest_at=5.0, returned=0, idle=1) <= 5.0


def test_the_policy_chooses_the_rule():
    assert isinstance(rule_for(config(8)), AdaptiveRule)
    assert isinstance(rule_for(config(8, policy=BatchPolicy.FIXED)), FixedRule)


def test_under_fixed_a_lone_client_waits_for_the_longest_delay_each_time():
    rule = FixedRule(config(8, 0.05))
    outcome = simulate(rule, 8, lambda rows: 0.01, clients=[Client(lambda: 0.001)], batches=20)
    assert [batch.rows for batch in outcome.batches] == [1] * 20
    assert all(abs(batch.idle_s - 0.05) < ROUNDING_S for batch in outcome.batches)


# --- adaptive, decision by decision ----------------------------------------------------------------------------------


def adaptive_after(answered, batch_s=0.1, at=100.0, **settings):
    """A rule that has seen one batch, answered at a time, and takes all of its time for a fixed cost."""
    rule = AdaptiveRule(config(8, **settings))
    window_end = rule.batch_done(now=at, rows=answered, seconds=batch_s, returned=0)
    return rule, window_end


def test_the_first_job_of_all_is_sent_at_once():
    assert AdaptiveRule(config(8)).due_at(now=1.0, waiting=1, oldest_at=1.0, returned=0, idle=1) <= 1.0


def test_adaptive_waits_for_callers_just_answered_and_not_longer_than_half_a_batch_costs():
    rule, window_end = adaptive_after(answered=4)
    assert window_end == pytest.approx(100.05)
    assert rule.due_at(now=100.01, waiting=1, oldest_at=100.01, returned=1, idle=1) == window_end
    assert rule.due_at(now=window_end, waiting=1, oldest_at=100.01, returned=1, idle=1) <= window_end


def test_adaptive_sends_as_soon_as_all_callers_are_back():
    rule, _ = adaptive_after(answered=4)
    assert rule.due_at(now=100.01, waiting=4, oldest_at=100.0, returned=4, idle=1) <= 100.01


def test_adaptive_does_not_wait_while_another_worker_is_idle():
    rule, _ = adaptive_after(answered=4)
    assert rule.due_at(now=100.01, waiting=1, oldest_at=100.01, returned=1, idle=2) <= 100.01


def test_adaptive_stops_waiting_for_callers_that_do_not_come_back_and_starts_again_when_they_do():
    rule, _ = adaptive_after(answered=4)
    now = 100.0
    for _ in range(20):
        now += 1.0
        rule.batch_done(now, rows=4, seconds=0.1, returned=0)
    assert rule.due_at(now, waiting=1, oldest_at=now, returned=0, idle=1) <= now
    for _ in range(40):
        now += 1.0
        rule.batch_done(now, rows=4, seconds=0.1, returned=4)
    assert rule.due_at(now, waiting=1, oldest_at=now, returned=0, idle=1) > now


def test_adaptive_never_waits_past_the_longest_delay():
    rule, window_end = adaptive_after(answered=4, batch_s=100.0, max_batch_delay_s=0.02)
    assert window_end == pytest.approx(100.02)
    assert rule.due_at(now=100.015, waiting=1, oldest_at=99.998, returned=1, idle=1) == pytest.approx(100.018)


# --- the cost of a batch ---------------------------------------------------------------------------------------------


@given(st.floats(1e-5, 1.0), st.floats(0, 1.0), st.lists(st.integers(1, 64), min_size=30, max_size=60))
def test_the_fixed_cost_is_found_from_batches_of_different_sizes(fixed_s, row_s, sizes):
    cost = BatchCost()
    for rows in [1, *sizes, 64, 1]:
        cost.add(rows, fixed_s + row_s * rows)
    assert cost.fixed_s() == pytest.approx(fixed_s, rel=1e-6, abs=1e-6 * row_s * 64)


def test_the_fixed_cost_is_remembered_while_all_batches_are_of_one_size():
    cost = BatchCost()
    for rows in [1, 8, 2, 7] * 5 + [8] * 200:
        cost.add(rows, 0.010 + 0.002 * rows)
    assert cost.fixed_s() == pytest.approx(0.010)


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(0, 10)), min_size=1, max_size=50))
def test_the_fixed_cost_is_a_part_of_the_batch_time_whatever_the_times(batches):
    cost = BatchCost()
    for rows, seconds in batches:
        cost.add(rows, seconds)
        assert 0 <= cost.fixed_s() <= cost.mean_s


def test_statistics_count_batches_and_rows():
    cost = BatchCost()
    for _ in range(3):
        cost.add(2, 0.5)
    statistics = cost.statistics()
    assert (statistics.batches, statistics.rows) == (3, 6)
    assert statistics.mean_batch_size == pytest.approx(2)
    assert statistics.mean_batch_s == pytest.approx(0.5)


# --- simulations -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Load:
    """A worker and closed-loop clients. Think times are relative to the fixed cost of a batch."""

    clients: int
    batch_size: int
    fixed_s: float
    row_s: float
    think: float
    think_kind: str
    noise: float
    seed: int

    def run(self, rule, *, clients=None, workers=1, batches=500):
        source = random.Random(self.seed)
        mean_s = self.think * self.fixed_s
        think_s = {
            "constant": lambda: mean_s,
            "even": lambda: 2 * mean_s * source.random(),
            "exponential": lambda: source.expovariate(1 / mean_s) if mean_s else 0.0,
        }[self.think_kind]
        count = clients or self.clients
        return simulate(
            rule,
            self.batch_size,
            lambda rows: (self.fixed_s + self.row_s * rows) * (1 + self.noise * source.random()),
            clients=[Client(think_s, first_at=number * 1e-6) for number in range(count)],
            workers=workers,
            batches=batches,
        )


loads = st.builds(
    Load,
    clients=st.integers(1, 64),
    batch_size=st.integers(2, 32),
    fixed_s=st.floats(1e-4, 0.1),
    row_s=st.floats(1e-7, 0.1),
    think=st.floats(0, 6) | st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    think_kind=st.sampled_from(["constant", "even", "exponential"]),
    noise=st.sampled_from([0.0, 0.1, 0.5]),
    seed=st.integers(0, 2**32),
)
simulated = settings(max_examples=60, deadline=None)


@simulated
@given(loads, st.floats(0, 0.05), st.integers(1, 4), st.sampled_from([AdaptiveRule, FixedRule]))
def test_no_job_waits_beside_an_idle_worker_for_longer_than_the_longest_delay(load, delay_s, workers, kind):
    outcome = load.run(kind(config(load.batch_size, delay_s)), workers=workers, batches=200)
    assert max(batch.idle_s for batch in outcome.batches) <= delay_s + ROUNDING_S


@simulated
@given(loads, st.floats(0, 0.05))
def test_a_single_client_never_waits(load, delay_s):
    outcome = load.run(AdaptiveRule(config(load.batch_size, delay_s)), clients=1, batches=100)
    assert len(outcome.batches) == 100
    assert all(batch.idle_s == 0 for batch in outcome.batches)


@simulated
@given(loads)
def test_waiting_never_costs_throughput(load):
    adaptive = load.run(AdaptiveRule(config(load.batch_size))).throughput()
    assert adaptive >= 0.9 * load.run(AtOnceRule()).throughput()


@simulated
@given(loads)
def test_more_clients_never_get_less_than_one(load):
    one = load.run(AdaptiveRule(config(load.batch_size)), clients=1).throughput()
    assert load.run(AdaptiveRule(config(load.batch_size))).throughput() >= 0.97 * one


@simulated
@given(
    st.builds(
        Load,
        clients=st.just(0),
        batch_size=st.integers(2, 32),
        fixed_s=st.floats(1e-4, 0.1),
        row_s=st.floats(0, 1e-5),
        think=st.floats(0, 0.2),
        think_kind=st.sampled_from(["constant", "even"]),
        noise=st.sampled_from([0.0, 0.1, 0.3]),
        seed=st.integers(0, 2**32),
    ),
    st.data(),
)
def test_a_company_that_fits_one_batch_is_served_together_where_batches_cost_much(load, data):
    clients = data.draw(st.integers(2, load.batch_size))
    last_back_s = load.think * load.fixed_s * (2 if load.think_kind == "even" else 1)
    together_s = (load.fixed_s + load.row_s * clients) * (1 + load.noise / 2) + last_back_s
    outcome = load.run(AdaptiveRule(config(load.batch_size)), clients=clients)
    assert outcome.throughput() >= 0.9 * clients / together_s


def test_two_clients_of_a_costly_handler_are_served_in_nearly_half_the_time_that_they_would_take_in_turns():
    load = Load(2, 8, fixed_s=0.01, row_s=0.0, think=0.05, think_kind="constant", noise=0.0, seed=1)
    at_once = load.run(AtOnceRule()).throughput()
    assert load.run(AdaptiveRule(config(8))).throughput() > 1.8 * at_once


@settings(max_examples=30, deadline=None)
@given(
    batch_size=st.integers(2, 32),
    fixed_s=st.floats(1e-4, 0.03),
    row_s=st.floats(0, 0.03),
    utilisation=st.floats(0.02, 0.85),
    seed=st.integers(0, 2**32),
)
def test_requests_at_their_own_rate_are_hardly_held_up(batch_size, fixed_s, row_s, utilisation, seed):
    """Waiting for company that cannot come would add up to half of the fixed cost to every request."""

    def poisson():
        source = random.Random(seed)
        rate = utilisation * batch_size / (fixed_s + row_s * batch_size)
        now = 0.0
        while True:
            now += source.expovariate(rate)
            yield now

    def mean_latency_s(rule):
        outcome = simulate(rule, batch_size, lambda rows: fixed_s + row_s * rows, arrivals=poisson(), batches=500)
        return sum(outcome.latencies_s) / len(outcome.latencies_s)

    assert mean_latency_s(AdaptiveRule(config(batch_size))) <= 1.1 * mean_latency_s(AtOnceRule())


@simulated
@given(loads, st.integers(2, 4))
def test_waiting_costs_little_throughput_with_several_workers(load, workers):
    """Companies may be shared out among workers less evenly than by chance; the usual loss is below 2 %."""
    adaptive = load.run(AdaptiveRule(config(load.batch_size)), workers=workers, batches=500).throughput()
    assert adaptive >= 0.7 * load.run(AtOnceRule(), workers=workers, batches=500).throughput()
