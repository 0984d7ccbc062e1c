"""How calls of any thread get to the dispatcher, which belongs to the loop's thread alone."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from flambeau.api import Caller
from flambeau.config.model import ModelConfig
from flambeau.errors import ServingError, WorkerDied
from flambeau.request import InferenceRequest, ModelRef
from flambeau.scheduling.dispatcher import Dispatcher, ReadyWorker
from flambeau.scheduling.job import Job
from flambeau.wire.messages import BatchReply


class Incoming(Caller, Protocol):
    """A call, as the intake sees it."""

    request: InferenceRequest
    priority: int
    size: int
    arrived_at: float
    is_urgent: bool
    """Whether the loop must see it soon even if no worker has time for it."""

    def accepted(self, job: Job) -> None:
        """It waits in the queue, as this job."""
        ...


class Intake(Dispatcher):
    """A dispatcher to which any thread may give calls.

    They are put into a list. The loop is woken for it only if a worker has room for a batch: else it looks there anyway
    when the next batch comes back, just before it cuts another. Whoever puts a call asks afterwards whether there is
    room, and whoever makes room looks for calls afterwards: so one of them sees the other.
    """

    quick_batch_s = 0.01
    """More than on the server: a worker that waits for its next batch, while the program's threads want its processor
    to send it, loses more than a caller does that waits behind the wrong one."""

    def __init__(self, ref: ModelRef, config: ModelConfig, on_batch: Callable[[BatchReply, float], None]) -> None:
        self._calls: deque[Incoming] = deque()
        self._is_woken = False
        self._has_room = True
        """Whether a worker may be sent another batch."""
        super().__init__(ref, config, on_batch)

    @property
    def calls_waiting(self) -> int:
        """From any thread: calls that no worker has."""
        return len(self._calls) + self._queue.depth

    def put(self, call: Incoming) -> None:
        """From any thread.

        Raises:
            RuntimeError: the loop has ended.
        """
        call.arrived_at = time.monotonic()
        self._calls.append(call)
        if not self._is_woken and (call.is_urgent or self._has_room):
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._woken)

    def _woken(self) -> None:
        self._is_woken = False  # before it looks: whoever puts a call from here on wakes it again
        self.take_in()

    def take_in(self) -> None:
        """Queue what has been put."""
        calls = self._calls
        while calls:
            call = calls.popleft()
            try:
                job = self.submit(call.request, call, call.arrived_at, call.priority, call.size)
            except ServingError as error:
                call.answer(error)
            else:
                call.accepted(job)

    # --- wherever a worker may become idle, or hope be lost ----------------------------------------------------------

    def _look_for_room(self) -> None:
        depth = self._depth
        self._has_room = bool(self._idle) or any(len(seat.batches) < depth for seat in self._seats.values())
        if self._has_room:
            self.take_in()

    def batch_finished(self, worker_id: int, reply: BatchReply) -> None:
        self.take_in()
        super().batch_finished(worker_id, reply)
        self._look_for_room()

    def attach(self, worker: ReadyWorker) -> None:
        super().attach(worker)
        self._look_for_room()

    def detach(self, worker_id: int, error: WorkerDied | None) -> None:
        super().detach(worker_id, error)
        self._look_for_room()

    def fail_waiting(self, error: ServingError) -> None:
        super().fail_waiting(error)
        self.take_in()

    async def drain(self, timeout_s: float | None) -> bool:
        self.take_in()
        return await super().drain(timeout_s)

    def _tick(self) -> None:
        super()._tick()
        self.take_in()
