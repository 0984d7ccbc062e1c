"""A local model whose batches are run by worker processes: for handlers that hold the interpreter's lock.

The workers, the wire, the queue and the rules are the server's; only the callers are threads of this process. A caller
encodes its row, puts it into a list and sleeps. The loop's thread is woken once for all that were put there, and wakes
each caller when its answer came, which the caller then decodes. Arrays in it are views of memory that the worker has
written, for as long as they are in use.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec

from flambeau.api import JobQueueStatus
from flambeau.archive.manifest import Manifest
from flambeau.archive.reader import UnpackedModel
from flambeau.config.model import ModelConfig
from flambeau.errors import (
    CallTimedOut,
    ForkedModel,
    ModelClosed,
    NoWorker,
    QueueFull,
    ReentrantCall,
    ServingError,
    ShuttingDown,
    StartFailed,
)
from flambeau.local.background import Background, background
from flambeau.local.intake import Intake
from flambeau.local.payload import Parts, Raised, decode, encode
from flambeau.local.remote import ONLY_VALUE
from flambeau.local.rows import Fields
from flambeau.local.shipping import Shipment, pickle_source, program_state, ship
from flambeau.registry.version import ModelVersion
from flambeau.request import InferenceReply, InferenceRequest, ModelRef
from flambeau.scheduling.job import Job, JobState
from flambeau.workers.process import Launch

_HANDLER = "flambeau.local.remote"

SLOT_BYTES = 64 * 1024 * 1024
"""What a batch's arrays may take, in each direction, before they go through the socket instead of shared memory."""

_MAX_FRAME_BYTES = 1 << 40
"""The workers are our own: this only tells frames from garbage."""

_LONGEST_S = 1e6
"""A longer time-out, such as an infinite one, is none."""

_LAST_LINES = 50
"""Of a worker that does not load: so many are part of the error."""


