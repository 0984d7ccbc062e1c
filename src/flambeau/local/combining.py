"""Batches of rows run by the threads that ask for them (flat combining).

A calling thread that finds a free worker runs its row itself: no hand-off, no wake-up. One that finds none leaves its
row in the queue and waits. Whoever has finished a batch looks at the queue before it gives the worker back: a batch
that takes less than a thread's wake-up it runs itself, for those who wait; for a longer one it hands the worker to the
thread whose turn it is, who then runs a batch for itself and the others. Rows without a thread that may do so are run
by helper threads, at most one a worker, which start when they are needed first.

What keeps this correct:

* ``_idle`` holds the workers that are free. Taking one out and giving it back are one step each, and need no lock; who
  has taken a worker alone may use it.
* ``_mutex`` guards the queue and every change of a call's state. Whoever puts a call into the queue looks for an idle
  worker afterwards; whoever gives a worker back looks at ``_attention`` afterwards, which is true while anything waits.
  So either the one sees the worker or the other sees the call.
* In the main thread a signal's handler may raise after any call and at any function's beginning. So that thread runs no
  rows but its own, and only where it found a free worker at once; any other it leaves to the helpers. What it changes
  under the mutex it changes in one step, and hand-outs it leaves to helpers and the timekeeper.
* Finalisers may run in any thread, even while it has the mutex. What they may do, cancelling and closing a stream,
  takes no lock: ``_leaving`` has those that are still to be taken out of the queue.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from operator import index
from queue import SimpleQueue
from threading import get_ident
from time import monotonic, perf_counter
from types import GeneratorType
from typing import Any

from flambeau.config.model import BatchingConfig, BatchPolicy
from flambeau.errors import ForkedModel, ModelClosed, QueueFull, ReentrantCall
from flambeau.local.engine import RunBatch
from flambeau.local.outcomes import SPECIAL, attempt, plain_result, run_parts
from flambeau.local.pending import CallFuture, PendingCall, State, poke
from flambeau.local.queue import CallQueue
from flambeau.local.streams import PartReader
from flambeau.local.timekeeper import call_at, soon_caller
from flambeau.scheduling.batching import rule_for

_ERRAND_S = 0.0002
"""What a thread that has its answer will spend on others before it hands the worker on: a few wake-ups' worth."""

_QUICK_S = 0.0001
"""A batch that takes less is not worth waiting with, nor worth measuring each time."""

_SAMPLE = 64
"""One of so many quick calls is measured."""


_IDLE = 0
_HANDED_ON = -1
"""Not yet with the thread that is to run it. Both are no thread's number."""


