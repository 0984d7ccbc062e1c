from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flambeau.errors import HandlerFailed, QueueFull
from flambeau.request import InferenceReply, InferenceRequest, Purpose
from flambeau.scheduling.job import Job, JobState, settle
from flambeau.scheduling.queue import JobQueue
from flambeau.testing.workers import FakeCaller, request


def queue(limit_jobs=100, limit_bytes=10_000):
    return JobQueue("m", limit_jobs, limit_bytes)


def put(jobs, name="r", size_bytes=1, arrived_at=0.0, purpose=Purpose.PREDICT, priority=0, size=1):
    row = request(name, size_bytes)
    row.purpose = purpose
    job = Job(row, FakeCaller(), arrived_at, jobs, priority, size)
    jobs.put_nowait(job)
    return job


def names(batch):
    return [job.request.request_id for job in batch]


def test_jobs_leave_in_the_order_in_which_they_came():
    jobs = queue()
    for name in "abcde":
        put(jobs, name)
    assert [names(jobs.take(2, now=7.0)) for _ in range(4)] == [["a", "b"], ["c", "d"], ["e"], []]


@given(st.lists(st.integers(-2, 2)))
def test_jobs_leave_by_priority_and_then_in_the_order_in_which_they_came(priorities):
    jobs = queue()
    for number, priority in enumerate(priorities):
        put(jobs, str(number), priority=priority)
    expected = sorted(range(len(priorities)), key=lambda number: (-priorities[number], number))
    assert names(jobs.take(1000, now=0.0)) == [str(number) for number in expected]


def test_jobs_of_different_sizes_share_the_room_of_a_batch():
    jobs = queue()
    for name, size in (("a", 3), ("b", 4), ("c", 2), ("d", 20), ("e", 1)):
        put(jobs, name, size=size)
    assert jobs.size == 30
    assert [names(jobs.take(8, now=0.0)) for _ in range(4)] == [["a", "b"], ["c"], ["d"], ["e"]]
    assert jobs.size == 0


def test_an_old_job_expires_behind_a_younger_one_of_greater_priority():
    jobs = queue()
    old = put(jobs, "old", arrived_at=1.0)
    put(jobs, "young", arrived_at=9.0, priority=1)
    put(jobs, "younger", arrived_at=10.0)
    assert jobs.expire(5.0) == [old]
    assert names(jobs.take(3, now=10.0)) == ["young", "younger"]


def test_a_cut_job_knows_when_it_was_cut():
    jobs = queue()
    job = put(jobs, arrived_at=3.0)
    assert job.cut_at == 3.0
    jobs.take(1, now=7.0)
    assert (job.cut_at, job.state) == (7.0, JobState.CUT)


def test_a_queue_at_its_limit_of_jobs_refuses_with_its_name_and_limit():
    jobs = queue(limit_jobs=2)
    put(jobs)
    put(jobs)
    with pytest.raises(QueueFull, match=r'"m" has no worker .*\(queue is full: 2 jobs\)') as refusal:
        put(jobs)
    assert refusal.value.retry_after_s == 1
    jobs.take(1, now=0.0)
    put(jobs)


def test_a_queue_at_its_limit_of_bytes_refuses():
    jobs = queue(limit_bytes=100)
    put(jobs, size_bytes=60)
    put(jobs, size_bytes=40)
    with pytest.raises(QueueFull, match="100 bytes"):
        put(jobs, size_bytes=1)


def test_an_empty_queue_takes_a_job_that_is_larger_than_its_limit_of_bytes():
    jobs = queue(limit_bytes=100)
    put(jobs, size_bytes=1000)
    with pytest.raises(QueueFull):
        put(jobs, size_bytes=1)


def test_a_job_whose_caller_has_left_takes_no_room_and_is_never_cut():
    jobs = queue(limit_jobs=2)
    first, second = put(jobs, "first"), put(jobs, "second")
    first.abandon()
    put(jobs, "third")
    assert names(jobs.take(10, now=0.0)) == ["second", "third"]
    assert second.state is JobState.CUT


def test_a_job_whose_caller_has_left_keeps_none_of_its_bytes():
    jobs = queue()
    job = put(jobs, size_bytes=5000)
    put(jobs)
    job.abandon()
    assert job.request.size_bytes() == 0
    assert jobs.statistics().depth_bytes == 1


def test_many_callers_that_leave_are_not_kept():
    jobs = queue(limit_jobs=10_000, limit_bytes=1 << 30)
    for _ in range(5000):
        put(jobs).abandon()
    assert len(jobs._waiting) < 100


