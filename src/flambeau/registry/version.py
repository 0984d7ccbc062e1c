"""One version of a model while it is served: its files, its settings, its queue and its workers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime

import msgspec

from flambeau.api import JobQueueStatus, ModelDescription, NodeMembership, WorkerDescription
from flambeau.archive.reader import UnpackedModel
from flambeau.config.model import ModelConfig
from flambeau.errors import NoWorker, ServingError
from flambeau.request import ModelRef
from flambeau.scheduling.dispatcher import Dispatcher, statistics_view
from flambeau.wire.messages import BatchReply
from flambeau.workers.lifecycle import describe_status
from flambeau.workers.placement import Assignment, WantedWorker
from flambeau.workers.process import Launch
from flambeau.workers.supervisor import Slot, Supervisor

logger = logging.getLogger(__name__)


class ModelVersion:
    """Joins the dispatcher and the supervisor of one version."""

    def __init__(
        self,
        ref: ModelRef,
        url: str,
        model: UnpackedModel,
        handler: str,
        config: ModelConfig,
        *,
        node_of: NodeMembership | None = None,
        loaded_at_startup: bool,
        on_gpu: bool,
        launch: Callable[[ModelVersion, int], Launch],
        max_frame_bytes: Callable[[ModelConfig], int],
        new_worker_id: Callable[[], int],
        on_batch: Callable[[BatchReply, float], None],
        on_line: Callable[[ModelVersion, int, str, bool], None],
        on_loaded: Callable[[ModelVersion, int, float], None],
        make_dispatcher: type[Dispatcher] = Dispatcher,
    ) -> None:
        self.ref = ref
        self.made_at = time.time()
        """Seconds since the epoch: its files were unpacked by then, and its handler not loaded yet."""
        self.url = url
        self.model = model
        self.handler = handler
        self.config = config
        self.node_of = node_of
        self.loaded_at_startup = loaded_at_startup
        self.on_gpu = on_gpu
        self.min_workers = 0
        self.max_workers = 0
        self._is_stopping = False
        self.assignments: dict[int, Assignment] = {}
        self.memory_bytes: dict[int, int] = {}
        """By process id, as the system sampler last saw it."""
        self._told: dict[int, Assignment] = {}
        """What each worker process was told of its place, by worker id: a new plan may come while it loads."""
        self._launch = launch
        self._max_frame_bytes = max_frame_bytes
        self._on_loaded = on_loaded
        self.dispatcher = make_dispatcher(ref, config, on_batch)
        self.supervisor = Supervisor(
            ref,
            self.dispatcher,
            launch=self._launch_worker,
            new_worker_id=new_worker_id,
            max_retry_timeout_s=config.max_retry_timeout_s,
            drain_timeout_s=lambda: self.config.response_timeout_s,
            on_line=lambda worker_id, line, is_error: on_line(self, worker_id, line, is_error),
            on_change=self._workers_changed,
            on_loaded=self._worker_loaded,
        )
        self._workers_changed()

    # --- workers ---------------------------------------------------------------------------------------------------

    def want(self, min_workers: int, max_workers: int) -> None:
        """Grow to the one or shrink to the other; neither, if the number is between them. Nothing is started yet."""
        self.min_workers, self.max_workers = min_workers, max_workers
        count = len(self.supervisor.slots)
        self.supervisor.resize(min(max(count, min_workers), max_workers))
        self._workers_changed()

    def wanted_workers(self) -> list[WantedWorker]:
        """For the placement of all workers."""
        return [
            WantedWorker(worker_id=slot.id, config=self.config.placement, index=index, on_gpu=self.on_gpu)
            for index, slot in enumerate(self.supervisor.slots)
        ]

    def place(self, assignments: dict[int, Assignment]) -> None:
        """Take on a new plan: workers that run are moved, those to come start where it says."""
        self.assignments = {slot.id: assignments[slot.id] for slot in self.supervisor.slots}
        self._told = {worker_id: told for worker_id, told in self._told.items() if worker_id in self.assignments}
        for slot in self.supervisor.slots:
            self._tell_place(slot)

    def _tell_place(self, slot: Slot) -> None:
        wanted = self.assignments[slot.id]
        if slot.process is not None and self._told.get(slot.id) != wanted:
            self._told[slot.id] = wanted
            slot.process.place(wanted.cores, wanted.threads)

    def _launch_worker(self, worker_id: int) -> Launch:
        self._told[worker_id] = self.assignments[worker_id]
        return self._launch(self, worker_id)

    def _worker_loaded(self, worker_id: int, seconds: float) -> None:
        """A worker is ready: catch up on what has changed while it loaded."""
        for slot in self.supervisor.slots:
            if slot.id == worker_id and slot.process is not None:
                slot.process.allow_frames(self._max_frame_bytes(self.config))
                self._tell_place(slot)
        self._on_loaded(self, worker_id, seconds)

    def reconfigure(self, config: ModelConfig) -> None:
        """Go by other settings from the next batch on."""
        self.config = config
        self.dispatcher.reconfigure(config)
        for slot in self.supervisor.slots:
            if slot.process is not None:
                slot.process.allow_frames(self._max_frame_bytes(config))

    def worker_index(self, worker_id: int) -> int:
        """Place of a worker among those of this version."""
        return next((index for index, slot in enumerate(self.supervisor.slots) if slot.id == worker_id), 0)

    @property
    def is_function(self) -> bool:
        """Whether it is a function of a workflow."""
        return self.node_of is not None and self.node_of.is_function

    def is_healthy(self) -> bool:
        """Whether as many workers as are wanted run, or may still come back."""
        return self.supervisor.healthy_count(time.monotonic()) >= self.min_workers

    def _workers_changed(self) -> None:
        """Refuse requests while no worker will come for them."""
        if not self.supervisor.has_hope:
            self.dispatcher.refuse(self._no_worker)
            self.dispatcher.fail_waiting(self._no_worker())
        elif self.supervisor.is_failing_to_load:
            self.dispatcher.refuse(self._no_worker)  # what waits already goes on waiting, for its response timeout
        elif not self._is_stopping:
            self.dispatcher.refuse(None)

    def _no_worker(self) -> ServingError:
        return NoWorker(self.ref.name, reason=self.supervisor.last_failure())

    # --- the end -----------------------------------------------------------------------------------------------------

    async def drain(self, timeout_s: float | None) -> bool:
        """Accept nothing new; wait for what has been accepted. Returns whether it was all answered, in time."""
        self._is_stopping = True
        return await self.dispatcher.drain(timeout_s)

    async def retire(self, timeout_s: float) -> bool:
        """Drain, as far as there are workers to do it, and stop. Returns whether all was answered in time."""
        deadline = time.monotonic() + timeout_s
        answered = not self.supervisor.ready_count or await self.drain(timeout_s)
        ended = await self.stop(max(0.0, deadline - time.monotonic()))
        return answered and ended

    async def stop(self, timeout_s: float) -> bool:
        """End the workers and answer whatever is left. Returns whether the workers ended in time."""
        self._is_stopping = True
        in_time = await self.supervisor.stop(timeout_s)
        self.dispatcher.close()
        if self.model.is_temporary:
            await asyncio.get_running_loop().run_in_executor(None, self.model.remove)
        return in_time

    # --- describe ----------------------------------------------------------------------------------------------------

    def describe(self) -> ModelDescription:
        """For ``GET /models/{m}``."""
        config = self.config
        queue = self.dispatcher.queue_statistics()
        return ModelDescription(
            model_name=self.ref.name,
            model_version=self.ref.version or "",
            model_url=self.url,
            runtime=self.model.manifest.runtime,
            min_workers=self.min_workers,
            max_workers=self.max_workers,
            batch_size=config.batching.batch_size,
            max_batch_delay=round(config.batching.max_batch_delay_s * 1e3),
            response_timeout=round(config.response_timeout_s),
            startup_timeout=round(config.startup_timeout_s),
            max_retry_timeout_in_sec=round(config.max_retry_timeout_s),
            client_timeout_in_mills=round(config.client_timeout_s * 1e3),
            parallel_type=config.parallel_type,
            parallel_level=config.parallel_level,
            device_type="gpu" if self.on_gpu else "cpu",
            device_ids=list(config.placement.device_ids or ()) or msgspec.UNSET,
            continuous_batching=config.continuous_batching,
            use_job_ticket=config.use_job_ticket,
            use_venv=config.use_venv,
            stateful=config.sequence_batching,
            sequence_max_idle_m_sec=config.sequence_max_idle_ms,
            sequence_timeout_m_sec=config.sequence_timeout_ms,
            max_num_sequence=config.max_num_sequence,
            max_sequence_job_queue_size=config.max_sequence_job_queue_size,
            loaded_at_startup=self.loaded_at_startup,
            workers=[self._describe_worker(slot) for slot in self.supervisor.slots],
            job_queue_status=JobQueueStatus(queue.remaining_capacity, queue.depth),
            batch_policy=config.batching.policy.value,
            batching=statistics_view(self.dispatcher.batching_statistics()),
            signature=config.signature or msgspec.UNSET,
        )

    def _describe_worker(self, slot: Slot) -> WorkerDescription:
        assignment = self.assignments.get(slot.id, Assignment((), 1))
        process = slot.process
        pid = process.pid if process is not None else -1
        started = datetime.fromtimestamp(slot.started_at)
        return WorkerDescription(
            id=str(slot.id),
            start_time=f"{started:%Y-%m-%dT%H:%M:%S}.{started.microsecond // 1000:03d}Z",
            status=describe_status(slot.state),
            memory_usage=self.memory_bytes.get(pid, process.resident_bytes if process is not None else 0),
            pid=pid,
            gpu=self.on_gpu,
            gpu_usage="N/A",
            state=slot.state.value,
            cores=list(assignment.cores),
            threads=assignment.threads,
            restarts=slot.restarts,
            failure=slot.failure or msgspec.UNSET,
        )
