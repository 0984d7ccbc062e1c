"""One row on its way through a graph of stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, wait
from functools import partial
from threading import Lock
from time import perf_counter
from typing import Any

from flambeau.errors import CallTimedOut, StageFailed
from flambeau.local.pipeline.graph import Step
from flambeau.local.pipeline.member import Member, Terms
from flambeau.local.pipeline.progress import Progress, StageRefused

Due = list[tuple[Step, Any]]
"""Stages to be run, each with its row."""


class Walk:
    """Runs the stages of one row as they become due, and settles :attr:`answer` once.

    Whoever has a stage's result, the calling thread or the one that settles the stage's future, also starts what is due
    after it. The first failure ends the walk: what is under way elsewhere is cancelled, or its result dropped.
    """

    def __init__(self, members: Sequence[Member], progress: Progress, terms: Terms) -> None:
        """
        Args:
            members: by step of the plan.
        """
        self.answer: Future[Any] = Future()
        self._members = members
        self._progress = progress
        self._terms = terms
        self._lock = Lock()
        self._is_over = False
        self._in_flight: set[Future[Any]] = set()

    def start(self) -> None:
        """Begin without waiting. Cancelling the answer ends the walk."""
        self.answer.add_done_callback(self._answered)
        self._submit(self._next(self._progress.begin))

    def run(self) -> Any:
        """Answer the row in the calling thread, which runs one of the stages that are due, and those that take no time;
        others run beside it.

        Raises:
            CallTimedOut: the pipeline's time is over while other threads run the last stages.
            Exception: what the row failed with.
        """
        try:
            due = self._next(self._progress.begin)
            while due:
                if len(due) > 1:
                    due = self._share(due)
                due += self._call(*due.pop())
            return self._result()
        except BaseException:
            self._end()
            raise

    def _next(self, advance: Callable[..., Due], *arguments: Any) -> Due:
        """What is due after a step of the progress; nothing if the walk is over, which it is after the last."""
        if self._is_over:
            return []
        try:
            due = advance(*arguments)
        except StageRefused as error:
            failed = StageFailed(error.step.name, self._terms.number, error.problem)
            failed.__cause__ = error.__cause__
            self._fail(failed)
            return []
        if self._progress.is_complete and self._end() and self.answer.set_running_or_notify_cancel():
            self.answer.set_result(self._progress.result())
        return due

    def _share(self, due: Due) -> Due:
        """Submit what is worth a hand-over, but for one stage. Gives the stages for this thread, the longest first."""
        quick: Due = []
        slow: Due = []
        for step, row in due:
            (quick if self._members[step.slot - 1].is_quick() else slow).append((step, row))
        mine = slow[-1:]
        self._submit(slow[:-1])
        return mine + quick

    def _call(self, step: Step, row: Any) -> Due:
        """Run a stage in this thread. Gives what is due then."""
        if self._is_over:
            return []
        member, terms = self._members[step.slot - 1], self._terms
        started = perf_counter()
        try:
            value = member.call(row, timeout_s=terms.left_in_s(member.stage), priority=terms.priority)
        except Exception as error:  # the border of the stage: whatever it raises is its failure
            self._fail(terms.failure(member.stage, error))
            return []
        member.took(perf_counter() - started)
        return self._next(self._progress.arrive, step, value)

    def _submit(self, due: Due) -> None:
        """Hand stages to their models, and go on behind those that have answered already. Empties the list."""
        while due:
            step, row = due.pop(0)
            member, terms = self._members[step.slot - 1], self._terms
            if self._is_over:
                continue
            if member.model is None:
                due += self._next(self._progress.arrive, step, row)
                continue
            started = perf_counter()
            try:
                future = member.model.submit(row, timeout_s=terms.left_in_s(member.stage), priority=terms.priority)
            except Exception as error:  # the border of the stage: whatever it raises is its failure
                self._fail(terms.failure(member.stage, error))
                continue
            if future.done():  # here and not in the callback, which would go one level deeper with each stage
                due += self._outcome(step, started, future)
                continue
            with self._lock:
                if not self._is_over:
                    self._in_flight.add(future)
            if self._is_over:
                future.cancel()
            future.add_done_callback(partial(self._returned, step, started))

    def _returned(self, step: Step, started: float, future: Future[Any]) -> None:
        with self._lock:
            self._in_flight.discard(future)
        self._submit(self._outcome(step, started, future))

    def _outcome(self, step: Step, started: float, future: Future[Any]) -> Due:
        """Take a stage's result. Gives what is due then."""
        member = self._members[step.slot - 1]
        if self._is_over:
            return []
        error = CancelledError("its call was cancelled") if future.cancelled() else future.exception()
        if error is not None:
            self._fail(self._terms.failure(member.stage, error))
            return []
        member.took(perf_counter() - started)
        return self._next(self._progress.arrive, step, future.result())

    def _fail(self, error: BaseException) -> None:
        if self._end() and self.answer.set_running_or_notify_cancel():
            self.answer.set_exception(error)

    def _end(self) -> bool:
        """Start nothing more and cancel what has not begun. Gives whether the walk was not over yet."""
        with self._lock:
            if self._is_over:
                return False
            self._is_over = True
            in_flight = list(self._in_flight)
        for future in in_flight:
            future.cancel()
        return True

    def _answered(self, answer: Future[Any]) -> None:
        if answer.cancelled() and self._end():
            answer.set_running_or_notify_cancel()  # tells those who wait for several futures

    def _result(self) -> Any:
        """The answer, as soon as it is there."""
        if not self.answer.done():
            wait([self.answer], self._terms.left_s())
        if not self.answer.done():
            raise CallTimedOut(self._terms.pipeline, self._terms.timeout_s or 0.0)
        return self.answer.result()