def test_retried_jobs_run_alone_before_all_others():
    jobs = queue()
    for name in "abcd":
        put(jobs, name)
    jobs.retry(jobs.take(2, now=0.0), now=1.0)
    assert [names(jobs.take(8, now=2.0)) for _ in range(3)] == [["a"], ["b"], ["c", "d"]]


def test_jobs_put_back_are_first_again_in_their_order():
    jobs = queue(limit_jobs=4)
    for name in "abcd":
        put(jobs, name)
    cut = jobs.take(2, now=0.0)
    put(jobs, "e")
    jobs.put_back(cut)
    assert names(jobs.take(8, now=0.0)) == ["a", "b", "c", "d", "e"]


def test_a_job_that_has_cost_a_worker_stays_alone_when_it_is_put_back():
    jobs = queue()
    put(jobs, "suspect")
    suspects = jobs.take(1, now=0.0)
    put(jobs, "neighbour")
    suspects[0].attempts = 1
    jobs.put_back(suspects)
    assert [names(jobs.take(8, now=1.0)) for _ in range(2)] == [["suspect"], ["neighbour"]]


def test_a_batch_has_one_purpose_and_a_describe_request_is_alone():
    jobs = queue()
    for name, purpose in zip("abcdefg", (0, 0, 1, 2, 2, 0, 0), strict=True):
        put(jobs, name, purpose=Purpose(purpose))
    assert [names(jobs.take(8, now=0.0)) for _ in range(5)] == [["a", "b"], ["c"], ["d"], ["e"], ["f", "g"]]
    assert jobs.statistics().depth == 0


def test_jobs_expire_by_their_arrival():
    jobs = queue()
    put(jobs, "old", arrived_at=3.0)
    put(jobs, "new", arrived_at=6.0)
    assert names(jobs.expire(5.0)) == ["old"]
    assert names(jobs.expire(10.0)) == ["new"]
    assert jobs.statistics().depth == 0


def test_retried_jobs_expire_by_the_last_death_of_a_worker():
    jobs = queue()
    put(jobs, "first", arrived_at=1.0).attempts = 1
    put(jobs, "second", arrived_at=1.0).attempts = 1
    first, second = jobs.take(2, now=2.0)
    jobs.retry([first], now=10.0)
    jobs.retry([second], now=20.0)
    assert jobs.expire(100.0) == []
    assert jobs.expire_retries(20.0) == []
    assert names(jobs.expire_retries(20.5)) == ["first", "second"]
    assert jobs.statistics().depth == 0


def test_a_window_counts_the_arrivals_in_it():
    jobs = queue()
    put(jobs, arrived_at=1.0)
    jobs.open_window(5.0)
    for arrived_at in (2.0, 5.0, 5.1):
        put(jobs, arrived_at=arrived_at)
    assert jobs.window_arrivals == 2
    jobs.open_window(9.0)
    assert jobs.window_arrivals == 0


def test_statistics_say_what_room_there_is():
    jobs = queue(limit_jobs=3, limit_bytes=50)
    put(jobs, size_bytes=7)
    jobs.resize(2, 40)
    statistics = jobs.statistics()
    assert (statistics.depth, statistics.depth_bytes, statistics.limit_jobs, statistics.limit_bytes) == (1, 7, 2, 40)
    assert statistics.remaining_capacity == 1
    jobs.resize(0, 0)
    assert jobs.statistics().remaining_capacity == 0


def test_a_job_is_answered_once():
    jobs = queue()
    job = put(jobs)
    caller = job.caller
    jobs.take(1, now=0.0)
    assert settle(job, InferenceReply(b"first"))
    assert not settle(job, HandlerFailed())
    assert caller.outcome == InferenceReply(b"first")


def test_a_caller_that_left_is_not_answered_and_is_no_error():
    jobs = queue()
    job = put(jobs)
    caller = job.caller
    jobs.take(1, now=0.0)
    job.abandon()
    job.abandon()
    assert not settle(job, InferenceReply(b""))
    assert caller.outcomes == []


