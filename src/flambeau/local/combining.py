"""Batches of rows run by the threads that ask for them (flat combining).

A calling thread that finds a free worker runs its row itself: no hand-off, no wake-up. One that finds none leaves its
row in the queue and waits. Whoever has finished a batch looks at the queue before it gives the worker back: a batch
that takes less than a thread's wake-up it runs itself, for those who wait; for a longer one it hands the worker to the
first of them, who then runs a batch for itself and the others. Rows without a thread behind them (``submit``) are run
by helper threads, at most one a worker, which start when they are needed first.

What keeps this correct:

* ``_idle`` holds the workers that are free. Taking one (``pop``) and giving it back (``append``) are atomic, and need
  no lock; who has taken a worker alone may use it.
* ``_mutex`` guards the queue and every change of a call's state. Whoever puts a call into the queue looks for an idle
  worker afterwards; whoever gives a worker back looks at ``_attention`` afterwards, which is true while anything waits.
  So either the one sees the worker or the other sees the call.
* A signal's handler may raise in the main thread between any two byte codes. A worker that is dropped there comes back
  by itself (``_Worker.__del__``), and ``_outstanding`` knows every call, so that the queue can be made anew from it
  (``_repair``).
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from enum import IntEnum
from queue import SimpleQueue
from threading import get_ident
from time import monotonic, perf_counter
from types import GeneratorType
from typing import Any

from flambeau.config.model import BatchingConfig, BatchPolicy
from flambeau.errors import CallTimedOut, ForkedModel, ModelClosed, QueueFull, ReentrantCall
from flambeau.local.engine import RunBatch
from flambeau.local.queue import CallQueue
from flambeau.local.streams import run_streams
from flambeau.local.timekeeper import Timer, call_at
from flambeau.scheduling.batching import rule_for

_ERRAND_S = 0.0002
"""What a thread that has its answer will spend on others before it hands the worker on: a few wake-ups' worth."""

_QUICK_S = 0.0001
"""A batch that takes less is not worth waiting with, nor worth measuring each time."""

_SAMPLE = 64
"""One of so many quick calls is measured."""


class _State(IntEnum):
    WAITING = 0
    TAKEN = 1
    """In a batch that runs."""
    DONE = 2
    LEFT = 3
    """Whoever called wants no answer any more."""


_IDLE = 0
_HANDED_ON = -1
"""Not yet with the thread that is to run it. Both are no thread's number."""

_SPECIAL = (Exception, GeneratorType)
"""Results that are not the answer itself: a row's failure, and an answer in parts."""

_STREAMED = object()
"""The result of a row whose parts its reader has had."""

_END = object()


class _Call:
    """One row on its way, and whoever waits for its result: a thread that sleeps, or a future."""

    __slots__ = (
        "arrived_at",
        "deadline",
        "error",
        "future",
        "is_wanted",
        "leader",
        "parts",
        "priority",
        "result",
        "row",
        "size",
        "state",
        "timer",
        "wake",
        "worker",
    )

    def __init__(self, row: Any, priority: int, size: int, arrived_at: float, deadline: float | None) -> None:
        self.row = row
        self.priority = priority
        self.size = size
        self.arrived_at = arrived_at
        self.deadline = deadline
        self.state = _State.WAITING
        self.is_wanted = True
        self.leader = 0
        """The thread that runs its batch."""
        self.result: Any = None
        self.error: BaseException | None = None
        self.wake: threading.Lock | None = None
        """What its thread acquires to sleep; None where there is no thread."""
        self.worker: _Worker | None = None
        """Handed to its thread, which is to run the next batch."""
        self.future: _CallFuture | None = None
        self.parts: SimpleQueue[Any] | None = None
        """Where a stream's reader takes parts from."""
        self.timer: Timer | None = None

    def has_expired(self, now: float) -> bool:
        return self.deadline is not None and self.deadline <= now

    def timed_out(self, name: str) -> CallTimedOut:
        return CallTimedOut(name, (self.deadline or 0.0) - self.arrived_at)


class _CallFuture(Future[Any]):
    """A future whose row leaves the queue when it is cancelled."""

    def __init__(self, leave: Callable[[_Call], bool]) -> None:
        super().__init__()
        self.call: _Call | None = None
        self._leave = leave

    def cancel(self) -> bool:
        if not super().cancel():
            return False
        call, self.call = self.call, None
        if call is not None:
            self._leave(call)
        return True


