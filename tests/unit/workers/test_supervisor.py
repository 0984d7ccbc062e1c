"""The supervisor over workers that are no processes, in time that takes none."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest

from flambeau.errors import InvalidModel, StartFailed
from flambeau.request import ModelRef
from flambeau.testing.clock import FakeClock, run_in_fake_time
from flambeau.workers.exits import WorkerExit
from flambeau.workers.lifecycle import WorkerState
from flambeau.workers.process import WorkerFailed
from flambeau.workers.supervisor import Supervisor

DIED = WorkerExit("killed by SIGSEGV", False)
RETRY_S = 300.0


class FakeWorker:
    """A worker process without a process."""

    def __init__(self, worker_id, hooks):
        self.id = worker_id
        self.pid = 100 + worker_id
        self.hooks = hooks
        self.gone = asyncio.get_running_loop().create_future()

    def die(self, how=DIED):
        self.hooks.on_lost(self.id)
        self.gone.set_result(how)

    async def end(self):
        if not self.gone.done():
            self.gone.set_result(WorkerExit("exited with status 0", False))
        return self.gone.result()


class Seats:
    """A dispatcher that writes down what it is told."""

    def __init__(self):
        self.calls = []
        self.busy = set()

    def attach(self, worker):
        self.calls.append(("attach", worker.id))

    def release(self, worker_id):
        self.calls.append(("release", worker_id))
        return worker_id not in self.busy

    def detach(self, worker_id, error):
        self.calls.append(("detach", worker_id, error and error.message))

    def batch_finished(self, worker_id, reply):
        raise AssertionError("no batches here")


class Stage:
    """A supervisor, and what stands around it."""

    def __init__(self, clock, *, max_retry_timeout_s=RETRY_S, drain_timeout_s=60.0):
        self.workers = []
        self.outcomes = deque()
        """What becomes of the next starts: an exception, or an awaitable to wait for. Empty: they are ready at once."""
        self.launch_errors = deque()
        self.seats = Seats()
        self.clock = clock
        ids = iter(range(1, 100))
        self.supervisor = Supervisor(
            ModelRef("m", "1.0"),
            self.seats,
            launch=self._launch,
            new_worker_id=lambda: next(ids),
            max_retry_timeout_s=max_retry_timeout_s,
            drain_timeout_s=lambda: drain_timeout_s,
            on_line=lambda *_: None,
            on_change=lambda: None,
            on_loaded=lambda *_: None,
            start_worker=self._start,
            clock=self.clock,
        )

    def want(self, count):
        self.supervisor.resize(count)
        self.supervisor.start()

    def _launch(self, worker_id):
        if self.launch_errors:
            raise self.launch_errors.popleft()
        return worker_id

    async def _start(self, worker_id, hooks):
        outcome = self.outcomes.popleft() if self.outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is not None:
            await outcome
        worker = FakeWorker(worker_id, hooks)
        self.workers.append(worker)
        return worker

    @property
    def states(self):
        return [slot.state for slot in self.supervisor.slots]


def in_fake_time(scenario):
    """Runs a test that is given a clock."""

    def test():
        clock = FakeClock()
        run_in_fake_time(asyncio.wait_for(scenario(clock), 3600), clock)

    test.__name__ = scenario.__name__
    return test


async def until(condition):
    """Let time pass until something holds; the test's time limit ends it."""
    while not condition():  # noqa: ASYNC110 - what is waited for is in several objects, none of which knows of the test
        await asyncio.sleep(0.01)


@in_fake_time
async def test_wanted_workers_are_started_and_attached(clock):
    stage = Stage(clock)
    stage.want(2)
    await stage.supervisor.wait_ready()
    assert stage.states == [WorkerState.READY] * 2
    assert stage.seats.calls == [("attach", 1), ("attach", 2)]
    assert stage.supervisor.ready_count == 2


