import time

import pytest

from flambeau.api import Counted
from flambeau.request import InferenceRequest
from flambeau.scheduling.job import Job
from flambeau.scheduling.tally import Tally


class Holder:
    def forget(self, job):
        raise AssertionError


def job(arrived_at, cut_at):
    made = Job(InferenceRequest("id", [], []), None, arrived_at, Holder())
    made.cut_at = cut_at
    return made


def test_nothing_has_been_answered_at_first():
    statistics = Tally().statistics(10.0)
    assert statistics.succeeded == statistics.failed == statistics.queued == statistics.handled == Counted(0, 0.0)
    assert (statistics.batches, statistics.last_answer_at) == ({}, 0.0)


def test_requests_count_one_by_one_and_batches_by_their_size():
    tally = Tally()
    tally.answered([job(10.0, 11.0), job(10.5, 11.0)], now=13.0, handler_s=0.5)
    tally.answered([job(20.0, 20.25)], now=21.0, handler_s=0.125)
    statistics = tally.statistics(22.0)
    assert statistics.succeeded == Counted(3, 3.0 + 2.5 + 1.0)
    assert statistics.queued == Counted(3, 1.0 + 0.5 + 0.25)
    assert statistics.handled == Counted(3, 2 * 0.5 + 0.125)
    assert statistics.batches == {1: Counted(1, 0.125), 2: Counted(1, 0.5)}
    assert statistics.last_answer_at == pytest.approx(time.time() - 1.0, abs=5.0)


def test_failures_are_not_successes_whether_they_came_back_or_not():
    tally = Tally()
    bad = job(10.0, 11.0)
    tally.answered([bad, job(10.5, 11.0)], now=13.0, handler_s=0.5)
    tally.failed(bad, now=13.0)
    tally.lost(job(10.0, 10.0), now=14.0)
    statistics = tally.statistics(15.0)
    assert statistics.succeeded == Counted(1, 2.5)
    assert statistics.failed == Counted(2, 3.0 + 4.0)
    assert statistics.queued.count == 2


def test_statistics_are_a_copy():
    tally = Tally()
    tally.answered([job(10.0, 11.0)], now=13.0, handler_s=0.5)
    before = tally.statistics(14.0)
    tally.answered([job(10.0, 11.0)], now=13.0, handler_s=0.5)
    assert before.batches == {1: Counted(1, 0.5)}