class _Worker:
    """One handler, which one thread at a time may run."""

    __slots__ = ("__weakref__", "batches", "failures", "owner", "pool", "rows", "run", "singles")

    def __init__(self, run: RunBatch, pool: _Pool) -> None:
        self.run = run
        self.pool: _Pool | None = pool
        self.owner = _IDLE
        """The thread that holds it."""
        self.singles = 0
        """Rows that ran alone, straight from their callers."""
        self.batches = 0
        self.rows = 0
        """Of ``batches``, which does not count singles."""
        self.failures = 0

    def __del__(self) -> None:
        """Come back: a worker that nobody holds any more was dropped by a thread that was interrupted."""
        pool, self.pool = self.pool, None
        if pool is not None:
            again = pool.add(self.run)
            again.singles, again.batches, again.rows, again.failures = (
                self.singles,
                self.batches,
                self.rows,
                self.failures,
            )


class _Pool:
    """The workers of an engine."""

    def __init__(self) -> None:
        self.idle: list[_Worker] = []
        self._workers: list[weakref.ref[_Worker]] = []

    def add(self, run: RunBatch) -> _Worker:
        """A new worker, idle."""
        worker = _Worker(run, self)
        self._workers.append(weakref.ref(worker))
        self.idle.append(worker)
        return worker

    def workers(self) -> list[_Worker]:
        """All of them, at work or not."""
        return [worker for reference in list(self._workers) if (worker := reference()) is not None]

    def retire(self) -> None:
        """Let all workers go, and their handlers with them."""
        for worker in self.workers():
            worker.pool = None
        self.idle.clear()


