"""When a free worker takes what waits: values and the time in, a decision out.

``fixed`` is TorchServe's rule: a batch is sent when it is full or when its first job has waited ``max_batch_delay``.

``adaptive`` sends what there is at once, except in one case in which that costs throughput. After a batch of k callers
has been answered, those that ask in a loop are all about to ask again. Sent at once, the first one back has the worker
to itself and the others wait for it to finish: from then on the company is split in two, and every round pays the fixed
cost of a batch twice. So when the last idle worker would take a batch that is not full, it waits for the callers that
have just been answered, but

* only while they are in the habit of coming back in time (``_HABIT``), and until the last of them has;
* only for a share of what a batch costs apart from its rows (``_PATIENCE``): that is what their company saves.

Requests that come at their own rate, however high, need no waiting: while a worker is busy they gather, and the faster
they come the larger the batches are. A single caller never waits: when it is back, so is everybody that was answered.
Both are simulated in the tests, over all kinds of loads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from flambeau.config.model import BatchingConfig, BatchPolicy

_MEMORY = 0.1
"""Weight of the newest value in a moving average: some twenty batches back, the past has lost most of its say."""

_PATIENCE = 0.5
"""Share of a batch's fixed cost for which a worker may stay idle."""

_HABIT = 0.7
"""From this share of callers that come back on, callers are taken to come back. Requests that come at their own rate
look like half of the callers coming back at most, as half of a batch time brings half of the next batch."""

_TELLING_VARIANCE = 0.05
"""Of batch sizes, in rows squared. With less, a slope over batch size would be noise divided by nearly nothing."""


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

    def due_at(self, now: float, waiting: int, oldest_at: float, returned: int, idle: int) -> float:
        """When to cut the jobs that wait.

        Args:
            waiting: jobs in the queue, at least 1.
            oldest_at: arrival of the first of them.
            returned: jobs that arrived in the window that ``batch_done`` last opened.
            idle: workers that have nothing to do.

        Returns:
            Monotonic seconds; ``now`` or earlier: at once.
        """
        ...

    def batch_done(self, now: float, rows: int, seconds: float, returned: int) -> float:
        """A batch came back.

        Args:
            rows: how many jobs it had.
            seconds: how long the worker took for it.
            returned: jobs that arrived in the window that the last call opened.

        Returns:
            The end of the next window, in monotonic seconds.
        """
        ...


class FixedRule:
    """TorchServe's: full, or open for the longest delay allowed."""

    def __init__(self, config: BatchingConfig) -> None:
        self._config = config
        self.cost = BatchCost()

    def due_at(self, now: float, waiting: int, oldest_at: float, returned: int, idle: int) -> float:
        if waiting >= self._config.batch_size:
            return now
        return oldest_at + self._config.max_batch_delay_s

    def batch_done(self, now: float, rows: int, seconds: float, returned: int) -> float:
        self.cost.add(rows, seconds)
        return now


class AdaptiveRule:
    """Waits for callers that are about to come back, and for nobody else."""

    def __init__(self, config: BatchingConfig) -> None:
        self._config = config
        self.cost = BatchCost()
        self._returning_share = 1.0
        self._answered = 0
        self._window_end = float("-inf")

    def due_at(self, now: float, waiting: int, oldest_at: float, returned: int, idle: int) -> float:
        if (
            now < self._window_end
            and returned < self._answered
            and waiting < self._config.batch_size
            and idle <= 1
            and self._returning_share >= _HABIT
        ):
            return min(self._window_end, oldest_at + self._config.max_batch_delay_s)
        return now

    def batch_done(self, now: float, rows: int, seconds: float, returned: int) -> float:
        self.cost.add(rows, seconds)
        if self._answered:
            share = min(1.0, returned / self._answered)
            self._returning_share += _MEMORY * (share - self._returning_share)
        self._answered = rows
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
        self._row_s = 0.0

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
        if self._variance >= _TELLING_VARIANCE:
            self._row_s = max(0.0, self._covariance / self._variance)

    def fixed_s(self) -> float:
        """Seconds that a batch costs however few its rows: between 0 and the mean batch time.

        Batches of one size tell nothing of it: what others told before holds, and at first it is taken to be all of
        the cost. If that is wrong, the larger batches that come of waiting tell so; if they do not come, the rule
        stops waiting.
        """
        return max(0.0, self.mean_s - self._row_s * self.mean_rows)

    def statistics(self) -> BatchingStatistics:
        return BatchingStatistics(self.batches, self.rows, self.mean_rows, self.mean_s, self.fixed_s())


def rule_for(config: BatchingConfig) -> AdaptiveRule | FixedRule:
    """The rule of a policy. Batches of one are always full, so there is nothing to adapt."""
    is_adaptive = config.policy is BatchPolicy.ADAPTIVE and config.batch_size > 1
    return AdaptiveRule(config) if is_adaptive else FixedRule(config)
