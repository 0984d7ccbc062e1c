"""A request that a queue has accepted, and the one way in which it is answered."""

from __future__ import annotations

import logging
from enum import IntEnum
from typing import Protocol

from flambeau.api import Caller
from flambeau.errors import ServingError
from flambeau.request import InferenceReply, InferenceRequest

logger = logging.getLogger(__name__)


class JobState(IntEnum):
    WAITING = 0
    """In the queue."""
    CUT = 1
    """In a batch that a worker has."""
    SETTLED = 2
    """Answered."""
    ABANDONED = 3
    """Its caller has left."""


class Holder(Protocol):
    """Whoever counts waiting jobs."""

    def forget(self, job: Job) -> None:
        """A job that waits is no longer wanted."""
        ...


class Job:
    """One request on its way through a queue. ``api.Ticket`` is what frontends see of it."""

    __slots__ = (
        "arrived_at",
        "attempts",
        "caller",
        "cut_at",
        "holder",
        "priority",
        "request",
        "size",
        "size_bytes",
        "state",
    )

    def __init__(
        self,
        request: InferenceRequest,
        caller: Caller,
        arrived_at: float,
        holder: Holder,
        priority: int = 0,
        size: int = 1,
    ) -> None:
        """
        Args:
            priority: jobs with a greater one are taken first.
            size: what it counts toward the batch size, at least 1.
        """
        self.request = request
        self.caller: Caller | None = caller
        """Let go when it is answered or leaves: callers know their jobs, and what forms no cycle is freed at once."""
        self.arrived_at = arrived_at
        self.cut_at = arrived_at
        self.holder = holder
        self.priority = priority
        self.size = size
        self.size_bytes = request.size_bytes()
        self.state = JobState.WAITING
        self.attempts = 0
        """Workers that died with it."""

    def abandon(self) -> None:
        """The caller has left. A job that is in a batch already goes on; its answer is dropped."""
        self.caller = None
        if self.state is JobState.WAITING:
            self.state = JobState.ABANDONED
            self.holder.forget(self)
        elif self.state is JobState.CUT:
            self.state = JobState.ABANDONED


def settle(job: Job, outcome: InferenceReply | ServingError) -> bool:
    """Answer a job's caller. Returns whether anyone was still waiting; a caller that left is not an error."""
    caller = job.caller
    if caller is None:
        return False
    job.caller = None
    job.state = JobState.SETTLED
    try:
        caller.answer(outcome)
    except Exception:  # the border of one request: a fault in answering it must not cost those of its batch theirs
        logger.exception("request %s could not be answered", job.request.request_id)
    return True