class CombiningEngine:
    """Workers of this process, run by the threads that call. See the module's text."""

    def __init__(
        self,
        name: str,
        runners: Sequence[RunBatch],
        batching: BatchingConfig,
        *,
        queue_size: int | None = None,
        size_of: Callable[[Any], int] | None = None,
        isolate_failures: bool = True,
    ) -> None:
        """
        Args:
            name: as errors are to say it.
            runners: one a worker.
            queue_size: calls that may wait; None: any number.
            size_of: what a row counts toward ``batch_size``; None: 1.
            isolate_failures: whether a batch that fails is run again row by row.
        """
        self.name = name
        self._batching = batching
        self._limit = queue_size
        self._size_of = size_of
        self._isolates = isolate_failures
        self._count = len(runners)
        self._pool = _Pool()
        self._idle = self._pool.idle
        for run in runners:
            self._pool.add(run)
        self._is_forked = False
        self._start_anew()
        _engines.add(self)

    def _start_anew(self) -> None:
        """Everything in which threads may have a hand."""
        self._mutex = threading.Lock()
        self._queue: CallQueue[_Call] = CallQueue()
        self._outstanding: dict[_Call, None] = {}
        """Every call that has been in the queue and is not answered, in the order of arrival."""
        self._blocked: deque[_Call] = deque()
        """Calls of threads that sleep, oldest first; those that no longer wait are passed over."""
        self._gatherer: threading.Lock | None = None
        """What wakes the thread that waits for company, with a worker in hand."""
        self._rule = rule_for(self._batching)
        self._gathers = self._batching.batch_size > 1
        self._is_fixed = self._gathers and self._batching.policy is BatchPolicy.FIXED
        self._window_end = 0.0
        """Until when callers that have been answered are expected back; 0: they are not."""
        self._returned = 0
        self._is_quick = False
        """Whether batches take less than ``_QUICK_S``."""
        self._errands: SimpleQueue[_Worker | None] = SimpleQueue()
        self._helpers = 0
        self._parked = 0
        """Helpers that wait for an errand and are not promised one."""
        self._is_closed = False
        self._all_back = threading.Event()
        self._attention = self._is_fixed
        """Whether there may be more to do than to run one's own row."""

    # --- calls -----------------------------------------------------------------------------------------------------

    def call(self, row: Any, timeout_s: float | None, priority: int) -> Any:
        me = get_ident()
        try:
            try:
                worker = self._idle.pop()
            except IndexError:
                return self._call_in_company(None, row, timeout_s, priority)
            worker.owner = me  # no byte code in between at which a signal could be handled
            if self._attention:
                return self._call_in_company(worker, row, timeout_s, priority)
            try:
                worker.singles = number = worker.singles + 1
                if self._is_quick and number % _SAMPLE:
                    result = worker.run([row])[0]
                else:
                    result = self._run_measured(worker, row)
                if isinstance(result, _SPECIAL):
                    result = plain_result(result)
                return result
            except Exception:
                worker.failures += 1
                raise
            finally:
                worker.owner = _IDLE
                self._idle.append(worker)
                if self._attention:
                    self._look_around()
        except KeyboardInterrupt:
            self._repair()
            raise

    def submit(self, row: Any, timeout_s: float | None, priority: int) -> Future[Any]:
        return self._submit(row, timeout_s, priority, None)

    def stream(self, row: Any, timeout_s: float | None, priority: int) -> Iterator[Any]:
        parts: SimpleQueue[Any] = SimpleQueue()
        future = self._submit(row, timeout_s, priority, parts)
        future.add_done_callback(lambda _: parts.put(_END))
        return self._read(future, parts)

    def _read(self, future: _CallFuture, parts: SimpleQueue[Any]) -> Iterator[Any]:
        call = future.call
        try:
            while (part := parts.get()) is not _END:
                yield part
            result = future.result()
            if result is not _STREAMED:
                yield result
        finally:
            if not future.done() and not future.cancel() and call is not None:
                self._leave(call)

    def _submit(self, row: Any, timeout_s: float | None, priority: int, parts: SimpleQueue[Any] | None) -> _CallFuture:
        call = self._new_call(row, timeout_s, priority)
        call.parts = parts
        call.future = future = _CallFuture(self._leave)
        future.call = call
        if call.deadline is not None:
            call.timer = call_at(call.deadline, lambda: self._expire(call))
        try:
            with self._mutex:
                self._put(call)
                self._hand_out()
        except KeyboardInterrupt:
            self._repair()
            raise
        return future

    def _new_call(self, row: Any, timeout_s: float | None, priority: int) -> _Call:
        now = monotonic()
        size = 1 if self._size_of is None else max(0, int(self._size_of(row)))
        return _Call(row, priority, size, now, None if timeout_s is None else now + timeout_s)

    def _call_in_company(self, worker: _Worker | None, row: Any, timeout_s: float | None, priority: int) -> Any:
        """Answer a row where others are about: it goes through the queue.

        Args:
            worker: what this thread holds already; it is given back in any case.
        """
        call: _Call | None = None
        me = get_ident()
        try:
            call = self._new_call(row, timeout_s, priority)
            call.wake = threading.Lock()
            call.wake.acquire()
            with self._mutex:
                self._put(call)
                if worker is None:
                    try:
                        worker = self._idle.pop()
                        worker.owner = me
                    except IndexError:
                        if any(other.owner == me for other in self._pool.workers()):
                            raise ReentrantCall(self.name) from None
                        self._blocked.append(call)
            while call.state is not _State.DONE:
                if worker is None:
                    self._sleep(call)
                    worker, call.worker = call.worker, None
                else:
                    worker.owner = me
                    self._lead(worker, call)
                    self._give_back(worker)
                    worker = None
        except BaseException:
            if worker is not None:
                self._give_back(worker)
            if call is not None:
                self._leave(call)
            raise
        if call.error is not None:
            try:
                raise call.error
            finally:
                del call  # else the error's traceback and the call would hold each other
        return call.result

    def _sleep(self, call: _Call) -> None:
        """Until something has become of a call.

        Raises:
            CallTimedOut
        """
        assert call.wake is not None
        if call.deadline is None:
            call.wake.acquire()
            return
        left_s = call.deadline - monotonic()
        is_awake = left_s > 0 and call.wake.acquire(timeout=left_s)
        if not is_awake and call.state is not _State.DONE and call.worker is None:
            raise call.timed_out(self.name)

    # --- the queue (under the mutex) -------------------------------------------------------------------------------

    def _put(self, call: _Call) -> None:
        if self._is_forked:
            raise ForkedModel(self.name)
        if self._is_closed:
            raise ModelClosed(self.name)
        if self._limit is not None and self._queue.depth >= self._limit:
            raise QueueFull(self.name, f"{self._limit} calls")
        self._outstanding[call] = None
        self._queue.put(call)
        self._attention = True
        if call.arrived_at <= self._window_end:
            self._returned += 1
        if self._gatherer is not None and self._due_at(call.arrived_at, 1) <= call.arrived_at:
            _poke(self._gatherer)

    def _due_at(self, now: float, in_hand: int) -> float:
        """When what waits is to be cut.

        Args:
            in_hand: workers that have nothing to do, but are not idle because a thread holds them for the next batch.
        """
        first = self._queue.first()
        if first is None or self._is_closed:
            return now
        idle = len(self._idle) + in_hand
        return self._rule.due_at(now, self._queue.size, first.arrived_at, self._returned, idle)

    def _take(self, now: float) -> list[_Call]:
        """The calls of the next batch, those left out whose time is over."""
        batch: list[_Call] = []
        me = get_ident()
        for call in self._queue.take(self._batching.batch_size):
            if call.has_expired(now) and call.future is None:
                call.error = call.timed_out(self.name)
                call.leader = me
                _finish(call)
                self._outstanding.pop(call, None)
            elif call.future is None or call.future.running() or call.future.set_running_or_notify_cancel():
                call.leader = me
                call.state = _State.TAKEN
                batch.append(call)
            else:
                call.state = _State.LEFT
                self._outstanding.pop(call, None)
        return batch

    def _hand_out(self) -> None:
        """Find threads for idle workers while calls wait."""
        while self._queue.depth:
            try:
                worker = self._idle.pop()
            except IndexError:
                return
            self._hand_on(worker)

    def _hand_on(self, worker: _Worker) -> None:
        """Give a worker to the thread that has waited longest, or else to a helper."""
        while self._blocked:
            heir = self._blocked.popleft()
            if heir.state is _State.WAITING and heir.worker is None and heir.wake is not None:
                wake = heir.wake
                worker.owner = _HANDED_ON
                heir.worker = worker
                _poke(wake)
                return
        if self._parked:
            self._parked -= 1
        else:
            try:
                self._start_helper()
            except RuntimeError:  # no more threads are to be had
                self._idle.append(worker)
                raise
        worker.owner = _HANDED_ON
        self._errands.put(worker)

    def _start_helper(self) -> None:
        name = f"flambeau-{self.name}-{self._helpers + 1}"
        threading.Thread(target=_help, args=(self, self._errands), name=name, daemon=True).start()
        self._helpers += 1

    def _note(self) -> None:
        """What has changed may have been the last thing to attend to."""
        is_empty = not self._queue.depth
        self._attention = not is_empty or self._is_closed or self._is_fixed or self._window_end > 0.0
        if self._is_closed and is_empty and len(self._idle) == self._count:
            self._pool.retire()
            for _ in range(self._helpers):
                self._errands.put(None)
            self._all_back.set()

    def _batch_done(self, now: float, rows: int, seconds: float) -> None:
        if self._gathers and seconds >= _QUICK_S:
            end = self._rule.batch_done(now, rows, seconds, self._returned)
            self._window_end = end if end > now else 0.0
            self._returned = 0
        else:
            self._rule.cost.add(rows, seconds)
            self._window_end = 0.0
        self._is_quick = self._rule.cost.mean_s < _QUICK_S

    # --- workers ---------------------------------------------------------------------------------------------------

    def _run_measured(self, worker: _Worker, row: Any) -> Any:
        started_at = perf_counter()
        result = worker.run([row])[0]
        seconds = perf_counter() - started_at
        with self._mutex:
            self._batch_done(monotonic(), 1, seconds)
            self._note()
        return result

    def _lead(self, worker: _Worker, own: _Call | None) -> None:
        """Run batches: for one's own row and, while that takes next to no time, for others; a helper while any wait."""
        wake = threading.Lock() if own is None or own.wake is None else own.wake
        if own is None:
            wake.acquire()
        done_at = 0.0
        while batch := self._cut(own, wake):
            self._run(worker, batch)
            if own is not None and own.state is _State.DONE:
                now = perf_counter()
                done_at = done_at or now
                if now - done_at + self._rule.cost.mean_s > _ERRAND_S:
                    return

    def _cut(self, own: _Call | None, wake: threading.Lock) -> list[_Call]:
        """The next batch, waited for while company is about to come. Empty: nothing waits, or others see to it."""
        while True:
            with self._mutex:
                if self._gatherer is wake:
                    self._gatherer = None
                if not self._queue.depth:
                    return []
                now = monotonic()
                due_at = self._due_at(now, 1 if self._gatherer is None else 2)
                if due_at <= now:
                    batch = self._take(now)
                    if batch:
                        return batch
                    continue
                if own is not None and own.state is not _State.WAITING:
                    return []
                self._gatherer = wake
            wake.acquire(timeout=due_at - now)

    def _run(self, worker: _Worker, batch: list[_Call]) -> None:
        """Run a batch and answer its calls."""
        started_at = perf_counter()
        outcomes: list[Any]
        try:
            outcomes = worker.run([call.row for call in batch])
            if any(type(outcome) is GeneratorType for outcome in outcomes):
                outcomes = _run_parts(batch, outcomes)
        except BaseException as error:  # the border to user code
            if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                raise  # it is this thread that is interrupted, not a row that is at fault
            if len(batch) > 1 and self._isolates:
                for call in batch:
                    if call.is_wanted:
                        self._run(worker, [call])
                return
            worker.failures += 1
            outcomes = [error] * len(batch)
        worker.batches += 1
        worker.rows += len(batch)
        self._settle(batch, outcomes, perf_counter() - started_at)

    def _settle(self, batch: list[_Call], outcomes: Sequence[Any], seconds: float) -> None:
        with self._mutex:
            self._batch_done(monotonic(), len(batch), seconds)
            for call, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, BaseException):
                    call.error = outcome
                else:
                    call.result = outcome
                _finish(call)
                if call.future is None:
                    self._outstanding.pop(call, None)
        for call in batch:
            if call.future is not None:
                self._deliver(call)

    def _deliver(self, call: _Call) -> None:
        """Answer a future; its call-backs run here, without the mutex."""
        future = call.future
        if call.timer is not None:
            call.timer.cancel()
        if future is not None and not future.done():
            future.call = None
            if call.error is not None:
                future.set_exception(call.error)
            else:
                future.set_result(call.result)
        self._outstanding.pop(call, None)

    def run_errand(self, worker: _Worker) -> None:
        """Run batches for as long as any wait, on a helper thread."""
        worker.owner = get_ident()
        self._lead(worker, None)
        with self._mutex:
            self._parked += 1
        self._give_back(worker)

    def _give_back(self, worker: _Worker) -> None:
        """A thread is done with the worker that it holds. Does nothing where it has given it back before."""
        with self._mutex:
            if worker.owner != get_ident():
                return
            if self._queue.depth:
                self._hand_on(worker)
            else:
                worker.owner = _IDLE
                self._idle.append(worker)
            self._note()

    def _look_around(self) -> None:
        """See to what came while no worker was idle."""
        with self._mutex:
            self._hand_out()
            self._note()

    # --- those that leave ------------------------------------------------------------------------------------------

    def _leave(self, call: _Call) -> bool:
        """No answer is wanted any more. Returns whether the call was still waiting."""
        with self._mutex:
            was_waiting = call.state is _State.WAITING and call in self._outstanding
            if was_waiting:
                self._queue.withdraw(call)
            if call.state is not _State.DONE:
                call.state = _State.LEFT
                call.is_wanted = False
                self._outstanding.pop(call, None)
            worker, call.worker = call.worker, None
            if worker is not None:
                self._idle.append(worker)
                worker.owner = _IDLE
            self._hand_out()
            self._note()
        if call.timer is not None:
            call.timer.cancel()
        return was_waiting

    def _expire(self, call: _Call) -> None:
        """A future's time is over."""
        future = call.future
        if (
            future is not None
            and call.state is _State.WAITING
            and self._leave(call)
            and future.set_running_or_notify_cancel()
        ):
            future.set_exception(call.timed_out(self.name))

    def _repair(self) -> None:
        """After an interrupt, which may have come anywhere: make the queue anew from the calls that are known.

        Batches that this thread was at are run again by others, without the row of the call that was interrupted.
        """
        me = get_ident()
        with self._mutex:
            mine = [call for call in self._outstanding if call.leader == me]
            answered = [call for call in mine if call.state is _State.DONE]
            for call in answered:
                if call.wake is not None:
                    self._outstanding.pop(call)
                    _poke(call.wake)
            self._queue = CallQueue()
            self._blocked.clear()
            for call in self._outstanding:
                if call.state is _State.TAKEN and call.leader == me:
                    call.state = _State.WAITING
                if call.state is _State.WAITING:
                    self._queue.put(call)
                    if call.wake is not None:
                        self._blocked.append(call)
                        if call.worker is not None:
                            _poke(call.wake)
            self._hand_out()
            self._note()
        for call in answered:
            if call.future is not None:
                self._deliver(call)

    # --- the end ---------------------------------------------------------------------------------------------------

    def close(self, timeout_s: float | None) -> bool:
        if self._is_forked:
            return True
        if any(worker.owner == get_ident() for worker in self._pool.workers()):
            raise ReentrantCall(self.name)
        with self._mutex:
            self._is_closed = True
            if self._gatherer is not None:
                _poke(self._gatherer)
            self._hand_out()
            self._note()
        if self._all_back.wait(timeout_s):
            return True
        with self._mutex:
            left: list[_Call] = []
            while self._queue.depth:
                left.extend(self._queue.take(self._queue.size))
            for call in left:
                call.error = ModelClosed(self.name)
                _finish(call)
                if call.future is None:
                    self._outstanding.pop(call, None)
            self._note()
        for call in left:
            if call.future is not None and (call.future.running() or call.future.set_running_or_notify_cancel()):
                self._deliver(call)
        return False

    def forget(self) -> None:
        """This is the child of a fork: nothing that ran in the parent runs here."""
        self._is_forked = True
        self._start_anew()
        self._pool.retire()

    # --- views -----------------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        workers = self._pool.workers()
        batches = sum(worker.batches + worker.singles for worker in workers)
        rows = sum(worker.rows + worker.singles for worker in workers)
        cost = self._rule.cost
        return {
            "workers": [
                {
                    "kind": "thread",
                    "batches": worker.batches + worker.singles,
                    "rows": worker.rows + worker.singles,
                    "failures": worker.failures,
                    "isBusy": worker.owner != _IDLE,
                }
                for worker in workers
            ],
            "queue": {"depth": self._queue.depth, "limit": self._limit},
            "batching": {
                "batches": batches,
                "rows": rows,
                "meanBatchSize": round(rows / batches, 2) if batches else 0.0,
                "meanBatchMs": round(cost.mean_s * 1e3, 4),
                "fixedCostMs": round(cost.fixed_s() * 1e3, 4),
            },
        }