@in_fake_time
async def test_a_worker_that_died_is_detached_with_the_reason_and_replaced(clock):
    stage = Stage(clock)
    stage.want(1)
    await stage.supervisor.wait_ready()
    stage.workers[0].die()
    died_at = clock.now
    await stage.supervisor.wait_ready()
    await until(lambda: len(stage.workers) == 2)
    assert clock.now - died_at == pytest.approx(1.0, abs=0.1)
    assert ("detach", 1, "Worker died. Killed by SIGSEGV.") in stage.seats.calls
    (slot,) = stage.supervisor.slots
    assert (slot.restarts, slot.failure) == (1, "")


@in_fake_time
async def test_a_worker_that_lost_its_connection_is_given_nothing_more_before_it_is_known_how_it_ended(clock):
    stage = Stage(clock)
    stage.want(1)
    await stage.supervisor.wait_ready()
    (worker,) = stage.workers
    worker.hooks.on_lost(worker.id)
    assert stage.seats.calls[-1] == ("release", 1)


@in_fake_time
async def test_a_load_that_fails_ends_the_wait_with_its_reason(clock):
    stage = Stage(clock)
    stage.outcomes.append(WorkerFailed("ValueError: no weights"))
    stage.want(1)
    with pytest.raises(
        StartFailed, match=r"Failed to start workers for model m version: 1\.0\. ValueError: no weights"
    ):
        await stage.supervisor.wait_ready()
    await stage.supervisor.stop(0)


@in_fake_time
async def test_settings_that_make_no_launch_are_a_load_that_fails(clock):
    stage = Stage(clock)
    stage.launch_errors.append(InvalidModel("warmUp names cat.jpg, which is not a file of the archive"))
    stage.want(1)
    with pytest.raises(StartFailed, match=r"warmUp names cat\.jpg"):
        await stage.supervisor.wait_ready()
    await stage.supervisor.wait_ready()
    assert stage.states == [WorkerState.READY]


@in_fake_time
async def test_a_fault_in_the_supervisor_itself_ends_the_wait(clock):
    stage = Stage(clock)
    stage.launch_errors.append(KeyError("a bug"))
    stage.want(1)
    with pytest.raises(StartFailed, match="internal error, see the log"):
        await stage.supervisor.wait_ready()
    assert stage.states == [WorkerState.GIVEN_UP]


@in_fake_time
async def test_a_wait_that_begins_while_a_worker_is_being_replaced_does_not_fail_for_the_death_before_it(clock):
    stage = Stage(clock)
    stage.want(1)
    await stage.supervisor.wait_ready()
    stage.workers[0].die()
    await until(lambda: stage.states == [WorkerState.BACKING_OFF])
    waiting = asyncio.ensure_future(stage.supervisor.wait_ready())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert await stage.supervisor.stop(5)
    with pytest.raises(StartFailed, match=r"It was unregistered\."):
        await waiting


@in_fake_time
async def test_a_worker_that_fails_for_the_whole_retry_window_is_given_up_and_no_hope_is_left(clock):
    stage = Stage(clock, max_retry_timeout_s=100.0)
    stage.outcomes.extend(WorkerFailed("ValueError: /secret has no weights") for _ in range(100))
    began_at = clock.now
    stage.want(1)
    await until(lambda: stage.states == [WorkerState.GIVEN_UP])
    supervisor = stage.supervisor
    assert not supervisor.has_hope
    assert supervisor.healthy_count(stage.clock.now) == 0
    assert supervisor.slots[0].failure == "ValueError: /secret has no weights"
    assert supervisor.last_failure() == "its handler does not load"
    pauses_s = [1, 1, 2, 3, 5, 8, 13, 21, 34, 55]  # the failure after 88 s is the last in the window
    assert supervisor.slots[0].restarts == len(pauses_s)
    assert clock.now - began_at == pytest.approx(sum(pauses_s), abs=0.1)


