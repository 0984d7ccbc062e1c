"""Queue, rule and workers of one model version, on the event loop.

The dispatcher owns the queue. Frontends submit to it, workers report to it, and both are call-backs: a request costs no
task and no future here. Jobs that arrive in one turn of the loop are cut together, after it.

A worker that is quick may be given further batches while it still has one: for handlers that take microseconds the way
there and back would be most of the time, and several batches share one system call and one wake-up. Only full batches
are given ahead, only when no worker is idle, and only as many as take next to no time (``_AHEAD_S``), so that nobody
waits behind another who could have been served elsewhere. Where a worker is so quick that it is given several, a batch
of ``_ENOUGH_ROWS`` need not be full: to wait for the rest would leave the worker without work, and then the server.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from flambeau.api import Caller, ModelStatistics
from flambeau.clock import Clock, SystemClock
from flambeau.config.model import ModelConfig
from flambeau.errors import (
    BadRequest,
    HandlerFailed,
    HandlerRejected,
    NoWorker,
    OutOfMemory,
    QueueTimedOut,
    ServingError,
    ShuttingDown,
    WorkerDied,
)
from flambeau.request import InferenceReply, InferenceRequest, ModelRef, RowError
from flambeau.scheduling.batching import BatchingStatistics, rule_for
from flambeau.scheduling.job import Job, settle
from flambeau.scheduling.queue import JobQueue, QueueStatistics
from flambeau.scheduling.tally import Tally
from flambeau.wire.messages import MAX_BATCHES, Batch, BatchReply

logger = logging.getLogger(__name__)

_AHEAD_S = 0.0005
"""Work that a worker is given ahead where its batches take less than that: about what it may wait for the next."""

_ENOUGH_ROWS = 8
"""Rows that are worth the way to the worker, which costs as much as a few of them."""

_TICK_S = 0.5
"""How often time-outs are looked at, at most; a quarter of the response time-out where that is less."""


@dataclass(slots=True)
class SentBatch:
    """A batch that a worker has."""

    batch_id: int
    jobs: list[Job]
    started_at: float
    """When the worker could begin with it."""


class ReadyWorker(Protocol):
    """A worker whose handler is loaded, as the dispatcher sees it."""

    id: int

    def send(self, batch: Batch) -> None: ...

    def kill(self, reason: str) -> None:
        """End it at once; ``Dispatcher.detach`` follows."""
        ...

    def released(self) -> None:
        """It was to be given nothing more, and has answered its last batch."""
        ...


class _Seat:
    """A ready worker and the batches that it has, oldest first."""

    __slots__ = ("batches", "is_leaving", "worker")

    def __init__(self, worker: ReadyWorker) -> None:
        self.worker = worker
        self.batches: deque[SentBatch] = deque()
        self.is_leaving = False


class Dispatcher:
    """Takes requests for one model version and sees that each is answered once."""

    quick_batch_s = 0.002
    """A worker whose batches take less is quick: it is given at least one batch ahead."""

    def __init__(
        self,
        ref: ModelRef,
        config: ModelConfig,
        on_batch: Callable[[BatchReply, float], None],
        clock: Clock | None = None,
    ) -> None:
        """
        Args:
            on_batch: told of every batch that came back, for the metrics in it, and of the seconds that it took in all.
        """
        self.ref = ref
        self._loop = asyncio.get_running_loop()
        self._time = (clock or SystemClock()).monotonic  # the loop's own clock may be cached and coarse
        self._on_batch = on_batch
        self._queue = JobQueue(ref.name, config.queue_jobs, config.queue_bytes)
        self._batching = config.batching
        self._rule = rule_for(config.batching)
        self._seats: dict[int, _Seat] = {}
        self._idle: list[_Seat] = []
        self._depth = 1
        """Batches that a worker may have at a time."""
        self._next_batch_id = 0
        self._refusal: Callable[[], ServingError] | None = None
        self._is_cut_scheduled = False
        self._cut_timer: asyncio.TimerHandle | None = None
        self._tick_timer: asyncio.TimerHandle | None = None
        self._drained: asyncio.Event = asyncio.Event()
        self._tally = Tally()
        self.abandoned = 0
        """Jobs that ran for callers who had left by then."""
        self._configure(config)

    # --- what frontends call -------------------------------------------------------------------------------------

    def submit(
        self, request: InferenceRequest, caller: Caller, arrived_at: float, priority: int = 0, size: int = 1
    ) -> Job:
        """See ``api.ServedModel.submit``.

        Args:
            priority: requests with a greater one are taken first.
            size: what it counts toward the batch size.
        """
        if self._refusal is not None:
            raise self._refusal()
        queue = self._queue
        job = Job(request, caller, arrived_at, queue, priority, size)
        if self._takes_only_idle and (not self._idle or queue.depth >= len(self._idle)):
            raise NoWorker(self.ref.name)
        queue.put_nowait(job)
        if not self._is_cut_scheduled and (self._idle or queue.size >= self._rows_ahead):
            self._is_cut_scheduled = True
            self._loop.call_soon(self._cut)
        return job

    # --- what the supervisor calls -------------------------------------------------------------------------------

    def attach(self, worker: ReadyWorker) -> None:
        """A worker is ready."""
        seat = _Seat(worker)
        self._seats[worker.id] = seat
        self._idle.append(seat)
        self._schedule_cut()

    def release(self, worker_id: int) -> bool:
        """Give a worker nothing more.

        Returns:
            Whether it has nothing left to do; if not, its ``released`` will be called.
        """
        seat = self._seats.get(worker_id)
        if seat is None:
            return True
        seat.is_leaving = True
        if seat in self._idle:
            self._idle.remove(seat)
        return not seat.batches

    def detach(self, worker_id: int, error: WorkerDied | None) -> None:
        """A worker is gone.

        Args:
            error: why, where it died; its jobs are run again, each alone, once, unless that is switched off. None
                where it was stopped on purpose: what it may still have had goes back to the front of the queue.
        """
        seat = self._seats.pop(worker_id, None)
        if seat is None:
            return
        if seat in self._idle:
            self._idle.remove(seat)
        if not seat.batches:
            return
        # The first batch is the one that the worker was at; those behind it had not begun.
        running, *untouched = seat.batches
        for batch in reversed(untouched):
            self._queue.put_back(batch.jobs)
        if error is None:
            self._queue.put_back(running.jobs)
        else:
            again: list[Job] = []
            for job in running.jobs:
                job.attempts += 1
                if self._retries_deaths and job.attempts == 1:
                    again.append(job)
                else:
                    self._tally.lost(job, self._time())
                    settle(job, error)
            self._queue.retry(again, self._time())
        self._schedule_cut()
        self._note_drained()

    def batch_finished(self, worker_id: int, reply: BatchReply) -> None:
        """A worker's answer to its oldest batch."""
        seat = self._seats.get(worker_id)
        if seat is None:
            return
        if not seat.batches or seat.batches[0].batch_id != reply.batch_id:
            self._kill(seat, f"answered batch {reply.batch_id}, which it was not asked")
            return
        batch = seat.batches.popleft()
        now = self._time()
        jobs = batch.jobs
        rows = reply.rows
        if len(rows) != len(jobs):
            seat.batches.appendleft(batch)
            self._kill(seat, f"answered {len(rows)} rows of {len(jobs)}")
            return
        queue = self._queue
        queue.open_window(self._rule.batch_done(now, len(jobs), reply.seconds, queue.window_arrivals))
        self._set_depth(_depth(self._rule.cost.mean_s, self.quick_batch_s))
        if seat.batches:
            seat.batches[0].started_at = now
        elif not seat.is_leaving:
            self._idle.append(seat)
        if queue.depth:  # the worker's next batch goes out before the answers to this one
            self._cut()
        for job, row in zip(jobs, rows, strict=True):
            if not settle(job, row if not row.error else self._failure(job, row, now)):
                self.abandoned += 1
        self._tally.answered(jobs, now, reply.seconds)
        self._on_batch(reply, now - batch.started_at)
        if not seat.batches:
            if seat.is_leaving:
                seat.worker.released()
            self._note_drained()

    def _failure(self, job: Job, row: InferenceReply, now: float) -> ServingError:
        self._tally.failed(job, now)
        return error_of(row)

    # --- settings ------------------------------------------------------------------------------------------------

    def reconfigure(self, config: ModelConfig) -> None:
        """Use other settings from the next batch on; nothing that waits is lost."""
        self._queue.resize(config.queue_jobs, config.queue_bytes)
        self._configure(config)
        self._schedule_cut()

    def _configure(self, config: ModelConfig) -> None:
        if config.batching != self._batching:
            self._batching = config.batching
            self._rule = rule_for(config.batching)
            self._depth = 1
        self._batch_size = config.batching.batch_size
        self._set_depth(self._depth)
        self._response_timeout_s = config.response_timeout_s
        self._retries_deaths = config.retry_on_worker_death
        self._takes_only_idle = config.use_job_ticket
        self._queue_timeout_s = min(config.response_timeout_s, config.client_timeout_s or config.response_timeout_s)
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        self._tick()

    def _set_depth(self, depth: int) -> None:
        self._depth = depth
        self._rows_ahead = min(self._batch_size, _ENOUGH_ROWS) if depth > 2 else self._batch_size

    def refuse(self, refusal: Callable[[], ServingError] | None) -> None:
        """Accept nothing more, with this error; None: accept again. What waits goes on waiting."""
        self._refusal = refusal

    def fail_waiting(self, error: ServingError) -> None:
        """Answer all that wait: no worker will come."""
        for job in self._queue.clear():
            settle(job, error)
        self._note_drained()

    async def drain(self, timeout_s: float | None) -> bool:
        """Accept nothing new and wait until everything accepted is answered. Returns whether it was, in time.

        Args:
            timeout_s: None: as long as it takes.
        """
        self._refusal = self._refusal or ShuttingDown
        if self._is_empty():
            return True
        self._schedule_cut()
        self._drained.clear()
        try:
            await asyncio.wait_for(self._drained.wait(), timeout_s)
        except asyncio.TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Answer whatever is left with an error and stop the timers."""
        self._refusal = self._refusal or ShuttingDown
        self.fail_waiting(ShuttingDown())
        for seat in self._seats.values():
            for batch in seat.batches:
                for job in batch.jobs:
                    settle(job, ShuttingDown())
        self._seats.clear()
        self._idle.clear()
        for timer in (self._cut_timer, self._tick_timer):
            if timer is not None:
                timer.cancel()

    # --- views ---------------------------------------------------------------------------------------------------

    def queue_statistics(self) -> QueueStatistics:
        return self._queue.statistics()

    def statistics(self) -> ModelStatistics:
        return self._tally.statistics(self._time())

    def batching_statistics(self) -> BatchingStatistics:
        return self._rule.cost.statistics()

    @property
    def in_flight(self) -> int:
        """Jobs that workers have."""
        return sum(len(batch.jobs) for seat in self._seats.values() for batch in seat.batches)

    # --- cutting -------------------------------------------------------------------------------------------------

    def _schedule_cut(self) -> None:
        if not self._is_cut_scheduled and self._queue.depth:
            self._is_cut_scheduled = True
            self._loop.call_soon(self._cut)

    def _cut(self) -> None:
        """Send batches for as long as there are a worker to take one and jobs that are due."""
        self._is_cut_scheduled = False
        queue = self._queue
        while queue.depth:
            now = self._time()
            seat = self._idle[-1] if self._idle else self._quick_seat()
            if seat is None:
                return
            if not queue.has_retries:
                oldest_at = queue.oldest_arrival()
                if oldest_at is None:
                    return
                if oldest_at < now - self._queue_timeout_s:
                    self._expire(now)
                    continue
                due_at = self._rule.due_at(now, queue.size, oldest_at, queue.window_arrivals, len(self._idle))
                if due_at > now and self._refusal is None:  # else nobody can come
                    self._cut_later(due_at - now)
                    return
            jobs = queue.take(self._batch_size, now)
            if not jobs:
                return
            if not seat.batches:
                self._idle.pop()
            self._send(seat, jobs, now)

    def _quick_seat(self) -> _Seat | None:
        """The worker to which a batch may be given ahead."""
        if self._depth > 1 and self._queue.size >= self._rows_ahead and not self._queue.has_retries:
            least, room = None, self._depth
            for seat in self._seats.values():
                if len(seat.batches) < room and not seat.is_leaving:
                    least, room = seat, len(seat.batches)
            return least
        return None

    def _send(self, seat: _Seat, jobs: list[Job], now: float) -> None:
        self._next_batch_id += 1
        seat.batches.append(SentBatch(self._next_batch_id, jobs, now))
        seat.worker.send(Batch(self._next_batch_id, [job.request for job in jobs]))

    def _kill(self, seat: _Seat, reason: str) -> None:
        """End a worker; until it is gone it is given nothing more, as that would die with it."""
        self.release(seat.worker.id)
        seat.worker.kill(reason)

    def _cut_later(self, delay_s: float) -> None:
        if self._cut_timer is not None:
            self._cut_timer.cancel()
        self._cut_timer = self._loop.call_later(delay_s, self._cut)

    # --- time-outs -----------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Drop jobs that no worker took in time; end workers that do not answer."""
        now = self._time()
        self._expire(now)
        timeout_s = self._response_timeout_s
        for seat in list(self._seats.values()):
            if seat.batches and now - seat.batches[0].started_at > timeout_s:
                self._kill(seat, f"no answer within the response timeout of {timeout_s:g} s")
        self._tick_timer = self._loop.call_later(min(_TICK_S, self._queue_timeout_s / 4), self._tick)

    def _expire(self, now: float) -> None:
        before = now - self._queue_timeout_s
        expired = self._queue.expire(before)
        if not self._seats:  # else one that hangs its worker again would cost those that are to run after it
            expired += self._queue.expire_retries(before)
        for job in expired:
            self._tally.lost(job, now)
            settle(job, QueueTimedOut(self.ref.name, self._queue_timeout_s))
        self._note_drained()

    def _is_empty(self) -> bool:
        return not self._queue.depth and not any(seat.batches for seat in self._seats.values())

    def _note_drained(self) -> None:
        if self._refusal is not None and self._is_empty():
            self._drained.set()


def _depth(mean_batch_s: float, quick_batch_s: float) -> int:
    """Batches that a worker may have at a time."""
    if mean_batch_s >= quick_batch_s:
        return 1
    return max(2, min(MAX_BATCHES, int(_AHEAD_S / max(mean_batch_s, 1e-6))))


def error_of(row: InferenceReply) -> ServingError:
    """The error that a worker reports for a row."""
    message = bytes(row.body).decode("utf-8", "replace") if not isinstance(row.body, int) else ""
    if row.error == RowError.REJECTED:
        return HandlerRejected(message, row.status)
    if row.error == RowError.UNUSABLE:
        return BadRequest(message)
    if row.error == RowError.OUT_OF_MEMORY:
        return OutOfMemory(message or "Out of resources")
    return HandlerFailed(message or "Prediction failed")


def statistics_view(statistics: BatchingStatistics) -> dict[str, object]:
    """What the describe API shows of a batcher."""
    return {
        "batches": statistics.batches,
        "rows": statistics.rows,
        "meanBatchSize": round(statistics.mean_batch_size, 2),
        "meanBatchMs": round(statistics.mean_batch_s * 1e3, 3),
        "fixedCostMs": round(statistics.fixed_cost_s * 1e3, 3),
    }