def _help(engine: CombiningEngine, errands: SimpleQueue[_Worker | None]) -> None:
    """A helper thread: runs batches for callers that do not wait themselves."""
    while (worker := errands.get()) is not None:
        engine.run_errand(worker)


def plain_result(result: Any) -> Any:
    """The answer, where a result is a failure or comes in parts."""
    if isinstance(result, Exception):
        raise result
    return list(result) if isinstance(result, GeneratorType) else result


def _run_parts(batch: list[_Call], outcomes: list[Any]) -> list[Any]:
    """Run the generators among a batch's results: their parts go to whoever reads the stream, else into a list."""
    collected: dict[int, list[Any]] = {
        index: [] for index, outcome in enumerate(outcomes) if type(outcome) is GeneratorType
    }

    def emit(index: int, part: Any) -> bool:
        parts = batch[index].parts
        if parts is None:
            collected[index].append(part)
        else:
            parts.put(part)
        return batch[index].is_wanted

    ends = run_streams({index: outcomes[index] for index in collected}, emit)
    results = list(outcomes)
    for index, error in ends.items():
        results[index] = error or (collected[index] if batch[index].parts is None else _STREAMED)
    return results


def _finish(call: _Call) -> None:
    """What became of a call is known; wake its thread, if it has one."""
    wake = call.wake
    call.row = None
    call.state = _State.DONE
    if wake is not None:
        _poke(wake)


def _poke(wake: threading.Lock) -> None:
    """Wake whoever sleeps on it, or see that he does not fall asleep."""
    try:
        wake.release()
    except RuntimeError:  # released before, and not yet slept on again
        pass


_engines: weakref.WeakSet[CombiningEngine] = weakref.WeakSet()


def _forget_all() -> None:
    for engine in list(_engines):
        engine.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
