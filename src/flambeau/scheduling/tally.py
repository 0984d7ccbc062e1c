"""What a model has answered: counts and seconds, kept as cheaply as they can be."""

from __future__ import annotations

import time
from collections.abc import Sequence
from operator import attrgetter

from flambeau.api import Counted, ModelStatistics
from flambeau.scheduling.job import Job

_arrivals = attrgetter("arrived_at")


class Tally:
    """One version's. All times are monotonic seconds."""

    def __init__(self) -> None:
        self._rows = 0
        self._total_s = 0.0
        self._queued_s = 0.0
        self._handled_s = 0.0
        self._failures = 0
        self._failures_s = 0.0
        self._lost = 0
        """Of the failures those that were in no batch which came back."""
        self._batches: dict[int, Counted] = {}
        self._last_at: float | None = None

    def answered(self, jobs: Sequence[Job], now: float, handler_s: float) -> None:
        """A batch has come back: jobs that were cut together, and the seconds that the handler had them."""
        rows = len(jobs)
        arrivals = sum(map(_arrivals, jobs))
        self._rows += rows
        self._total_s += now * rows - arrivals
        self._queued_s += jobs[0].cut_at * rows - arrivals
        self._handled_s += handler_s * rows
        batch = self._batches.get(rows)
        if batch is None:
            batch = self._batches[rows] = Counted()
        batch.count += 1
        batch.seconds += handler_s
        self._last_at = now

    def failed(self, job: Job, now: float) -> None:
        """A job of a batch that comes back has no answer."""
        self._failures += 1
        self._failures_s += now - job.arrived_at

    def lost(self, job: Job, now: float) -> None:
        """A job has failed that was in no batch which came back."""
        self.failed(job, now)
        self._lost += 1
        self._total_s += now - job.arrived_at

    def statistics(self, now: float) -> ModelStatistics:
        """A copy, as of now."""
        return ModelStatistics(
            succeeded=Counted(self._rows + self._lost - self._failures, max(0.0, self._total_s - self._failures_s)),
            failed=Counted(self._failures, self._failures_s),
            queued=Counted(self._rows, self._queued_s),
            handled=Counted(self._rows, self._handled_s),
            batches={rows: Counted(batch.count, batch.seconds) for rows, batch in sorted(self._batches.items())},
            last_answer_at=0.0 if self._last_at is None else time.time() - (now - self._last_at),
        )
