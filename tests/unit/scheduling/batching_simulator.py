"""Batch rules driven faster than real time: a real queue, clients and workers that are only numbers."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from flambeau.request import InferenceReply, InferenceRequest
from flambeau.scheduling.batching import BatchRule
from flambeau.scheduling.job import Job
from flambeau.scheduling.queue import JobQueue

_REQUEST = InferenceRequest("", [], [])
_REPLY = InferenceReply(b"")


@dataclass(frozen=True)
class CutBatch:
    """A batch as a worker got it."""

    at: float
    rows: int
    oldest_at: float
    free_since: float
    """Since when the worker had nothing to do."""

    @property
    def idle_s(self) -> float:
        """How long a worker stood idle while this batch's first job waited."""
        return self.at - max(self.oldest_at, self.free_since)


@dataclass
class Outcome:
    """What a simulation saw."""

    batches: list[CutBatch] = field(default_factory=list)
    answered_at: list[float] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    ended_at: float = 0.0

    def throughput(self, warm_up: float = 0.3) -> float:
        """Answers per second, after this share of the time."""
        start = self.ended_at * warm_up
        return sum(at > start for at in self.answered_at) / (self.ended_at - start)


@dataclass(frozen=True)
class Client:
    """Asks, waits for the answer, thinks, asks again."""

    think_s: Callable[[], float]
    first_at: float = 0.0


def simulate(
    rule: BatchRule,
    batch_size: int,
    batch_s: Callable[[int], float],
    *,
    clients: Sequence[Client] = (),
    arrivals: Iterable[float] = (),
    workers: int = 1,
    batches: int = 300,
) -> Outcome:
    """Run until so many batches are done.

    Args:
        batch_s: seconds that a worker takes for a batch of so many rows.
        clients: closed loop.
        arrivals: open loop: times in ascending order.
    """
    queue = JobQueue("simulated", 1 << 30, 1 << 30)
    outcome = Outcome()
    order = itertools.count()
    events: list[tuple[float, int, Callable[[float], None]]] = []
    free_since = [0.0] * workers
    idle = list(range(workers))

    def at(time: float, action: Callable[[float], None]) -> None:
        heapq.heappush(events, (time, next(order), action))

    def ask(client: Client | None, now: float) -> None:
        def answer(outcome_of_job: object) -> None:
            answered_at = outcome.ended_at
            outcome.answered_at.append(answered_at)
            outcome.latencies_s.append(answered_at - now)
            if client is not None:
                at(answered_at + client.think_s(), lambda later: ask(client, later))

        queue.put_nowait(Job(_REQUEST, _Answer(answer), now, queue))

    def ask_openly(now: float) -> None:
        ask(None, now)
        following = next(open_loop, None)
        if following is not None:
            at(following, ask_openly)

    def done(worker: int, jobs: list[Job], seconds: float, now: float) -> None:
        outcome.ended_at = now
        queue.open_window(rule.batch_done(now, len(jobs), seconds, queue.window_arrivals))
        free_since[worker] = now
        idle.append(worker)
        cut(now)
        for job in jobs:
            if job.caller is not None:
                job.caller.answer(_REPLY)

    def cut(now: float) -> None:
        while idle and queue.depth:
            oldest_at = queue.oldest_arrival()
            assert oldest_at is not None
            due_at = rule.due_at(now, queue.depth, oldest_at, queue.window_arrivals, len(idle))
            if due_at > now:
                at(due_at, lambda later: None)
                return
            start(idle.pop(), queue.take(batch_size, now), oldest_at, now)

    def start(worker: int, jobs: list[Job], oldest_at: float, now: float) -> None:
        outcome.batches.append(CutBatch(now, len(jobs), oldest_at, free_since[worker]))
        seconds = batch_s(len(jobs))
        at(now + seconds, lambda later: done(worker, jobs, seconds, later))

    open_loop = iter(arrivals)
    for client in clients:
        at(client.first_at, lambda now, client=client: ask(client, now))
    first = next(open_loop, None)
    if first is not None:
        at(first, ask_openly)
    while events and len(outcome.batches) < batches:
        now, _, action = heapq.heappop(events)
        action(now)
        while events and events[0][0] == now:  # what comes in one turn of the loop is cut together
            heapq.heappop(events)[2](now)
        cut(now)
    return outcome


class _Answer:
    def __init__(self, take: Callable[[object], None]) -> None:
        self.answer = take


class AtOnceRule:
    """Cuts whatever there is: what an adaptive rule is compared with."""

    def due_at(self, now: float, waiting: int, oldest_at: float, returned: int, idle: int) -> float:
        return now

    def batch_done(self, now: float, rows: int, seconds: float, returned: int) -> float:
        return now