class ProcessEngine:
    """Worker processes that run one model; see :class:`~flambeau.local.engine.Engine`.

    A row's arrays must not change until it has been answered. The handler sees those that are large where they were
    written, as views that are valid until its batch is answered.
    """

    def __init__(
        self,
        name: str,
        source: Any,
        config: ModelConfig,
        *,
        workers: int,
        model: str | None = None,
        handler: str | None = None,
        device: str | None = None,
        size_of: Callable[[Any], int] | None = None,
        warm_up: Sequence[Any] = (),
    ) -> None:
        """Start the workers and wait until all are ready.

        Args:
            name: for errors, as it is to be read: ``model 'echo'``.
            source: the :class:`Path` of a model folder, which must stay for as long as this is open; or a function,
                class, object or ``nn.Module`` that can be pickled.
            config: at most ``queue_jobs`` calls may wait.
            model: the model's own name, for its handler and the log.
            handler: of a folder; None: its manifest's.
            device: as torch names it; None: the CPU.
            size_of: what a row counts toward ``batch_size``; None: 1.
            warm_up: rows that each worker answers before it counts as ready.

        Raises:
            ConfigError: the source cannot be sent to another process.
            StartFailed: a worker did not become ready: why, and what it wrote last.
            RuntimeError: a worker that imports its source came by here.
        """
        self.name = name
        self._size_of = size_of
        self._queue_limit = config.queue_jobs
        self._refusal: Callable[[str], ServingError] | None = None
        self._closing = threading.Lock()
        self._answered_all = True
        self._background = background()
        ref = ModelRef(model or "model", "local")
        is_folder = isinstance(source, Path)
        pickled = None if is_folder else pickle_source(source)
        shipment = Shipment(
            name=name,
            model=ref.name,
            batch_size=config.batching.batch_size,
            device=device,
            isolate_failures=config.isolate_failures,
            state=program_state(pickled),
            pickled=pickled,
            folder=source.resolve() if is_folder else None,
            handler=handler,
            warm_up=list(warm_up),
        )
        on_gpu = device is not None and device != "cpu"
        self._version = self._background.wait_for(
            _start(self._background, ref, ship(shipment), config, workers, _Output(), on_gpu=on_gpu)
        )
        self._intake = cast(Intake, self._version.dispatcher)
        self._release = weakref.finalize(self, self._background.dismiss_soon, self._version)
        self._release.atexit = False  # the end of the process has a hook of its own
        _engines.add(self)

    # --- calls -------------------------------------------------------------------------------------------------------

    def call(self, row: Any, timeout_s: float | None, priority: int) -> Any:
        if self._background.is_current_thread():
            raise ReentrantCall(self.name)
        call = self._new_call(row, priority)
        call.wake = wake = threading.Lock()
        wake.acquire()
        try:
            self._put(call)
            if not wake.acquire(timeout=-1 if timeout_s is None else min(max(timeout_s, 0.0), threading.TIMEOUT_MAX)):
                raise CallTimedOut(self.name, timeout_s or 0.0)
        except BaseException:
            self.abandon(call)
            raise
        result = call.result()
        if isinstance(result, Raised):
            raise result.error
        return result

    def submit(self, row: Any, timeout_s: float | None, priority: int) -> Future[Any]:
        return self._submit(row, timeout_s, priority)

    def stream(self, row: Any, timeout_s: float | None, priority: int) -> Iterator[Any]:
        """The parts come together, when the worker has all of them."""
        return _parts_of(self._submit(row, timeout_s, priority, in_parts=True))

    def _submit(self, row: Any, timeout_s: float | None, priority: int, *, in_parts: bool = False) -> _RowFuture:
        call = self._new_call(row, priority)
        call.timeout_s = timeout_s
        call.is_urgent = timeout_s is not None
        call.in_parts = in_parts
        call.future = future = _RowFuture(call)
        self._put(call)
        return future

    def _new_call(self, row: Any, priority: int) -> _Call:
        if self._refusal is not None:
            raise self._refusal(self.name)
        if type(row) is Fields and ONLY_VALUE not in row:
            parameters = [(name, "", encode(value)) for name, value in row.items()]
        else:
            parameters = [(ONLY_VALUE, "", encode(row))]
        size = 1 if self._size_of is None else max(1, int(self._size_of(row)))
        return _Call(self, InferenceRequest("", (), parameters), priority, size)

    def _put(self, call: _Call) -> None:
        if self._intake.calls_waiting >= self._queue_limit:
            raise QueueFull(self.name, f"{self._queue_limit} calls")
        try:
            self._intake.put(call)
        except RuntimeError:  # the process is ending
            raise ModelClosed(self.name) from None

    def abandon(self, call: _Call) -> None:
        """From any thread: no answer is wanted any more."""
        try:
            self._background.call_soon(call.abandon)
        except RuntimeError:  # the process is ending
            pass

    # --- views -------------------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        described = self._version.describe()
        waiting = self._intake.calls_waiting
        queue = JobQueueStatus(remaining_capacity=max(0, self._queue_limit - waiting), pending_requests=waiting)
        return {
            "workers": msgspec.to_builtins(described.workers),
            "queue": msgspec.to_builtins(queue),
            "batching": {"policy": described.batch_policy, **described.batching},
        }

    # --- the end -----------------------------------------------------------------------------------------------------

    def close(self, timeout_s: float | None) -> bool:
        if self._refusal is ForkedModel:
            return True
        with self._closing:
            if self._refusal is None:
                self._refusal = ModelClosed
                try:
                    self._answered_all = self._background.wait_for(self._finish(timeout_s))
                except RuntimeError:  # the process is ending, and has answered what was accepted
                    pass
                finally:  # also for a thread that was interrupted while it waited
                    self._release()
        return self._answered_all

    async def _finish(self, timeout_s: float | None) -> bool:
        answered_all = await self._version.drain(timeout_s)
        await self._background.dismiss(self._version)
        return answered_all

    @property
    def is_closed(self) -> bool:
        return self._refusal is not None

    def forked(self) -> None:
        """In the child of a fork: all of this is the parent's."""
        self._refusal = ForkedModel
        self._release.detach()