@in_fake_time
async def test_why_there_is_no_worker_is_said_without_what_the_worker_wrote_last(clock):
    stage = Stage(clock, max_retry_timeout_s=0.0)
    stage.want(1)
    await stage.supervisor.wait_ready()
    stage.workers[0].die(WorkerExit("exited with status 1", False, "FileNotFoundError: /secret/weights.pt"))
    await until(lambda: stage.states == [WorkerState.GIVEN_UP])
    assert stage.supervisor.slots[0].failure == "exited with status 1: FileNotFoundError: /secret/weights.pt"
    assert stage.supervisor.last_failure() == "exited with status 1"


@in_fake_time
async def test_a_worker_that_was_given_up_makes_room_for_a_new_one_when_it_is_scaled_away(clock):
    stage = Stage(clock, max_retry_timeout_s=0.0)
    stage.outcomes.append(WorkerFailed("ValueError: no weights"))
    stage.want(1)
    await until(lambda: stage.states == [WorkerState.GIVEN_UP])
    stage.want(0)
    stage.want(1)
    await stage.supervisor.wait_ready()
    assert [slot.id for slot in stage.supervisor.slots] == [2]


@in_fake_time
async def test_a_worker_that_is_scaled_away_finishes_its_batch_first(clock):
    stage = Stage(clock)
    stage.want(2)
    await stage.supervisor.wait_ready()
    stage.seats.busy.add(2)
    stage.want(1)
    scaled = asyncio.ensure_future(stage.supervisor.wait_ready())
    await until(lambda: ("release", 2) in stage.seats.calls)
    last = stage.workers[1]
    assert not last.gone.done()
    assert not scaled.done()
    last.hooks.on_released(2)
    await scaled
    assert last.gone.done()
    assert stage.seats.calls[-1] == ("detach", 2, None)


@in_fake_time
async def test_what_a_worker_that_died_had_finished_does_not_cut_its_successor_short(clock):
    stage = Stage(clock)
    stage.want(1)
    await stage.supervisor.wait_ready()
    stage.workers[0].hooks.on_released(1)  # it was to be killed, and its last answer came all the same
    stage.workers[0].die()
    await until(lambda: len(stage.workers) == 2 and stage.states == [WorkerState.READY])
    stage.seats.busy.add(1)
    stage.want(0)
    await until(lambda: ("release", 1) in stage.seats.calls[-1:])
    successor = stage.workers[1]
    assert not successor.gone.done()
    successor.hooks.on_released(1)
    await stage.supervisor.wait_ready()
    assert successor.gone.done()


@in_fake_time
async def test_a_batch_that_never_ends_does_not_hold_up_scaling_for_longer_than_the_drain_time_out(clock):
    stage = Stage(clock, drain_timeout_s=30.0)
    stage.want(1)
    await stage.supervisor.wait_ready()
    stage.seats.busy.add(1)
    stage.want(0)
    await stage.supervisor.wait_ready()
    assert stage.workers[0].gone.done()


@in_fake_time
async def test_stopping_ends_workers_that_load_and_those_that_pause(clock):
    stage = Stage(clock)
    stage.outcomes.extend([asyncio.get_running_loop().create_future(), WorkerFailed("ValueError: no weights")])
    stage.want(2)
    await until(lambda: stage.states == [WorkerState.LOADING, WorkerState.BACKING_OFF])
    assert await stage.supervisor.stop(5)
    assert stage.supervisor.slots == []


@in_fake_time
async def test_stopping_without_time_ends_a_worker_in_mid_batch(clock):
    stage = Stage(clock)
    stage.want(1)
    await stage.supervisor.wait_ready()
    stage.seats.busy.add(1)
    assert not await stage.supervisor.stop(0)
    assert stage.workers[0].gone.done()


@in_fake_time
async def test_scaling_down_ends_the_newest_workers_and_ids_are_never_used_again(clock):
    stage = Stage(clock)
    stage.want(3)
    await stage.supervisor.wait_ready()
    stage.want(1)
    await stage.supervisor.wait_ready()
    stage.want(2)
    await stage.supervisor.wait_ready()
    assert [slot.id for slot in stage.supervisor.slots] == [1, 4]
