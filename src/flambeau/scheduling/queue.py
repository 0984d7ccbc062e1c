"""The queue of one model version: bounded, by priority, then first in, first out; no clock, no event loop.

Invariant: ``depth``, ``size`` and ``depth_bytes`` count the jobs that are still wanted. A job whose caller has left
stays in the deque until it comes to the front or until such jobs outnumber the others, and costs neither room nor work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from flambeau.errors import QueueFull
from flambeau.request import Purpose
from flambeau.scheduling.job import Job, JobState


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """A moment of a queue."""

    depth: int
    depth_bytes: int
    limit_jobs: int
    limit_bytes: int

    @property
    def remaining_capacity(self) -> int:
        return max(0, self.limit_jobs - self.depth)


class JobQueue:
    """Jobs that wait for a worker."""

    def __init__(self, model: str, limit_jobs: int, limit_bytes: int) -> None:
        self._model = model
        self._limit_jobs = limit_jobs
        self._limit_bytes = limit_bytes
        self._waiting: deque[Job] = deque()
        self._retries: deque[Job] = deque()
        self._is_ranked = False
        """Whether a job has come that had a priority."""
        self.depth = 0
        self.size = 0
        """What the jobs count toward the batch size, together."""
        self.depth_bytes = 0
        self.window_end = float("-inf")
        """Until when arrivals are counted in ``window_arrivals``: a batch rule asks how many callers came back soon."""
        self.window_arrivals = 0

    def put_nowait(self, job: Job) -> None:
        """Accept a job.

        Raises:
            QueueFull: there is no room. A job that alone is larger than the byte limit is taken by an empty queue, as
                its size has been checked against the request limit.
        """
        if self.depth >= self._limit_jobs:
            raise QueueFull(self._model, f"{self._limit_jobs} jobs")
        if self.depth_bytes + job.size_bytes > self._limit_bytes and self.depth:
            raise QueueFull(self._model, f"{self._limit_bytes} bytes")
        if job.priority or self._is_ranked:
            self._rank(job)
        else:
            self._waiting.append(job)
        self.depth += 1
        self.size += job.size
        self.depth_bytes += job.size_bytes
        if job.arrived_at <= self.window_end:
            self.window_arrivals += 1

    def _rank(self, job: Job) -> None:
        """Put a job behind the last that has its priority or a greater one."""
        self._is_ranked = True
        waiting = self._waiting
        index = len(waiting)
        while index and waiting[index - 1].priority < job.priority:
            index -= 1
        waiting.insert(index, job)

    def open_window(self, end: float) -> None:
        """Count arrivals anew, until ``end``."""
        self.window_end = end
        self.window_arrivals = 0

    def put_back(self, jobs: Iterable[Job]) -> None:
        """Return jobs of a batch that was not finished to the front, in their order. Limits do not apply: they were in.

        A job that was to run alone will again.
        """
        for job in reversed(list(jobs)):
            if job.state is JobState.CUT:
                self._readmit(job)
                (self._retries if job.attempts else self._waiting).appendleft(job)

    def retry(self, jobs: Iterable[Job], now: float) -> None:
        """Queue jobs whose worker died to be run again, each alone, before all others."""
        for job in jobs:
            if job.state is JobState.CUT:
                self._readmit(job)
                self._retries.append(job)
        for job in self._retries:
            job.cut_at = now  # from here on it waits for the next worker: see expire_retries

    def _readmit(self, job: Job) -> None:
        job.state = JobState.WAITING
        self.depth += 1
        self.size += job.size
        self.depth_bytes += job.size_bytes

    def forget(self, job: Job) -> None:
        """A waiting job's caller has left."""
        self.depth -= 1
        self.size -= job.size
        self.depth_bytes -= job.size_bytes
        job.request.parameters = ()  # its body may be large, and what is not counted must not be held
        held = len(self._waiting) + len(self._retries)
        if held > 2 * self.depth + 64:
            self._waiting = deque(job for job in self._waiting if job.state is JobState.WAITING)
            self._retries = deque(job for job in self._retries if job.state is JobState.WAITING)

    def take(self, batch_size: int, now: float) -> list[Job]:
        """The jobs of the next batch: one that must run alone, or as many of the others as ``batch_size`` has room for,
        of one purpose. One that is larger than a batch has room for is a batch by itself.

        Returns:
            At least one job unless the queue is empty. They are marked as cut at ``now``.
        """
        jobs: list[Job] = []
        if self._retries:
            self._take_from(self._retries, 1, now, jobs)
        if not jobs:
            self._take_from(self._waiting, batch_size, now, jobs)
        return jobs

    def _take_from(self, source: deque[Job], room: int, now: float, jobs: list[Job]) -> None:
        while source and room > 0:
            job = source.popleft()
            if job.state is not JobState.WAITING:
                continue
            purpose = job.request.purpose
            if jobs and (purpose != jobs[0].request.purpose or job.size > room):
                source.appendleft(job)
                return
            room = 0 if purpose == Purpose.DESCRIBE else room - job.size
            job.state = JobState.CUT
            job.cut_at = now
            self.depth -= 1
            self.size -= job.size
            self.depth_bytes -= job.size_bytes
            jobs.append(job)

    def expire(self, arrived_before: float) -> list[Job]:
        """Take out the jobs that arrived before a time; of those that are to be run again, none."""
        return self._expire_from(self._waiting, arrived_before)

    def expire_retries(self, returned_before: float) -> list[Job]:
        """Take out the jobs that are to be run again, if the last worker died before a time."""
        return self._expire_from(self._retries, returned_before)

    def _expire_from(self, source: deque[Job], before: float) -> list[Job]:
        jobs: list[Job] = []
        kept: list[Job] = []
        while source:
            job = source.popleft()
            if job.state is not JobState.WAITING:
                continue
            if (job.cut_at if job.attempts else job.arrived_at) >= before:
                kept.append(job)
                if self._is_ranked:  # older ones may stand behind it
                    continue
                break
            self.depth -= 1
            self.size -= job.size
            self.depth_bytes -= job.size_bytes
            job.state = JobState.CUT
            jobs.append(job)
        source.extendleft(reversed(kept))
        return jobs

    def clear(self) -> list[Job]:
        """Take out all jobs."""
        jobs = [job for job in (*self._retries, *self._waiting) if job.state is JobState.WAITING]
        for job in jobs:
            job.state = JobState.CUT
        self._retries.clear()
        self._waiting.clear()
        self.depth = self.size = self.depth_bytes = 0
        return jobs

    @property
    def has_retries(self) -> bool:
        """Whether a job that must run alone may be next."""
        return bool(self._retries)

    def oldest_arrival(self) -> float | None:
        """When the job that is next came, which is the oldest of its priority; None if none waits."""
        for source in (self._retries, self._waiting):
            while source:
                if source[0].state is JobState.WAITING:
                    return source[0].arrived_at
                source.popleft()
        return None

    def resize(self, limit_jobs: int, limit_bytes: int) -> None:
        """Change the limits; jobs that are in stay in."""
        self._limit_jobs = limit_jobs
        self._limit_bytes = limit_bytes

    def statistics(self) -> QueueStatistics:
        return QueueStatistics(self.depth, self.depth_bytes, self._limit_jobs, self._limit_bytes)