class QueueMachine(RuleBasedStateMachine):
    """The queue beside a plain list of everything that was ever accepted."""

    def __init__(self):
        super().__init__()
        self.limit_jobs, self.limit_bytes = 6, 100
        self.queue = JobQueue("m", self.limit_jobs, self.limit_bytes)
        self.now = 0.0
        self.callers = {}
        self.waiting = []
        """Wanted jobs as they should come out, those that must run alone first."""
        self.batches = []
        """What workers have."""
        self.accepted = []

    def tick(self):
        self.now += 1.0
        return self.now

    def alone(self):
        return [job for job in self.waiting if job.attempts]

    @rule(size=st.integers(0, 120), purpose=st.sampled_from(list(Purpose)))
    def put(self, size, purpose):
        caller = FakeCaller()
        row = InferenceRequest("", [], [("body", "", bytes(size))], purpose)
        job = Job(row, caller, self.tick(), self.queue)
        waiting_bytes = sum(each.size_bytes for each in self.waiting)
        has_room = len(self.waiting) < self.limit_jobs and (
            not self.waiting or waiting_bytes + size <= self.limit_bytes
        )
        if has_room:
            self.queue.put_nowait(job)
            self.callers[job] = caller
            self.waiting.append(job)
            self.accepted.append(job)
        else:
            with pytest.raises(QueueFull):
                self.queue.put_nowait(job)

    @rule(size=st.integers(1, 4))
    def take(self, size):
        batch = self.queue.take(size, self.tick())
        alone = self.alone()
        if alone:
            expected = alone[:1]
        else:
            expected = []
            for job in self.waiting[:size]:
                purpose = job.request.purpose
                if expected and (purpose == Purpose.DESCRIBE or purpose != expected[0].request.purpose):
                    break
                expected.append(job)
                if purpose == Purpose.DESCRIBE:
                    break
        assert batch == expected
        assert all(job.state is JobState.CUT and job.cut_at == self.now for job in batch)
        for job in batch:
            self.waiting.remove(job)
        if batch:
            self.batches.append(batch)

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def answer(self, data):
        for job in self.batches.pop(data.draw(st.integers(0, len(self.batches) - 1))):
            settle(job, InferenceReply(b""))

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def worker_dies(self, data):
        batch = self.batches.pop(data.draw(st.integers(0, len(self.batches) - 1)))
        again = []
        for job in batch:
            job.attempts += 1
            if job.attempts == 1:
                again.append(job)
            else:
                settle(job, HandlerFailed())
        self.queue.retry(again, self.tick())
        wanted = [job for job in again if job.state is JobState.WAITING]
        alone = self.alone()
        self.waiting = alone + wanted + [job for job in self.waiting if job not in alone]

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def worker_is_stopped(self, data):
        batch = self.batches.pop(data.draw(st.integers(0, len(self.batches) - 1)))
        self.queue.put_back(batch)
        wanted = [job for job in batch if job.state is JobState.WAITING]
        first = [job for job in wanted if job.attempts] + self.alone()
        then = [job for job in wanted if not job.attempts] + [job for job in self.waiting if not job.attempts]
        self.waiting = first + then

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def caller_leaves(self, data):
        job = data.draw(st.sampled_from(self.accepted))
        job.abandon()
        if job in self.waiting:
            self.waiting.remove(job)

    @rule(age=st.integers(0, 20))
    def expire(self, age):
        expired = self.queue.expire(self.now - age)
        for job in expired:
            self.waiting.remove(job)
            assert settle(job, HandlerFailed())
        for job in [job for job in self.waiting if not job.attempts][:1]:
            assert job.arrived_at >= self.now - age

    @rule(age=st.integers(0, 20))
    def expire_retries(self, age):
        for job in self.queue.expire_retries(self.now - age):
            self.waiting.remove(job)
            assert settle(job, HandlerFailed())
        assert all(job.cut_at >= self.now - age for job in self.alone())

    @rule()
    def clear(self):
        cleared = self.queue.clear()
        assert sorted(map(id, cleared)) == sorted(map(id, self.waiting))
        for job in cleared:
            assert settle(job, HandlerFailed())
        self.waiting = []

    @rule(limit_jobs=st.integers(1, 8), limit_bytes=st.integers(1, 200))
    def resize(self, limit_jobs, limit_bytes):
        self.limit_jobs, self.limit_bytes = limit_jobs, limit_bytes
        self.queue.resize(limit_jobs, limit_bytes)

    @invariant()
    def counts_are_those_of_the_jobs_that_are_wanted(self):
        statistics = self.queue.statistics()
        assert statistics.depth == len(self.waiting)
        assert statistics.depth_bytes == sum(job.size_bytes for job in self.waiting)
        oldest_at = self.queue.oldest_arrival()
        assert oldest_at == (self.waiting[0].arrived_at if self.waiting else None)

    @invariant()
    def every_job_is_in_one_place_and_answered_at_most_once(self):
        in_batches = {id(job) for batch in self.batches for job in batch}
        for job in self.accepted:
            answers = len(self.callers[job].outcomes)
            assert answers == (job.state is JobState.SETTLED)
            is_wanted = job.state in (JobState.WAITING, JobState.CUT)
            assert is_wanted == ((job in self.waiting or id(job) in in_batches) and job.state is not JobState.ABANDONED)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