class _Worker:
    """One handler, which one thread at a time may run."""

    __slots__ = ("batches", "failures", "owner", "rows", "run", "singles")

    def __init__(self, run: RunBatch) -> None:
        self.run = run
        self.owner = _IDLE
        """The thread that holds it."""
        self.singles = 0
        """Rows that ran alone, straight from their callers."""
        self.batches = 0
        self.rows = 0
        """Of ``batches``, which does not count singles."""
        self.failures = 0


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
        self._workers = [_Worker(run) for run in runners]
        self._idle = list(self._workers)
        self._is_forked = False
        self._main_thread = threading.main_thread().ident
        """The one that signals interrupt."""
        self._call_soon = soon_caller()
        self._mutex = threading.Lock()
        self._queue: CallQueue[PendingCall] = CallQueue()
        self._leaving: deque[PendingCall] = deque()
        """Calls that nobody wants any more, and that may still be in the queue."""
        self._gatherers: list[threading.Lock] = []
        """What wakes threads that wait for company, each with a worker in hand."""
        self._rule = rule_for(batching)
        self._gathers = batching.batch_size > 1
        self._is_fixed = self._gathers and batching.policy is BatchPolicy.FIXED
        self._window_end = 0.0
        """Until when callers that have been answered are expected back; 0: they are not."""
        self._returned = 0
        self._is_quick = False
        """Whether batches take less than ``_QUICK_S``."""
        self._errands: SimpleQueue[bool] = SimpleQueue()
        """Each sends one helper to look for work; False sends all away."""
        self._helpers = 0
        self._parked = 0
        """Helpers that wait for an errand, or have just got one. Only helpers change it."""
        self._is_closed = False
        self._was_cut_short = False
        self._all_back = threading.Event()
        self._attention = self._is_fixed
        """Whether there may be more to do than to run one's own row."""
        _engines.add(self)

    # --- calls -----------------------------------------------------------------------------------------------------

    def call(self, row: Any, timeout_s: float | None, priority: int) -> Any:
        me = get_ident()
        try:
            worker: _Worker | None
            try:
                worker = self._idle[-1]
                self._idle.remove(worker)  # two steps: if a signal interrupts here, it is known which one to give back
            except (IndexError, ValueError):  # all are at work
                worker = None
            except BaseException:
                self._idle.append(worker)  # type: ignore[arg-type]
                raise
            if worker is None:
                return self._call_in_company(None, row, timeout_s, priority)
            try:
                worker.owner = me
                if self._attention and not self._is_alone():
                    return self._call_in_company(worker, row, timeout_s, priority)
                worker.singles = number = worker.singles + 1
                try:
                    if self._is_quick and number % _SAMPLE:
                        result = worker.run([row])[0]
                    else:
                        result = self._run_measured(worker, row)
                except Exception:
                    worker.failures += 1
                    raise
                if isinstance(result, SPECIAL):
                    try:
                        return plain_result(result)
                    finally:
                        del result  # else an error's traceback and this frame would hold each other
                return result
            finally:
                if worker.owner == me:
                    worker.owner = _IDLE
                    self._idle.append(worker)
                    if self._attention:
                        self._look_around()
        except BaseException:
            if self._attention and me == self._main_thread:
                self._call_soon(self._look_around)  # if it is a signal's, it may have kept this thread from it
            raise

    def submit(self, row: Any, timeout_s: float | None, priority: int) -> Future[Any]:
        return self._submit(row, timeout_s, priority, None)[0]

    def stream(self, row: Any, timeout_s: float | None, priority: int) -> Iterator[Any]:
        parts: SimpleQueue[Any] = SimpleQueue()
        future, call = self._submit(row, timeout_s, priority, parts)
        return PartReader(future, parts, partial(self._leave, call))

    def _submit(
        self, row: Any, timeout_s: float | None, priority: int, parts: SimpleQueue[Any] | None
    ) -> tuple[CallFuture, PendingCall]:
        call = self._new_call(row, timeout_s, priority)
        call.parts = parts
        call.future = future = CallFuture(self._leave)
        future.call = call
        try:
            with self._mutex:
                self._put(call)
                self._hand_out()
            if call.deadline is not None:
                call.timer = timer = call_at(call.deadline, partial(self._expire, call))
                if call.state is State.DONE:
                    timer.cancel()
        except BaseException:
            if get_ident() == self._main_thread:
                self._call_soon(self._look_around)
            self._leave(call)
            raise
        return future, call

    def _new_call(self, row: Any, timeout_s: float | None, priority: int) -> PendingCall:
        now = monotonic()
        size = 1 if self._size_of is None else max(0, int(self._size_of(row)))
        return PendingCall(row, index(priority), size, now, None if timeout_s is None else now + timeout_s)

    def _is_alone(self) -> bool:
        """Whether a row that has found a free worker is a batch by itself: nobody waits, and nobody is waited for."""
        now = monotonic()
        with self._mutex:
            self._drop_leaving()
            if self._queue.depth or self._is_closed:
                return False
            returned = self._returned + (now <= self._window_end)
            if self._rule.due_at(now, 1, now, returned, len(self._idle) + 1) > now:
                return False
            self._returned = returned
            return True

    def _call_in_company(self, worker: _Worker | None, row: Any, timeout_s: float | None, priority: int) -> Any:
        """Answer a row where others are about: it goes through the queue.

        Args:
            worker: what this thread holds already; it is given back in any case.
        """
        me = get_ident()
        is_main = me == self._main_thread
        if worker is not None and is_main:
            worker.owner = _IDLE
            self._idle.append(worker)
            worker = None
        call = self._new_call(row, timeout_s, priority)
        call.has_worker = worker is not None
        call.can_lead = worker is None and not is_main
        call.wake = threading.Lock()
        call.wake.acquire()
        try:
            with self._mutex:
                self._put(call)
                if worker is None:
                    if not self._idle and any(other.owner == me for other in self._workers):
                        raise ReentrantCall(self.name)
                    self._hand_out()
            while True:
                is_done = call.state is State.DONE  # first: a worker that it was handed before is seen below
                if call.worker is not None:
                    worker, call.worker = call.worker, None
                    worker.owner = me
                if worker is not None:
                    if not is_done:
                        self._lead(worker, call)
                    self._give_back(worker)
                    worker = None
                elif is_done:
                    break
                else:
                    self._sleep(call)
        except BaseException:
            if is_main:
                self._leave(call)
            else:
                with self._mutex:
                    self._drop(call)
                worker = worker or call.worker
                if worker is not None:
                    self._give_back(worker)
            raise
        error, call.error = call.error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # else its traceback and this frame would hold each other
        return call.result

    def _sleep(self, call: PendingCall) -> None:
        """Until something may have become of a call.

        Raises:
            CallTimedOut
        """
        assert call.wake is not None
        if call.deadline is None:
            call.wake.acquire()
            return
        left_s = min(call.deadline - monotonic(), threading.TIMEOUT_MAX)
        if left_s <= 0 or not call.wake.acquire(timeout=left_s):
            is_waiting = call.state is not State.DONE and call.worker is None
            if is_waiting and call.has_expired(monotonic()):
                raise call.timed_out(self.name)

    # --- the queue (under the mutex) -------------------------------------------------------------------------------

    def _put(self, call: PendingCall) -> None:
        if self._is_forked:
            raise ForkedModel(self.name)
        if self._is_closed:
            raise ModelClosed(self.name)
        self._drop_leaving()
        if self._limit is not None and self._queue.depth >= self._limit:
            raise QueueFull(self.name, f"{self._limit} calls")
        self._attention = True
        self._queue.put(call)
        if call.arrived_at <= self._window_end:
            self._returned += 1
        if self._gatherers and self._due_at(call.arrived_at, call.arrived_at, len(self._gatherers)) <= call.arrived_at:
            poke(self._gatherers[0])

    def _due_at(self, now: float, oldest_at: float, in_hand: int) -> float:
        """When what waits is to be cut.

        Args:
            in_hand: workers that have nothing to do, but are not idle because a thread holds them for the next batch.
        """
        if self._is_closed:
            return now
        return self._rule.due_at(now, self._queue.size, oldest_at, self._returned, len(self._idle) + in_hand)

    def _take(self, now: float) -> list[PendingCall]:
        """The calls of the next batch, without those that left and those whose time is over."""
        batch: list[PendingCall] = []
        for call in self._queue.take(self._batching.batch_size):
            if call.has_expired(now):
                continue  # its thread, or its future's timer, is about to see to it
            if call.future is None or call.future.set_running_or_notify_cancel():
                call.state = State.TAKEN
                batch.append(call)
            else:
                call.state = State.LEFT
        return batch

    def _hand_out(self) -> None:
        """Find threads for idle workers while calls wait."""
        if get_ident() == self._main_thread:
            if self._queue.depth and self._idle:
                self._send_for_help()
            return
        while self._queue.depth:
            try:
                worker = self._idle.pop()
            except IndexError:
                return
            if not self._hand_on(worker):
                return

    def _hand_on(self, worker: _Worker) -> bool:
        """Give a worker to the thread whose turn it is, or leave it idle, for a helper to come. Returns which."""
        is_help_needed = False
        for call in self._queue:
            if call.can_lead and call.wake is not None:
                call.can_lead = False
                call.has_worker = True
                worker.owner = _HANDED_ON
                call.worker = worker
                poke(call.wake)
                return True
            if not call.has_worker:
                is_help_needed = True
                break
        worker.owner = _IDLE
        self._idle.append(worker)
        if is_help_needed:
            self._send_for_help()
        return False

    def _note(self) -> None:
        """What has changed may have been the last thing to attend to."""
        is_empty = not self._queue.depth
        self._attention = not is_empty or self._is_closed or self._is_fixed or self._window_end > 0.0
        if self._is_closed and is_empty and len(self._idle) == len(self._workers):
            if get_ident() == self._main_thread:
                self._call_soon(self._look_around)
            else:
                self._retire()

    def _retire(self) -> None:
        """All is done: let the helpers and the handlers go."""
        self._idle.clear()
        for worker in self._workers:
            del worker.run
        self._errands.put(False)
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

    # --- helpers ---------------------------------------------------------------------------------------------------

    def _send_for_help(self) -> None:
        """Under the mutex: see that a helper comes for an idle worker."""
        if self._errands.qsize() < min(len(self._idle), self._queue.depth):  # else enough are on their way
            self._errands.put(True)
        if self._is_short_of_helpers():
            if get_ident() == self._main_thread:
                self._call_soon(self._look_around)
            else:
                self._add_helper()

    def _is_short_of_helpers(self) -> bool:
        return self._errands.qsize() > self._parked and self._helpers < len(self._workers)

    def _add_helper(self) -> None:
        name = f"flambeau-{self.name}-{self._helpers + 1}"
        try:
            threading.Thread(target=self._help, name=name, daemon=True).start()
        except RuntimeError:  # no more threads are to be had, least of all where the interpreter is about to end
            self._call_soon(self._run_errand)
        else:
            self._helpers += 1
            self._parked += 1

    def _help(self) -> None:
        """A helper thread: runs batches for callers whose threads do not."""
        while self._errands.get():
            with self._mutex:
                self._parked -= 1
                if self._is_short_of_helpers():
                    self._add_helper()
            self._run_errand(parks=True)
        self._errands.put(False)  # for the next

    def _run_errand(self, parks: bool = False) -> None:
        """Run batches with an idle worker for as long as any calls wait."""
        with self._mutex:
            worker = self._idle.pop() if self._queue.depth and self._idle else None
        if worker is not None:
            worker.owner = get_ident()
            self._lead(worker, None)
        if parks:
            with self._mutex:
                self._parked += 1
        if worker is not None:
            self._give_back(worker)

    # --- workers ---------------------------------------------------------------------------------------------------

    def _run_measured(self, worker: _Worker, row: Any) -> Any:
        started_at = perf_counter()
        result = worker.run([row])[0]
        seconds = perf_counter() - started_at
        with self._mutex:
            self._batch_done(monotonic(), 1, seconds)
            self._note()
        return result

    def _lead(self, worker: _Worker, own: PendingCall | None) -> None:
        """Run batches: for one's own row and, while that takes next to no time, for others; a helper while any wait."""
        wake = threading.Lock() if own is None or own.wake is None else own.wake
        if own is None:
            wake.acquire()
        done_at = 0.0
        while batch := self._cut(own, wake):
            self._run(worker, batch)
            if own is not None and own.state is State.DONE:
                now = perf_counter()
                done_at = done_at or now
                if now - done_at + self._rule.cost.mean_s > _ERRAND_S:
                    return

    def _cut(self, own: PendingCall | None, wake: threading.Lock) -> list[PendingCall]:
        """The next batch, waited for while company is about to come. Empty: nothing waits, or others see to it."""
        while True:
            with self._mutex:
                if wake in self._gatherers:
                    self._gatherers.remove(wake)
                self._drop_leaving()
                now = monotonic()
                if own is not None and own.state is State.WAITING and own.has_expired(now):
                    self._queue.withdraw(own)
                    own.error = own.timed_out(self.name)
                    own.finish()
                first = self._queue.first()
                if first is None:
                    return []
                due_at = self._due_at(now, first.arrived_at, 1 + len(self._gatherers))
                if due_at <= now:
                    batch = self._take(now)
                    if not batch:
                        continue
                    for gatherer in self._gatherers:  # what they wait with may be in it
                        poke(gatherer)
                    return batch
                if own is not None:
                    if own.state is not State.WAITING:
                        return []
                    due_at = min(due_at, own.deadline or due_at)
                self._gatherers.append(wake)
            wake.acquire(timeout=min(due_at - now, threading.TIMEOUT_MAX))

    def _run(self, worker: _Worker, batch: list[PendingCall]) -> None:
        """Run a batch and answer its calls."""
        started_at = perf_counter()
        outcomes = attempt(worker.run, [call.row for call in batch])
        if isinstance(outcomes, BaseException):
            if len(batch) > 1 and self._isolates:
                del outcomes  # an error, whose traceback holds this frame
                for call in batch:
                    if call.is_wanted:
                        self._run(worker, [call])
                return
            worker.failures += 1
            outcomes = [outcomes] * len(batch)
        elif any(type(outcome) is GeneratorType for outcome in outcomes):
            outcomes = run_parts(batch, outcomes)
        worker.batches += 1
        worker.rows += len(batch)
        try:
            self._settle(batch, outcomes, perf_counter() - started_at)
        finally:
            del outcomes  # may hold errors, whose tracebacks hold this frame

    def _settle(self, batch: list[PendingCall], outcomes: Sequence[Any], seconds: float) -> None:
        with self._mutex:
            self._batch_done(monotonic(), len(batch), seconds)
            answered = [call for call in batch if call.state is State.TAKEN]
            for call, outcome in zip(batch, outcomes, strict=True):
                if call.state is State.TAKEN:
                    if isinstance(outcome, BaseException):
                        call.error = outcome
                    else:
                        call.result = outcome
                    call.finish()
        for call in answered:
            call.deliver()

    def _give_back(self, worker: _Worker) -> None:
        """A thread is done with the worker that it holds."""
        with self._mutex:
            if self._queue.depth:
                self._hand_on(worker)
            else:
                worker.owner = _IDLE
                self._idle.append(worker)
            self._note()

    def _look_around(self) -> None:
        """See to what came while no worker was idle."""
        with self._mutex:
            self._drop_leaving()
            self._hand_out()
            self._note()

    # --- those that leave ------------------------------------------------------------------------------------------

    def _leave(self, call: PendingCall) -> None:
        """No answer is wanted any more. From anywhere, finalisers included: takes no lock."""
        call.is_wanted = False
        self._leaving.append(call)
        if call.timer is not None:
            call.timer.cancel()

    def _drop_leaving(self) -> None:
        while self._leaving:
            self._drop(self._leaving.popleft())

    def _drop(self, call: PendingCall) -> None:
        """Under the mutex: whoever called has left."""
        call.is_wanted = False
        if self._queue.withdraw(call):
            call.row = None
        if call.state in (State.WAITING, State.TAKEN):
            call.state = State.LEFT

    def _expire(self, call: PendingCall) -> None:
        """A future's time is over."""
        with self._mutex:
            if call.state not in (State.WAITING, State.TAKEN):
                return
            self._drop(call)
            call.error = call.timed_out(self.name)
            self._note()
        call.deliver()

    # --- the end ---------------------------------------------------------------------------------------------------

    def close(self, timeout_s: float | None) -> bool:
        if self._is_forked:
            return True
        if any(worker.owner == get_ident() for worker in self._workers):
            raise ReentrantCall(self.name)
        with self._mutex:
            self._is_closed = True
            while self._gatherers:
                poke(self._gatherers.pop())
            self._hand_out()
            self._note()
        if not self._all_back.wait(None if timeout_s is None else min(timeout_s, threading.TIMEOUT_MAX)):
            self._was_cut_short = True
            self._call_soon(self._refuse_waiting)
        return not self._was_cut_short

    def _refuse_waiting(self) -> None:
        with self._mutex:
            refused = [call for call in self._queue.waiting() if call.is_wanted]
            for call in refused:
                call.error = ModelClosed(self.name)
                call.finish()
                self._queue.withdraw(call)
            self._note()
        for call in refused:
            call.deliver()

    def forget(self) -> None:
        """This is the child of a fork: nothing that ran in the parent runs here."""
        self._is_forked = True
        self._mutex = threading.Lock()
        self._attention = False
        self._idle.clear()
        for worker in self._workers:
            worker.owner = _HANDED_ON  # to nobody: a thread that holds one, and forked in its handler, does not either

    # --- views -----------------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        with self._mutex:
            self._drop_leaving()
        batches = sum(worker.batches + worker.singles for worker in self._workers)
        rows = sum(worker.rows + worker.singles for worker in self._workers)
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
                for worker in self._workers
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


_engines: weakref.WeakSet[CombiningEngine] = weakref.WeakSet()


def _forget_all() -> None:
    for engine in list(_engines):
        engine.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
