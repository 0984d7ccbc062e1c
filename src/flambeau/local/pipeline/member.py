"""A stage of a running pipeline, and what a caller has said of a row."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from flambeau.errors import (
    CallTimedOut,
    ForkedModel,
    ModelClosed,
    QueueFull,
    ReentrantCall,
    ServingError,
    StageFailed,
)
from flambeau.local.calls import LocalCallable
from flambeau.local.pipeline.stage import Stage

ABOUT_THE_CALL = (QueueFull, ModelClosed, ForkedModel, ReentrantCall)
"""What a stage raises that is not the row's fault: it reaches the caller as it is."""

_REMEMBERED_TIMES = 1000
"""Rows whose times are kept: enough for a steady mean, few enough to follow a change of load."""

_HAND_OVER_S = 0.0002
"""What it takes to hand a row to another thread and have the result back: a few wake-ups."""


class Member:
    """A stage and the model that runs it."""

    __slots__ = ("call", "is_own", "model", "stage", "times", "took")

    def __init__(self, stage: Stage, model: LocalCallable | None, is_own: bool) -> None:
        """
        Args:
            model: None for a stage that hands its row on.
            is_own: whether it is closed with the pipeline.
        """
        self.stage = stage
        self.model = model
        self.is_own = is_own
        self.call: Callable[..., Any] = _hand_on
        if model is not None:
            self.run_by(model)
        self.times: deque[float] = deque(maxlen=_REMEMBERED_TIMES)
        """Seconds that the last rows spent here, from being handed in to being handed back."""
        self.took = self.times.append

    def run_by(self, model: LocalCallable) -> None:
        """Have this model run the stage from now on."""
        self.model = model
        self.call = model.__call__

    @property
    def name(self) -> str:
        return self.stage.name

    def is_quick(self) -> bool:
        """Whether it is done before another thread would have begun with it, as far as the last row tells."""
        return self.model is None or (bool(self.times) and self.times[-1] < _HAND_OVER_S)

    def mean_s(self) -> float | None:
        """Mean of the last rows' times; None before the first."""
        times = self.times.copy()  # others go on appending
        return sum(times) / len(times) if times else None


def _hand_on(row: Any, **_: Any) -> Any:
    return row


class Terms:
    """What a caller has said of one row: until when, with which priority, and which row it is."""

    __slots__ = ("deadline", "number", "pipeline", "priority", "timeout_s")

    def __init__(self, pipeline: str, timeout_s: float | None, priority: int, number: int | None) -> None:
        """
        Args:
            pipeline: its name, for messages.
            timeout_s: for the way through all stages, from now.
            number: of the row within its ``map``; None outside of one.
        """
        self.pipeline = pipeline
        self.timeout_s = timeout_s
        self.priority = priority
        self.number = number
        self.deadline = None if timeout_s is None else monotonic() + timeout_s

    def left_s(self) -> float | None:
        """Seconds left for the row; None: as many as it takes.

        Raises:
            CallTimedOut: none.
        """
        if self.deadline is None or self.timeout_s is None:
            return None
        left = self.deadline - monotonic()
        if left <= 0:
            raise CallTimedOut(self.pipeline, self.timeout_s)
        return left

    def left_in_s(self, stage: Stage) -> float | None:
        """Seconds that the row may spend in a stage.

        Raises:
            CallTimedOut: none.
        """
        left = self.left_s()
        if left is None or stage.timeout_s is None:
            return stage.timeout_s if left is None else left
        return min(left, stage.timeout_s)

    def failure(self, stage: Stage, error: BaseException) -> BaseException:
        """What the caller gets when a stage raises.

        Errors about the call itself stay what they are. A time-out says whose time was over, the pipeline's or the
        stage's. All others become a :class:`StageFailed`, of the same kind as the original, which is its cause.
        """
        failed: ServingError
        if isinstance(error, ABOUT_THE_CALL):
            return error
        if isinstance(error, CallTimedOut):
            if self.timeout_s is not None and self.deadline is not None and monotonic() >= self.deadline:
                failed = CallTimedOut(self.pipeline, self.timeout_s)
                failed.__cause__ = error
                return failed
            if stage.timeout_s is not None:
                failed = CallTimedOut(f"stage {stage.name!r}", stage.timeout_s)
                failed.__cause__ = error
                return failed
        reason = str(error) if isinstance(error, ServingError) else f"{type(error).__name__}: {error}"
        failed = StageFailed(stage.name, self.number, reason)
        if isinstance(error, ServingError):
            failed.kind, failed.status, failed.retry_after_s = error.kind, error.status, error.retry_after_s
        failed.__cause__ = error
        return failed
