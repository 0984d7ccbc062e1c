"""The dispatcher on an event loop whose timers take no time, with workers that do as the test says."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import replace

import pytest

from flambeau.config.model import BatchingConfig, BatchPolicy, ModelConfig
from flambeau.errors import (
    HandlerFailed,
    HandlerRejected,
    NoWorker,
    OutOfMemory,
    QueueFull,
    QueueTimedOut,
    ServingError,
    ShuttingDown,
    WorkerDied,
)
from flambeau.request import InferenceReply, ModelRef, RowError
from flambeau.scheduling.dispatcher import Dispatcher, error_of
from flambeau.testing.clock import FakeClock, run_in_fake_time
from flambeau.testing.workers import FakeCaller, FakeWorker, request
from flambeau.wire.messages import MAX_BATCHES

QUICK_S, SLOW_S = 0.001, 0.5


def batching(batch_size, delay_s=10.0, policy=BatchPolicy.ADAPTIVE):
    return BatchingConfig(batch_size=batch_size, max_batch_delay_s=delay_s, policy=policy)


class Bench:
    """A dispatcher, its workers and its callers."""

    def __init__(self, clock, **settings):
        self.clock = clock
        self.config = ModelConfig(**{"batching": batching(4), **settings})
        self.finished = []
        self.dispatcher = Dispatcher(
            ModelRef("m", "1.0"), self.config, lambda reply, seconds: self.finished.append((reply, seconds)), clock
        )
        self.callers = {}
        self.workers = 0

    def worker(self):
        self.workers += 1
        return FakeWorker(self.workers, self.dispatcher)

    def submit(self, names, size_bytes=1):
        jobs = []
        for name in names:
            caller = FakeCaller()
            jobs.append(self.dispatcher.submit(request(name, size_bytes), caller, self.clock.monotonic()))
            self.callers[name] = caller
        return jobs

    async def turn(self):
        """Let everything run that is due now."""
        for _ in range(3):
            await asyncio.sleep(0)

    async def pass_time(self, seconds):
        await asyncio.sleep(seconds)
        await self.turn()

    def outcome(self, name):
        return self.callers[name].outcome

    def answered(self):
        """Names and bodies of the callers that got a reply."""
        replies = {name: caller.outcome for name, caller in self.callers.items() if caller.outcomes}
        return {name: bytes(reply.body) for name, reply in replies.items() if isinstance(reply, InferenceReply)}


def scenario(**settings):
    """Run a coroutine function with a bench, in fake time, and then see that nobody was forgotten."""

    def wrap(run):
        @functools.wraps(run)
        def test():
            clock = FakeClock()

            async def main():
                bench = Bench(clock, **settings)
                try:
                    await run(bench)
                finally:
                    bench.dispatcher.close()
                assert all(len(caller.outcomes) <= 1 for caller in bench.callers.values()), "answered twice"

            run_in_fake_time(main(), clock)

        del test.__wrapped__  # pytest looks there for fixtures
        return test

    return wrap


# --- batching --------------------------------------------------------------------------------------------------------


@scenario()
async def test_jobs_of_one_turn_are_sent_together_up_to_the_batch_size(bench):
    worker = bench.worker()
    bench.submit("abcdef")
    await bench.turn()
    assert worker.rows() == [["a", "b", "c", "d"]]
    worker.answer(seconds=SLOW_S)
    await bench.pass_time(SLOW_S)
    assert worker.rows()[1] == ["e", "f"]
    worker.answer(seconds=SLOW_S)
    assert bench.answered() == {name: name.encode() for name in "abcdef"}


@scenario()
async def test_idle_workers_share_what_waits(bench):
    first, second = bench.worker(), bench.worker()
    bench.submit("abcdef")
    await bench.turn()
    assert sorted(first.rows() + second.rows()) == [["a", "b", "c", "d"], ["e", "f"]]


@scenario()
async def test_what_waits_is_sent_when_a_worker_becomes_ready(bench):
    bench.submit("ab")
    await bench.turn()
    worker = bench.worker()
    await bench.turn()
    assert worker.rows() == [["a", "b"]]


@scenario(batching=batching(4, delay_s=0.05, policy=BatchPolicy.FIXED))
async def test_fixed_sends_a_partial_batch_after_the_longest_delay_and_not_before(bench):
    worker = bench.worker()
    started_at = bench.clock.now
    bench.submit("a")
    await bench.pass_time(0.03)
    bench.submit("b")
    await bench.pass_time(0.019)
    assert worker.rows() == []
    await bench.pass_time(0.0015)
    assert worker.rows() == [["a", "b"]]
    assert bench.submit("c")[0].arrived_at - started_at == pytest.approx(0.0505)


@scenario(batching=batching(4, delay_s=0.05, policy=BatchPolicy.FIXED))
async def test_fixed_sends_a_full_batch_at_once(bench):
    worker = bench.worker()
    bench.submit("ab")
    await bench.turn()
    bench.submit("cd")
    await bench.turn()
    assert worker.rows() == [["a", "b", "c", "d"]]


@scenario()
async def test_adaptive_waits_for_the_callers_that_it_has_just_answered(bench):
    worker = bench.worker()
    bench.submit("ab")
    await bench.turn()
    worker.answer(seconds=SLOW_S)
    bench.submit("c")
    await bench.pass_time(0.1)
    assert len(worker.sent) == 1
    bench.submit("d")
    await bench.turn()
    assert worker.rows() == [["a", "b"], ["c", "d"]]


@scenario()
async def test_adaptive_sends_without_those_that_do_not_come_back(bench):
    worker = bench.worker()
    bench.submit("ab")
    await bench.turn()
    worker.answer(seconds=SLOW_S)
    bench.submit("c")
    await bench.pass_time(SLOW_S / 2 + 0.001)
    assert worker.rows() == [["a", "b"], ["c"]]


@scenario()
async def test_every_batch_that_came_back_is_reported_with_the_time_it_took(bench):
    worker = bench.worker()
    bench.submit("a")
    await bench.turn()
    await bench.pass_time(0.3)
    worker.answer(seconds=0.25)
    ((reply, seconds),) = bench.finished
    assert (len(reply.rows), reply.seconds) == (1, 0.25)
    assert seconds == pytest.approx(0.3)


# --- giving ahead ----------------------------------------------------------------------------------------------------


async def warmed_worker(bench, seconds):
    """A worker that has shown how quick it is."""
    worker = bench.worker()
    bench.submit("w")
    await bench.turn()
    worker.answer(seconds=seconds)
    await bench.turn()
    worker.sent.clear()
    return worker


@scenario(batching=batching(2))
async def test_a_quick_worker_is_given_one_full_batch_ahead_and_no_more(bench):
    worker = await warmed_worker(bench, QUICK_S)
    bench.submit("abcdefgh")
    await bench.turn()
    assert worker.rows() == [["a", "b"], ["c", "d"]]
    worker.answer(seconds=QUICK_S)
    assert worker.rows() == [["a", "b"], ["c", "d"], ["e", "f"]]


@scenario(batching=batching(1), queue_jobs=100)
async def test_a_worker_that_takes_no_time_is_given_as_many_batches_as_the_wire_allows(bench):
    worker = await warmed_worker(bench, 0.0)
    bench.submit("abcdefghijkl")
    await bench.turn()
    assert worker.rows() == [[row] for row in "abcdefghijkl"[:MAX_BATCHES]]


@scenario(batching=batching(20), queue_jobs=100)
async def test_a_worker_that_takes_no_time_is_given_enough_rows_ahead_though_they_do_not_fill_a_batch(bench):
    worker = await warmed_worker(bench, 0.0)
    bench.submit("a")
    await bench.turn()
    bench.submit("bcdefgh")
    await bench.turn()
    assert worker.rows() == [["a"]]
    bench.submit("i")
    await bench.turn()
    assert worker.rows() == [["a"], [*"bcdefghi"]]


@scenario(batching=batching(2))
async def test_batches_ahead_go_to_the_worker_that_has_the_fewest(bench):
    first = await warmed_worker(bench, 0.0)
    second = bench.worker()
    bench.submit("abcdefgh")
    await bench.turn()
    assert [len(first.sent), len(second.sent)] == [2, 2]


@scenario(batching=batching(2))
async def test_a_slow_worker_is_given_nothing_ahead(bench):
    worker = await warmed_worker(bench, SLOW_S)
    bench.submit("abcd")
    await bench.pass_time(SLOW_S)
    assert worker.rows() == [["a", "b"]]


@scenario(batching=batching(3))
async def test_a_batch_that_is_not_full_is_not_given_ahead(bench):
    worker = await warmed_worker(bench, QUICK_S)
    bench.submit("abcde")
    await bench.turn()
    assert worker.rows() == [["a", "b", "c"]]


@scenario(batching=batching(2))
async def test_nothing_is_given_ahead_while_another_worker_is_idle(bench):
    first = await warmed_worker(bench, QUICK_S)
    second = bench.worker()
    bench.submit("abcd")
    await bench.turn()
    assert [len(first.sent), len(second.sent)] == [1, 1]


@scenario(batching=batching(2))
async def test_a_batch_given_ahead_is_only_put_back_when_the_worker_dies(bench):
    worker = await warmed_worker(bench, QUICK_S)
    bench.submit("abcd")
    await bench.turn()
    worker.die()
    await bench.turn()
    successor = bench.worker()
    await bench.turn()
    for _ in range(3):
        successor.answer(seconds=SLOW_S)
        await bench.turn()
    assert successor.rows() == [["a"], ["b"], ["c", "d"]]


# --- death and retries -----------------------------------------------------------------------------------------------


@scenario()
async def test_jobs_of_a_worker_that_died_are_run_again_each_alone(bench):
    worker = bench.worker()
    bench.submit("abc")
    await bench.turn()
    worker.die()
    bench.submit("d")
    second = bench.worker()
    await bench.turn()
    for _ in range(4):
        second.answer(seconds=SLOW_S)
        await bench.pass_time(SLOW_S)
    assert second.rows() == [["a"], ["b"], ["c"], ["d"]]
    assert set(bench.answered()) == set("abcd")


@scenario()
async def test_only_the_request_that_kills_workers_fails(bench):
    bench.submit(["good", "killer", "fine"])
    deaths = 0
    while not all(caller.outcomes for caller in bench.callers.values()):
        worker = bench.worker()
        await bench.turn()
        while worker.unanswered:
            if "killer" in worker.rows()[-1]:
                deaths += 1
                worker.die("Killed by SIGSEGV.")
                break
            worker.answer(seconds=SLOW_S)
            await bench.turn()
    assert deaths == 2
    assert set(bench.answered()) == {"good", "fine"}
    assert isinstance(bench.outcome("killer"), WorkerDied)
    assert "Killed by SIGSEGV." in str(bench.outcome("killer"))


@scenario(retry_on_worker_death=False)
async def test_without_retries_all_jobs_of_the_batch_fail_at_once(bench):
    worker = bench.worker()
    bench.submit("abcde")
    await bench.turn()
    worker.die()
    assert all(isinstance(bench.outcome(name), WorkerDied) for name in "abcd")
    successor = bench.worker()
    await bench.turn()
    assert successor.rows() == [["e"]]


@scenario()
async def test_jobs_of_a_worker_stopped_on_purpose_are_put_back_in_their_order(bench):
    worker = bench.worker()
    bench.submit("abcdef")
    await bench.turn()
    worker.stop()
    successor = bench.worker()
    await bench.turn()
    successor.answer(seconds=SLOW_S)
    await bench.pass_time(SLOW_S)
    assert successor.rows() == [["a", "b", "c", "d"], ["e", "f"]]


@scenario()
async def test_a_stop_on_purpose_does_not_count_against_a_job(bench):
    first = bench.worker()
    bench.submit("a")
    for _ in range(3):
        await bench.turn()
        first.stop()
        first = bench.worker()
    await bench.turn()
    first.die()
    last = bench.worker()
    await bench.turn()
    last.answer()
    assert bench.answered() == {"a": b"a"}


@scenario()
async def test_a_reply_of_a_worker_that_is_gone_is_ignored(bench):
    worker = bench.worker()
    bench.submit("a")
    await bench.turn()
    worker.die()
    worker.answer()
    assert bench.callers["a"].outcomes == []
    successor = bench.worker()
    await bench.turn()
    successor.answer()
    assert bench.answered() == {"a": b"a"}


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_worker_that_answers_the_wrong_number_of_rows_is_killed_and_its_jobs_run_again(rows):
    @scenario()
    async def run(bench):
        worker = bench.worker()
        bench.submit("ab")
        await bench.turn()
        worker.answer([InferenceReply(b"x")] * rows)
        assert worker.kill_reasons == [f"answered {rows} rows of 2"]
        assert not any(caller.outcomes for caller in bench.callers.values())
        worker.die()
        successor = bench.worker()
        for _ in "ab":
            await bench.turn()
            successor.answer()
        assert bench.answered() == {"a": b"a", "b": b"b"}

    run()


@scenario()
async def test_a_worker_that_answers_what_it_was_not_asked_is_killed(bench):
    worker = bench.worker()
    bench.submit("a")
    await bench.turn()
    (batch,) = worker.sent
    worker.answer()
    worker.unanswered.append(batch)
    worker.answer()
    assert worker.kill_reasons == [f"answered batch {batch.batch_id}, which it was not asked"]
    assert bench.answered() == {"a": b"a"}


@scenario()
async def test_a_worker_that_is_being_killed_is_given_nothing_more(bench):
    worker = bench.worker()
    bench.submit("a")
    await bench.turn()
    (batch,) = worker.sent
    worker.answer()
    worker.unanswered.append(batch)
    worker.answer()
    assert worker.kill_reasons
    bench.submit("b")
    await bench.turn()
    worker.die()
    assert worker.rows() == [["a"]]
    successor = bench.worker()
    await bench.turn()
    successor.answer()
    assert bench.answered() == {"a": b"a", "b": b"b"}


@scenario(batching=batching(1), response_timeout_s=2.0)
async def test_an_answer_that_crosses_the_order_to_kill_counts_and_nothing_follows_it(bench):
    worker = bench.worker()
    bench.submit("a")
    await bench.pass_time(2.6)
    assert worker.kill_reasons
    bench.submit("b")
    worker.answer()
    await bench.turn()
    assert bench.answered() == {"a": b"a"}
    assert worker.rows() == [["a"]]


@scenario()
async def test_a_fault_in_answering_one_caller_costs_the_others_of_its_batch_nothing(bench):
    class Faulty:
        def answer(self, outcome):
            raise RuntimeError("cannot answer")

    worker = bench.worker()
    bench.dispatcher.submit(request("a"), Faulty(), bench.clock.monotonic())
    bench.submit("bc")
    await bench.turn()
    worker.answer()
    assert bench.answered() == {"b": b"b", "c": b"c"}


# --- limits ----------------------------------------------------------------------------------------------------------


@scenario(queue_jobs=2)
async def test_a_full_queue_refuses_at_once_and_accepts_again_when_there_is_room(bench):
    bench.submit("ab")
    with pytest.raises(QueueFull, match="2 jobs"):
        bench.submit("c")
    bench.worker()
    await bench.turn()
    bench.submit("d")


@scenario(queue_bytes=100)
async def test_a_queue_is_limited_in_bytes_too(bench):
    bench.submit("a", size_bytes=80)
    with pytest.raises(QueueFull, match="100 bytes"):
        bench.submit("b", size_bytes=30)
    bench.submit("c", size_bytes=20)
    assert bench.dispatcher.queue_statistics().depth_bytes == 100


@scenario(use_job_ticket=True, batching=batching(1))
async def test_with_job_tickets_a_request_is_accepted_only_while_a_worker_is_idle(bench):
    with pytest.raises(NoWorker):
        bench.submit("a")
    worker = bench.worker()
    bench.submit("b")
    with pytest.raises(NoWorker):
        bench.submit("c")
    await bench.turn()
    with pytest.raises(NoWorker):
        bench.submit("d")
    worker.answer()
    bench.submit("e")


@scenario(response_timeout_s=2.0)
async def test_a_job_that_no_worker_took_in_time_is_answered_and_never_sent(bench):
    bench.submit("a")
    await bench.pass_time(1.9)
    assert bench.callers["a"].outcomes == []
    await bench.pass_time(0.7)
    assert isinstance(bench.outcome("a"), QueueTimedOut)
    worker = bench.worker()
    bench.submit("b")
    await bench.turn()
    assert worker.rows() == [["b"]]


@scenario(response_timeout_s=2.0)
async def test_a_job_that_is_late_costs_no_worker_anything_even_between_two_looks_at_the_clock(bench):
    bench.submit("a")
    bench.clock.advance(2.001)
    bench.submit("b")
    worker = bench.worker()
    await bench.turn()
    assert worker.rows() == [["b"]]
    assert isinstance(bench.outcome("a"), QueueTimedOut)


@scenario(response_timeout_s=60.0, client_timeout_s=1.0)
async def test_the_client_timeout_limits_the_wait_in_the_queue(bench):
    bench.submit("a")
    await bench.pass_time(1.3)
    assert isinstance(bench.outcome("a"), QueueTimedOut)


@scenario(response_timeout_s=2.0)
async def test_a_job_that_is_to_be_run_again_does_not_wait_for_ever_either(bench):
    worker = bench.worker()
    bench.submit("a")
    await bench.turn()
    await bench.pass_time(1.5)
    worker.die()
    await bench.pass_time(1.5)
    assert bench.callers["a"].outcomes == []
    await bench.pass_time(1.1)
    assert isinstance(bench.outcome("a"), QueueTimedOut)


@scenario(response_timeout_s=2.0)
async def test_a_worker_that_does_not_answer_in_time_is_killed_and_its_job_gets_another(bench):
    worker = bench.worker()
    bench.submit("a")
    await bench.pass_time(1.9)
    assert worker.kill_reasons == []
    await bench.pass_time(0.7)
    assert worker.kill_reasons[0] == "no answer within the response timeout of 2 s"
    worker.die("No answer within the response timeout of 2 s.")
    successor = bench.worker()
    await bench.turn()
    successor.answer()
    assert bench.answered() == {"a": b"a"}


@scenario(batching=batching(1), response_timeout_s=2.0)
async def test_the_time_of_a_batch_given_ahead_counts_from_when_the_worker_could_begin(bench):
    worker = await warmed_worker(bench, QUICK_S)
    bench.submit("ab")
    await bench.pass_time(1.5)
    assert worker.rows() == [["a"], ["b"]]
    worker.answer(seconds=QUICK_S)
    await bench.pass_time(1.5)
    assert worker.kill_reasons == []
    await bench.pass_time(1.1)
    assert worker.kill_reasons


# --- callers that leave ----------------------------------------------------------------------------------------------


@scenario(queue_jobs=1)
async def test_a_caller_that_leaves_the_queue_costs_nothing(bench):
    (job,) = bench.submit("a")
    job.abandon()
    bench.submit("b")
    worker = bench.worker()
    await bench.turn()
    assert worker.rows() == [["b"]]
    assert bench.callers["a"].outcomes == []
    assert bench.dispatcher.abandoned == 0


@scenario()
async def test_the_answer_of_a_caller_that_left_in_mid_batch_is_dropped_and_the_others_get_theirs(bench):
    worker = bench.worker()
    first, _ = bench.submit("ab")
    await bench.turn()
    first.abandon()
    worker.answer()
    assert bench.answered() == {"b": b"b"}
    assert bench.dispatcher.abandoned == 1


@scenario()
async def test_a_job_whose_caller_left_is_not_run_again(bench):
    worker = bench.worker()
    first, _ = bench.submit("ab")
    await bench.turn()
    first.abandon()
    worker.die()
    successor = bench.worker()
    await bench.turn()
    assert successor.rows() == [["b"]]
    assert bench.dispatcher.queue_statistics().depth == 0


# --- errors of rows --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "error", "message", "status"),
    [
        (InferenceReply(b"no cat", error=RowError.FAILED), HandlerFailed, "no cat", None),
        (InferenceReply(b"", error=RowError.FAILED), HandlerFailed, "Prediction failed", None),
        (InferenceReply(b"too old", 418, error=RowError.REJECTED), HandlerRejected, "too old", 418),
        (InferenceReply(b"", error=RowError.OUT_OF_MEMORY), OutOfMemory, "Out of resources", None),
        (InferenceReply(b"\xff", error=RowError.FAILED), HandlerFailed, "\ufffd", None),
        (InferenceReply(memoryview(b"view"), error=99), HandlerFailed, "view", None),
    ],
)
def test_a_rows_error_is_said_in_the_callers_terms(reply, error, message, status):
    found = error_of(reply)
    assert type(found) is error
    assert (str(found), found.status) == (message, status)


@scenario()
async def test_a_row_that_failed_costs_its_neighbours_nothing(bench):
    worker = bench.worker()
    bench.submit("ab")
    await bench.turn()
    worker.answer([InferenceReply(b"no", error=RowError.FAILED), InferenceReply(b"yes")])
    assert isinstance(bench.outcome("a"), HandlerFailed)
    assert bench.answered() == {"b": b"yes"}


# --- scaling, settings, the end --------------------------------------------------------------------------------------


@scenario()
async def test_an_idle_worker_is_released_at_once_and_given_nothing_more(bench):
    worker = bench.worker()
    assert bench.dispatcher.release(worker.id)
    bench.submit("a")
    await bench.turn()
    assert worker.sent == []


@scenario()
async def test_a_busy_worker_is_released_when_it_has_answered(bench):
    worker = bench.worker()
    bench.submit("a")
    await bench.turn()
    assert not bench.dispatcher.release(worker.id)
    bench.submit("b")
    assert worker.times_released == 0
    worker.answer()
    await bench.turn()
    assert worker.times_released == 1
    assert worker.rows() == [["a"]]
    assert bench.dispatcher.queue_statistics().depth == 1


@scenario(batching=batching(2))
async def test_a_leaving_worker_is_given_nothing_ahead(bench):
    worker = await warmed_worker(bench, QUICK_S)
    bench.submit("ab")
    await bench.turn()
    bench.dispatcher.release(worker.id)
    bench.submit("cd")
    await bench.turn()
    assert worker.rows() == [["a", "b"]]


@scenario()
async def test_new_settings_hold_from_the_next_batch_on_and_lose_nothing(bench):
    worker = bench.worker()
    bench.submit("abcdefghij")
    await bench.turn()
    bench.dispatcher.reconfigure(replace(bench.config, batching=batching(8), queue_jobs=7))
    with pytest.raises(QueueFull, match="7 jobs"):
        bench.submit("klmnop")
    worker.answer(seconds=SLOW_S)
    await bench.pass_time(SLOW_S)
    assert worker.rows() == [list("abcd"), list("efghijkl")[:7]]


@scenario(response_timeout_s=100.0)
async def test_a_shorter_response_timeout_holds_for_jobs_that_wait_already(bench):
    bench.submit("a")
    await bench.pass_time(5.0)
    bench.dispatcher.reconfigure(replace(bench.config, response_timeout_s=1.0))
    assert isinstance(bench.outcome("a"), QueueTimedOut)


@scenario()
async def test_settings_that_are_not_about_batches_leave_what_was_learned_about_them(bench):
    worker = bench.worker()
    bench.submit("a")
    await bench.turn()
    worker.answer()
    bench.dispatcher.reconfigure(replace(bench.config, response_timeout_s=1.0))
    assert bench.dispatcher.batching_statistics().batches == 1
    bench.dispatcher.reconfigure(replace(bench.config, batching=batching(2)))
    assert bench.dispatcher.batching_statistics().batches == 0


@scenario()
async def test_a_drain_refuses_what_is_new_and_waits_for_what_is_there(bench):
    worker = bench.worker()
    bench.submit("abcdef")
    await bench.turn()
    draining = asyncio.ensure_future(bench.dispatcher.drain(timeout_s=30.0))
    await bench.turn()
    with pytest.raises(ShuttingDown):
        bench.submit("g")
    for _ in range(2):
        assert not draining.done()
        worker.answer(seconds=SLOW_S)
        await bench.turn()
    assert await draining
    assert set(bench.answered()) == set("abcdef")


@scenario()
async def test_a_drain_of_an_empty_dispatcher_is_done_at_once(bench):
    assert await bench.dispatcher.drain(timeout_s=0.0)


@scenario()
async def test_a_drain_that_takes_too_long_says_so(bench):
    bench.worker()
    bench.submit("a")
    await bench.turn()
    assert not await bench.dispatcher.drain(timeout_s=1.0)


@scenario()
async def test_a_drain_is_done_when_the_last_caller_leaves(bench):
    (job,) = bench.submit("a")
    draining = asyncio.ensure_future(bench.dispatcher.drain(timeout_s=30.0))
    await bench.turn()
    job.abandon()
    started_at = bench.clock.now
    assert await draining
    assert bench.clock.now - started_at <= 0.5


@scenario()
async def test_a_refusal_keeps_new_requests_out_until_it_is_taken_back(bench):
    bench.submit("a")
    bench.dispatcher.refuse(lambda: NoWorker("m", reason="given up"))
    with pytest.raises(NoWorker, match="given up"):
        bench.submit("b")
    bench.dispatcher.refuse(None)
    bench.submit("c")
    worker = bench.worker()
    await bench.turn()
    assert worker.rows() == [["a", "c"]]


@scenario()
async def test_failing_what_waits_leaves_what_workers_have(bench):
    worker = bench.worker()
    bench.submit("abcde")
    await bench.turn()
    bench.dispatcher.fail_waiting(NoWorker("m"))
    assert isinstance(bench.outcome("e"), NoWorker)
    worker.answer()
    assert set(bench.answered()) == set("abcd")


@scenario()
async def test_closing_answers_everybody(bench):
    bench.worker()
    bench.submit("abcdef")
    await bench.turn()
    assert bench.dispatcher.in_flight == 4
    bench.dispatcher.close()
    assert all(isinstance(bench.outcome(name), ShuttingDown) for name in "abcdef")
    with pytest.raises(ServingError):
        bench.submit("g")
