"""Workers and callers in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from flambeau.errors import ServingError, WorkerDied
from flambeau.request import InferenceReply, InferenceRequest
from flambeau.wire.messages import Batch, BatchReply


class Seats(Protocol):
    """Where workers get their batches: the dispatcher."""

    def attach(self, worker: FakeWorker, /) -> None: ...

    def detach(self, worker_id: int, error: WorkerDied | None, /) -> None: ...

    def batch_finished(self, worker_id: int, reply: BatchReply, /) -> None: ...


class FakeWorker:
    """A ready worker that answers, dies or stops when the test says so."""

    def __init__(self, worker_id: int, seats: Seats) -> None:
        self.id = worker_id
        self.sent: list[Batch] = []
        """All batches that it was given, in order."""
        self.unanswered: deque[Batch] = deque()
        self.kill_reasons: list[str] = []
        self.times_released = 0
        self._seats = seats
        seats.attach(self)

    def send(self, batch: Batch) -> None:
        self.sent.append(batch)
        self.unanswered.append(batch)

    def kill(self, reason: str) -> None:
        self.kill_reasons.append(reason)

    def released(self) -> None:
        self.times_released += 1

    def rows(self) -> list[list[str]]:
        """The request ids of each batch that it was given."""
        return [[row.request_id for row in batch.rows] for batch in self.sent]

    def answer(self, replies: Sequence[InferenceReply] | None = None, seconds: float = 0.01) -> None:
        """Answer the oldest batch: with these replies, else each row with its own request id.

        Args:
            seconds: what the handler says it took.
        """
        batch = self.unanswered.popleft()
        if replies is None:
            replies = [InferenceReply(row.request_id.encode()) for row in batch.rows]
        self._seats.batch_finished(self.id, BatchReply(batch.batch_id, replies, seconds))

    def die(self, reason: str = "Killed by SIGSEGV.") -> None:
        """End by itself, in mid-batch if it has one."""
        self._seats.detach(self.id, WorkerDied(reason))

    def stop(self) -> None:
        """End on purpose."""
        self._seats.detach(self.id, None)


class FakeCaller:
    """A caller that keeps what it was answered."""

    def __init__(self) -> None:
        self.outcomes: list[InferenceReply | ServingError] = []

    def answer(self, outcome: InferenceReply | ServingError) -> None:
        self.outcomes.append(outcome)

    @property
    def outcome(self) -> InferenceReply | ServingError:
        """The one answer.

        Raises:
            LookupError: there was none, or more than one.
        """
        if len(self.outcomes) != 1:
            raise LookupError(f"answered {len(self.outcomes)} times")
        return self.outcomes[0]


def request(request_id: str, size_bytes: int = 1) -> InferenceRequest:
    """A request with one parameter of so many bytes."""
    return InferenceRequest(request_id, [], [("body", "", bytes(size_bytes))])
