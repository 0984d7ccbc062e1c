"""When a free worker takes what waits: values and the time in, a decision out.

``fixed`` is TorchServe's rule: a batch is sent when it is full or when its first job has waited ``max_batch_delay``.

``adaptive`` waits only for company that is on its way, and only while that pays. What it knows:

* who may come back. After a batch of k callers has been answered, up to k of them will ask again soon, if they are in
  the habit of it: ``_returning_share`` is the share of them that did so within the patience, of late.
* how often requests come, whoever sends them (``_interarrival_s``).
* what a batch costs apart from its rows (``fixed_cost_s``: the intercept of batch time over batch size). A row that
  joins a batch saves one such cost; an idle worker pays by the second. So a worker may stay idle for half of that
  cost and no longer.

A single caller that asks again when it is answered never waits: its requests are further apart than the whole batch
time, which is more than the patience, and all the company it left behind (one) is back when it is back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from flambeau.config.model import BatchingConfig, BatchPolicy

_MEMORY = 0.1
"""Weight of the newest value in a moving average: some twenty batches back, the past has lost most of its say."""

_PATIENCE = 0.5
"""Share of a batch's fixed cost for which a worker may stay idle."""

_HABIT = 0.5
"""From this share of callers that come back on, callers are taken to come back."""


@dataclass(frozen=True, slots=True)
class BatchingStatistics:
    """What a batcher has seen."""

    batches: int
    rows: int
    mean_batch_size: float
    mean_batch_s: float
    fixed_cost_s: float


class BatchRule(Protocol):
    """Decides when a batch that is not full is cut."""

    def due_at(self, now: float, waiting: int, oldest_at: float, returned: int) -> float:
        """When to cut the jobs that wait.

        Args:
            waiting: jobs in the queue, at least 1.
            oldest_at: arrival of the first of them.
            returned: jobs that arrived in the window that ``batch_done`` last opened.

        Returns:
            Monotonic seconds; ``now`` or earlier: at once.
        """
        ...

    def batch_done(self, now: float, rows: int, seconds: float, arrived: int, returned: int) -> float:
        """A batch came back.

        Args:
            rows: how many jobs it had.
            seconds: how long the worker took for it.
            arrived: jobs that arrived since the last call.
            returned: those of them that arrived in the window that the last call opened.

        Returns:
            The end of the next window, in monotonic seconds.
        """
        ...


class FixedRule:
    """TorchServe's: full, or open for the longest delay allowed."""

    def __init__(self, config: BatchingConfig) -> None:
        self._config = config
        self.cost = BatchCost()

    def due_at(self, now: float, waiting: int, oldest_at: float, returned: int) -> float:
        if waiting >= self._config.batch_size:
            return now
        return oldest_at + self._config.max_batch_delay_s

    def batch_done(self, now: float, rows: int, seconds: float, arrived: int, returned: int) -> float:
        self.cost.add(rows, seconds)
        return now


class AdaptiveRule:
    """Never waits for company that cannot come."""

    def __init__(self, config: BatchingConfig) -> None:
        self._config = config
        self.cost = BatchCost()
        self._returning_share = 1.0
        self._interarrival_s = float("inf")
        self._answered = 0
        self._answered_at = float("-inf")
        self._window_end = float("-inf")

    def due_at(self, now: float, waiting: int, oldest_at: float, returned: int) -> float:
        missing = self._config.batch_size - waiting
        if missing <= 0:
            return now
        latest = oldest_at + self._config.max_batch_delay_s
        if now < self._window_end and returned < self._answered and self._returning_share >= _HABIT:
            return min(latest, self._window_end)
        patience_s = _PATIENCE * self.cost.fixed_s()
        if missing * self._interarrival_s <= patience_s:
            return min(latest, oldest_at + patience_s)
        return now

    def batch_done(self, now: float, rows: int, seconds: float, arrived: int, returned: int) -> float:
        self.cost.add(rows, seconds)
        if self._answered:
            share = min(1.0, returned / self._answered)
            self._returning_share += _MEMORY * (share - self._returning_share)
            interarrival_s = (now - self._answered_at) / max(1, arrived)
            if self._interarrival_s == float("inf"):
                self._interarrival_s = interarrival_s
            self._interarrival_s += _MEMORY * (interarrival_s - self._interarrival_s)
        self._answered = rows
        self._answered_at = now
        self._window_end = now + min(_PATIENCE * self.cost.fixed_s(), self._config.max_batch_delay_s)
        return self._window_end


class BatchCost:
    """Batch time as a straight line over batch size, from moving averages."""

    def __init__(self) -> None:
        self.batches = 0
        self.rows = 0
        self.mean_rows = 0.0
        self.mean_s = 0.0
        self._variance = 0.0
        self._covariance = 0.0

    def add(self, rows: int, seconds: float) -> None:
        """Take in one batch."""
        self.batches += 1
        self.rows += rows
        weight = max(_MEMORY, 1 / self.batches)
        more_rows = rows - self.mean_rows
        more_s = seconds - self.mean_s
        self.mean_rows += weight * more_rows
        self.mean_s += weight * more_s
        keep = 1 - weight
        self._variance = keep * (self._variance + weight * more_rows * more_rows)
        self._covariance = keep * (self._covariance + weight * more_rows * more_s)

    def fixed_s(self) -> float:
        """Seconds that a batch costs however few its rows: between 0 and the mean batch time.

        Batches that were all of nearly one size tell nothing of it; a tenth of the batch time is assumed then.
        """
        if self._variance < 0.05:
            return 0.1 * self.mean_s
        slope = max(0.0, self._covariance / self._variance)
        return min(self.mean_s, max(0.0, self.mean_s - slope * self.mean_rows))

    def statistics(self) -> BatchingStatistics:
        return BatchingStatistics(self.batches, self.rows, self.mean_rows, self.mean_s, self.fixed_s())


def rule_for(config: BatchingConfig) -> AdaptiveRule | FixedRule:
    """The rule of a policy. Batches of one are always full, so there is nothing to adapt."""
    is_adaptive = config.policy is BatchPolicy.ADAPTIVE and config.batch_size > 1
    return AdaptiveRule(config) if is_adaptive else FixedRule(config)
