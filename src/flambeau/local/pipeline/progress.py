"""How far one row has come on its way through a plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

from flambeau.local.pipeline.graph import SKIPPED, Plan, Step, row_of

Condition = Callable[[Any], Any]
"""Whether a stage runs for a row, from the row that it would be given."""


class StageRefused(Exception):
    """A stage could not be begun: its row could not be made, or its condition raised. ``__cause__`` is why."""

    def __init__(self, step: Step, problem: str) -> None:
        super().__init__(problem)
        self.step = step
        self.problem = problem


class Progress:
    """Which stages are due, and what those before them returned.

    Safe to use from several threads at once: each stage is due exactly once, in one of them.
    """

    def __init__(self, plan: Plan, conditions: Sequence[Condition | None], row: Any) -> None:
        """
        Args:
            conditions: by step of the plan; None: the stage runs always.
        """
        self._plan = plan
        self._conditions = conditions
        self._values = [row, *[None] * len(plan.steps)]
        self._waiting = [len(step.waits_for) for step in plan.steps]
        self._open = len(plan.steps)
        self._lock = Lock()

    def begin(self) -> list[tuple[Step, Any]]:
        """The stages that are due at once, each with its row.

        Raises:
            StageRefused
        """
        return self._due([step for step in self._plan.steps if not step.waits_for])

    def arrive(self, step: Step, value: Any) -> list[tuple[Step, Any]]:
        """A stage has returned. Gives those that are due now, each with its row.

        Raises:
            StageRefused
        """
        return self._due(self._settle(step, value))

    @property
    def is_complete(self) -> bool:
        """Whether every stage has returned or was skipped."""
        return self._open == 0

    def result(self) -> Any:
        """What the pipeline returns for the row, once that is complete."""
        return self._plan.result(self._values)

    def _settle(self, step: Step, value: Any) -> list[Step]:
        """Note a stage's value. Gives the stages that waited for it last."""
        self._values[step.slot] = value
        free = []
        with self._lock:
            self._open -= 1
            for slot in step.followers:
                self._waiting[slot - 1] -= 1
                if not self._waiting[slot - 1]:
                    free.append(self._plan.steps[slot - 1])
        return free

    def _due(self, free: list[Step]) -> list[tuple[Step, Any]]:
        """Of the stages that wait for nothing any more, those that run; skips the others, and goes on behind them."""
        due = []
        while free:
            step = free.pop(0)
            row = self._row(step)
            if row is SKIPPED:
                free.extend(self._settle(step, SKIPPED))
            else:
                due.append((step, row))
        return due

    def _row(self, step: Step) -> Any:
        """The stage's row; ``SKIPPED`` if it is not to run."""
        try:
            row = row_of(step, self._values)
        except LookupError as error:
            raise StageRefused(step, str(error)) from error
        condition = self._conditions[step.slot - 1]
        if row is SKIPPED or condition is None:
            return row
        try:
            return row if condition(row) else SKIPPED
        except Exception as error:  # the user's own function: the row fails, not the pipeline
            raise StageRefused(step, f"its condition raised {type(error).__name__}: {error}") from error
