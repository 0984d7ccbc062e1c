"""Keeps as many workers of one model version running as are wanted.

Each wanted worker is a slot with a task of its own that starts a process, waits for its end, and starts the next one
after a pause. Scaling adds slots or ends the newest. The supervisor knows nothing of queues: it tells ``Seats`` which
workers are ready.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from flambeau.clock import Clock, SystemClock
from flambeau.errors import ServingError, StartFailed, WorkerDied
from flambeau.request import ModelRef
from flambeau.wire.messages import BatchReply
from flambeau.workers.backoff import RetryWindow
from flambeau.workers.lifecycle import WorkerState, state_change_phrase, transition
from flambeau.workers.process import Launch, WorkerFailed, WorkerHooks, WorkerProcess, start_worker

logger = logging.getLogger(__name__)

_LOAD_FAILED = "its handler does not load"


class Seats(Protocol):
    """Where ready workers get their batches: the dispatcher."""

    def attach(self, worker: WorkerProcess, /) -> None: ...

    def release(self, worker_id: int, /) -> bool: ...

    def detach(self, worker_id: int, error: WorkerDied | None, /) -> None: ...

    def batch_finished(self, worker_id: int, reply: BatchReply, /) -> None: ...


@dataclass(slots=True)
class Slot:
    """A wanted worker, through all its processes."""

    id: int
    window: RetryWindow
    made_at: float = field(default_factory=time.time)
    """Wall clock seconds."""
    started_at: float = field(default_factory=time.time)
    """Wall clock seconds at which the current process was started."""
    state: WorkerState = WorkerState.STARTING
    process: WorkerProcess | None = None
    restarts: int = 0
    failure: str = ""
    """Why the last process ended or did not become ready; empty if none has failed since the last one was ready."""
    failure_in_brief: str = ""
    """The same without what the worker wrote, which may name paths and data."""
    out_of_memory: bool = False
    failed_loads: int = 0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Supervisor:
    """The workers of one model version."""

    def __init__(
        self,
        ref: ModelRef,
        seats: Seats,
        *,
        launch: Callable[[int], Launch],
        new_worker_id: Callable[[], int],
        max_retry_timeout_s: float,
        drain_timeout_s: Callable[[], float],
        on_line: Callable[[int, str, bool], None],
        on_change: Callable[[], None],
        on_loaded: Callable[[int, float], None],
        start_worker: Callable[[Launch, WorkerHooks], Awaitable[WorkerProcess]] = start_worker,
        clock: Clock | None = None,
    ) -> None:
        """
        Args:
            launch: what to start for a worker id, asked anew at each start. A ServingError is a failed load.
            drain_timeout_s: how long a worker that is scaled away may take for what it has.
            on_change: a worker became ready, failed, or was given up.
            on_loaded: worker id, and seconds since its slot was made.
        """
        self._ref = ref
        self._seats = seats
        self._launch = launch
        self._new_worker_id = new_worker_id
        self._max_retry_timeout_s = max_retry_timeout_s
        self._drain_timeout_s = drain_timeout_s
        self._on_change = on_change
        self._on_loaded = on_loaded
        self._start_worker = start_worker
        self._clock: Clock = clock or SystemClock()
        self._hooks = WorkerHooks(seats.batch_finished, self._on_released, self._on_lost, on_line)
        self._changed = asyncio.Event()
        self._is_stopped = False
        self._leaving: set[asyncio.Task[None]] = set()
        self._by_id: dict[int, Slot] = {}
        self.slots: list[Slot] = []
        """The wanted workers, oldest first."""

    def resize(self, count: int) -> None:
        """Want so many workers; returns at once."""
        while len(self.slots) > count:
            slot = self.slots.pop()
            slot.stopping.set()
            if slot.task is None or slot.task.done():
                self._by_id.pop(slot.id, None)
            else:
                self._leaving.add(slot.task)
                slot.task.add_done_callback(self._note_left)
        while len(self.slots) < count:
            slot = Slot(self._new_worker_id(), RetryWindow(self._max_retry_timeout_s))
            self._by_id[slot.id] = slot
            self.slots.append(slot)

    def start(self) -> None:
        """Start the slots that have not been. Separate from :meth:`resize` so that placement can be planned between."""
        for slot in self.slots:
            if slot.task is None:
                slot.task = asyncio.ensure_future(self._keep(slot, slot.window))

    async def wait_ready(self) -> None:
        """Wait until all wanted workers are ready and those that are not wanted any more have ended.

        Raises:
            StartFailed: one of them has failed to load since this was called, or is given up; or all were stopped.
        """
        failed_before = {slot.id: slot.failed_loads for slot in self.slots}
        while True:
            if self._is_stopped:
                raise StartFailed(*self._ref, "It was unregistered.")
            for slot in self.slots:
                if slot.failed_loads > failed_before.get(slot.id, 0) or slot.state is WorkerState.GIVEN_UP:
                    raise StartFailed(*self._ref, slot.failure, out_of_memory=slot.out_of_memory)
            if all(slot.state is WorkerState.READY for slot in self.slots) and not self._leaving:
                return
            await self._changed.wait()

    async def stop(self, timeout_s: float) -> bool:
        """Want none and wait until all have ended.

        Args:
            timeout_s: how long workers may go on with the batches that they have.

        Returns:
            Whether all were done in time; those that were not are ended all the same.
        """
        self._is_stopped = True
        self.resize(0)
        self._wake_waiting()
        leaving = list(self._leaving)
        if not leaving:
            return True
        _, pending = await asyncio.wait(leaving, timeout=timeout_s)
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)
        return not pending

    @property
    def ready_count(self) -> int:
        return sum(slot.state is WorkerState.READY for slot in self.slots)

    @property
    def has_hope(self) -> bool:
        """Whether any worker is ready or may become so."""
        return any(slot.state is not WorkerState.GIVEN_UP for slot in self.slots)

    @property
    def is_failing_to_load(self) -> bool:
        """Whether no worker is ready, and each has failed to load at least once more after its first failure.

        One may yet come, but to wait for it would only cost a caller time.
        """
        return bool(self.slots) and all(
            slot.failure_in_brief == _LOAD_FAILED and slot.window.failures > 1 and slot.state is not WorkerState.READY
            for slot in self.slots
        )

    def healthy_count(self, now: float) -> int:
        """Workers that have not failed, or not for longer than the retry window."""
        return sum(slot.window.is_healthy(now) for slot in self.slots)

    def last_failure(self) -> str:
        """Why there is no worker, in words that are fit for any client; empty if none failed."""
        return next((slot.failure_in_brief for slot in reversed(self.slots) if slot.failure), "")

    # --- inside --------------------------------------------------------------------------------------------------

    def _move(self, slot: Slot, state: WorkerState) -> None:
        if slot.state is not state:
            phrase = state_change_phrase(slot.state, state)
            slot.state = transition(slot.state, state)
            if phrase is not None:
                logger.info("W-%d-%s_%s %s", slot.id, *self._ref, phrase)
        self._wake_waiting()
        self._on_change()

    def _note_left(self, task: asyncio.Task[None]) -> None:
        self._leaving.discard(task)
        self._wake_waiting()

    def _wake_waiting(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _on_lost(self, worker_id: int) -> None:
        """A worker is about to end: nothing more for it, though it takes a moment until it is known how it ended."""
        self._seats.release(worker_id)

    def _on_released(self, worker_id: int) -> None:
        slot = self._by_id.get(worker_id)
        if slot is not None:
            slot.idle.set()

    async def _keep(self, slot: Slot, window: RetryWindow) -> None:
        """The life of a slot: start, serve, pause, until it is stopped or given up."""
        try:
            while not slot.stopping.is_set():
                process = await self._start(slot, window)
                if process is not None:
                    await self._serve(slot, window, process)
                if slot.stopping.is_set():
                    break
                if window.is_given_up(self._clock.monotonic()):
                    logger.error("worker %d of model %s %s is given up: %s", slot.id, *self._ref, slot.failure)
                    self._move(slot, WorkerState.GIVEN_UP)
                    break
                delay_s = window.next_delay_s(self._clock.monotonic())
                logger.warning("Retry worker: %d in %g seconds.", slot.id, round(delay_s, 1))
                self._move(slot, WorkerState.BACKING_OFF)
                await _first(asyncio.ensure_future(asyncio.sleep(delay_s)), slot.stopping)
                slot.restarts += 1
        except Exception:  # the border of one worker: a fault of ours must not leave its callers waiting
            logger.exception("worker %d of model %s %s is given up", slot.id, *self._ref)
            slot.failure = slot.failure_in_brief = "internal error, see the log"
            self._move(slot, WorkerState.GIVEN_UP)
        finally:
            if slot.stopping.is_set():
                self._by_id.pop(slot.id, None)
                self._move(slot, WorkerState.STOPPING)

    async def _start(self, slot: Slot, window: RetryWindow) -> WorkerProcess | None:
        """One attempt. None: it failed, as the slot says, or the slot is to stop."""
        slot.started_at = time.time()
        slot.idle.clear()
        self._move(slot, WorkerState.LOADING)
        try:
            starting = asyncio.ensure_future(self._start_worker(self._launch(slot.id), self._hooks))
            if not await _first(starting, slot.stopping):
                return None
            process = starting.result()
        except WorkerFailed as failure:
            self._note_failed_load(slot, window, failure.reason, failure.out_of_memory)
            return None
        except ServingError as error:
            self._note_failed_load(slot, window, error.message, False)
            return None
        slot.process = process
        slot.failure = ""
        window.succeeded()
        self._seats.attach(process)
        self._move(slot, WorkerState.READY)
        self._on_loaded(slot.id, time.time() - slot.made_at)
        return process

    async def _serve(self, slot: Slot, window: RetryWindow, process: WorkerProcess) -> None:
        """From ready to gone, by itself or because the slot is to stop."""
        try:
            ended = await _first(process.gone, slot.stopping, cancel=False)
            if not ended:
                self._move(slot, WorkerState.STOPPING)
                if not self._seats.release(slot.id):
                    await _first(process.gone, slot.idle, cancel=False, timeout_s=self._drain_timeout_s())
            if process.gone.done():
                end = process.gone.result()
                self._seats.detach(slot.id, WorkerDied(_sentence(end.reason), out_of_memory=end.out_of_memory))
                self._note_failure(slot, window, end.in_full, end.reason, end.out_of_memory)
        finally:
            slot.process = None
            self._seats.detach(slot.id, None)
            await asyncio.shield(process.end())

    def _note_failed_load(self, slot: Slot, window: RetryWindow, reason: str, out_of_memory: bool) -> None:
        slot.failed_loads += 1
        self._note_failure(slot, window, reason, _LOAD_FAILED, out_of_memory)

    def _note_failure(
        self, slot: Slot, window: RetryWindow, reason: str, reason_in_brief: str, out_of_memory: bool
    ) -> None:
        slot.failure, slot.failure_in_brief, slot.out_of_memory = reason, reason_in_brief, out_of_memory
        window.failed(self._clock.monotonic())
        logger.error("Backend worker error: worker %d of model %s %s: %s", slot.id, *self._ref, reason)
        if slot.state is not WorkerState.STOPPING:
            self._move(slot, WorkerState.BACKING_OFF)


async def _first(
    work: asyncio.Future[Any], stop: asyncio.Event, *, cancel: bool = True, timeout_s: float | None = None
) -> bool:
    """Wait for ``work`` or for ``stop``. Returns whether the work is done; if not, it is cancelled and awaited."""
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((work, stopping), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        if cancel and not work.done():
            work.cancel()
            await asyncio.wait((work,))
    return work.done() and not work.cancelled()


def _sentence(reason: str) -> str:
    return reason[:1].upper() + reason[1:] + ("" if reason.endswith(".") else ".")