class _Call:
    """One row on its way, and who waits for its result: a thread (``wake``) or a future. ``api.Caller``."""

    __slots__ = (
        "arrived_at",
        "engine",
        "future",
        "in_parts",
        "is_abandoned",
        "is_urgent",
        "job",
        "outcome",
        "priority",
        "request",
        "size",
        "timeout_s",
        "timer",
        "wake",
    )

    def __init__(self, engine: ProcessEngine, request: InferenceRequest, priority: int, size: int) -> None:
        self.engine = engine
        self.request = request
        self.priority = priority
        self.size = size
        self.arrived_at = 0.0
        self.timeout_s: float | None = None
        self.is_urgent = False
        self.in_parts = False
        self.wake: Any = None
        self.future: Future[Any] | None = None
        self.job: Job | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.outcome: InferenceReply | ServingError | None = None
        self.is_abandoned = False

    # --- on the loop -------------------------------------------------------------------------------------------------

    def accepted(self, job: Job) -> None:
        if self.is_abandoned:
            job.abandon()
            return
        self.job = job
        if self.timeout_s is not None:
            delay_s = self.arrived_at + self.timeout_s - time.monotonic()
            self.timer = asyncio.get_running_loop().call_later(min(max(delay_s, 0.0), _LONGEST_S), self.time_out)

    def answer(self, outcome: InferenceReply | ServingError) -> None:
        self.outcome = outcome
        if self.timer is not None:
            self.timer.cancel()
        if self.wake is not None:
            self.wake.release()
        elif self.future is not None:
            self._settle_future(self.future)

    def _settle_future(self, future: Future[Any]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            result = self.result()
        except Exception as error:  # the border to user code: unpickling, and this error is the answer
            future.set_exception(error)
            return
        if isinstance(result, Raised):
            future.set_exception(result.error)
        else:
            future.set_result(result)

    def abandon(self) -> None:
        self.is_abandoned = True
        if self.timer is not None:
            self.timer.cancel()
        if self.job is not None:
            self.job.abandon()

    def time_out(self) -> None:
        if self.outcome is None:
            self.abandon()
            self.answer(CallTimedOut(self.engine.name, self.timeout_s or 0.0))

    # --- from any thread ---------------------------------------------------------------------------------------------

    def has_begun(self) -> bool:
        """Whether a worker has taken the row."""
        return self.job is not None and self.job.state is not JobState.WAITING

    def result(self) -> Any:
        """What the worker has answered, or :class:`Raised`.

        Raises:
            ServingError: it did not.
        """
        outcome, self.outcome = self.outcome, None
        if isinstance(outcome, InferenceReply):
            result = decode(outcome.body)  # type: ignore[arg-type]
            return result.in_a_list() if type(result) is Parts and not self.in_parts else result
        if isinstance(outcome, ShuttingDown) or (isinstance(outcome, NoWorker) and self.engine.is_closed):
            raise ModelClosed(self.engine.name)
        if outcome is None:
            raise RuntimeError("a result was asked for before it came, or twice; this is a bug")
        raise outcome


class _RowFuture(Future[Any]):
    """A future whose row leaves the queue when it is cancelled; a row that a worker has cannot be."""

    def __init__(self, call: _Call) -> None:
        super().__init__()
        self._call = call

    def cancel(self) -> bool:
        if self._call.has_begun() or not super().cancel():
            return False
        self._call.engine.abandon(self._call)
        return True


def _parts_of(future: _RowFuture) -> Iterator[Any]:
    try:
        result = future.result()
    except BaseException:
        future.cancel()
        raise
    if type(result) is not Parts:
        yield result
        return
    yield from result.values
    if result.error is not None:
        raise result.error


class _Output:
    """What workers write: kept while they load, then passed on to where this program writes."""

    def __init__(self) -> None:
        self._kept: deque[tuple[str, bool]] | None = deque(maxlen=1000)

    def line(self, version: ModelVersion, worker_id: int, line: str, is_error: bool) -> None:
        kept = self._kept
        if kept is not None:
            kept.append((line, is_error))
        else:
            _write(line, is_error)

    def last_lines(self) -> list[str]:
        return [line for line, _ in list(self._kept or ())[-_LAST_LINES:]]

    def pass_on(self) -> None:
        """From now on, and what has been kept."""
        kept, self._kept = self._kept, None
        for line, is_error in kept or ():
            _write(line, is_error)


def _write(line: str, is_error: bool) -> None:
    stream = sys.stderr if is_error else sys.stdout
    try:
        stream.write(f"{line}\n")
    except (OSError, ValueError, AttributeError):  # closed, full, or there is none
        pass


async def _start(
    background: Background,
    ref: ModelRef,
    folder: Path,
    config: ModelConfig,
    workers: int,
    output: _Output,
    *,
    on_gpu: bool,
) -> ModelVersion:
    """Start the workers and wait until they are ready; if they do not become so, nothing of them is left."""
    version = ModelVersion(
        ref,
        "",
        UnpackedModel(manifest=Manifest(model_name=ref.name), directory=folder, source=folder, unpacked_to=None),
        _HANDLER,
        # Callers are counted before, and hold the rows in any case; warm-up rows go with the shipment.
        replace(config, queue_jobs=sys.maxsize, queue_bytes=sys.maxsize, warm_up=()),
        loaded_at_startup=False,
        on_gpu=on_gpu,
        launch=lambda version, worker_id: _as_values(background.host.launch(version, worker_id)),
        max_frame_bytes=lambda _: _MAX_FRAME_BYTES,
        new_worker_id=background.host.new_worker_id,
        on_batch=lambda reply, seconds: None,
        on_line=output.line,
        on_loaded=lambda version, worker_id, seconds: None,
        make_dispatcher=Intake,
    )
    try:
        background.admit(version, workers)
        await version.supervisor.wait_ready()
    except BaseException as error:
        await background.dismiss(version)
        if isinstance(error, StartFailed):
            error.message = "\n".join((error.message, *output.last_lines()))
            error.args = (error.message,)
        raise
    output.pass_on()
    return version


def _as_values(launch: Launch) -> Launch:
    """The same worker, for rows that are Python values."""
    load = msgspec.structs.replace(launch.load, views=True, isolate_failures=False, max_response_bytes=_MAX_FRAME_BYTES)
    return replace(launch, load=load, max_frame_bytes=_MAX_FRAME_BYTES, slot_bytes=SLOT_BYTES)


_engines: weakref.WeakSet[ProcessEngine] = weakref.WeakSet()


def _mark_forked() -> None:
    for engine in list(_engines):
        engine.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_mark_forked)
