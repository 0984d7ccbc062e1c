"""What happens to models and workers, told to metrics, logs and snapshots."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from flambeau.config.server import ServerConfig
from flambeau.metrics.lines import parse_metrics_line
from flambeau.metrics.recorder import Recorder
from flambeau.registry.models import Registry
from flambeau.registry.snapshot import SnapshotKind, write_snapshot
from flambeau.registry.version import ModelVersion
from flambeau.wire.messages import BatchReply

logger = logging.getLogger(__name__)

_METRICS_MARK = "[METRICS]"


class WorkerOutput(Protocol):
    """Where lines that workers print go."""

    def write(self, worker: str, line: str, /, *, is_error: bool) -> None: ...


class ServerObserver:
    """Implements ``registry.models.Observer``."""

    def __init__(self, recorder: Recorder, output: WorkerOutput) -> None:
        self._recorder = recorder
        self._output = output
        self._worker_thread_time = recorder.series("WorkerThreadTime", "Host")
        self.on_models_changed: Callable[[], None] = lambda: None

    def batch_done(self, reply: BatchReply, seconds: float) -> None:
        if reply.metrics:
            self._recorder.record_backend(reply.metrics)
        self._worker_thread_time.record(round((seconds - reply.seconds) * 1e3, 3))

    def node_answered(self, model: str, seconds: float, queued_s: float) -> None:
        """A node of a workflow has answered, so long after it was asked; it spent part of that in the queue."""
        self._recorder.series("ts_inference_latency_microseconds", model, "default").record(seconds * 1e6)
        self._recorder.series("ts_queue_latency_microseconds", model, "default").record(queued_s * 1e6)
        self._recorder.series("QueueTime", "Host").record(int(queued_s * 1e3))

    def worker_line(self, version: ModelVersion, worker_id: int, line: str, is_error: bool) -> None:
        if not is_error and _METRICS_MARK in line:
            update = parse_metrics_line(line)
            if update is not None:
                self._recorder.record_backend([update])
                return
            logger.warning('Failed to parse metrics line: "%s"', line)
        self._output.write(_worker_name(version, worker_id), line, is_error=is_error)

    def worker_loaded(self, version: ModelVersion, worker_id: int, seconds: float) -> None:
        self._recorder.series("WorkerLoadTime", _worker_name(version, worker_id), "Host").record(round(seconds * 1e3))

    def models_changed(self) -> None:
        self.on_models_changed()


def _worker_name(version: ModelVersion, worker_id: int) -> str:
    return f"W-{worker_id}-{version.ref.name}_{version.ref.version}"


class Snapshots:
    """Writes down what is served, off the event loop, one file at a time."""

    def __init__(self, config: ServerConfig, registry: Registry) -> None:
        self._directory = config.log_dir / "config"
        self._properties = config.effective_properties
        self._registry = registry
        self._last_write: asyncio.Future[None] | None = None
        self._is_wanted = False

    def changed(self) -> None:
        """Something is different: write, or write once more if one is being written."""
        if self._last_write is not None and not self._last_write.done():
            self._is_wanted = True
            return
        self._last_write = asyncio.ensure_future(self.write(SnapshotKind.SNAPSHOT))

    async def write(self, kind: SnapshotKind) -> None:
        """Write one now. A disk that does not take it is logged: serving goes on."""
        while True:
            self._is_wanted = False
            models = self._registry.snapshot()
            loop = asyncio.get_running_loop()
            try:
                await loop.run_in_executor(
                    None, write_snapshot, self._directory, kind, self._properties, models, datetime.now()
                )
            except OSError as error:
                logger.error("snapshot not written to %s: %s", self._directory, error)
            if not self._is_wanted:
                return

    async def finish(self) -> None:
        """Wait for a write that is under way."""
        if self._last_write is not None:
            await asyncio.wait((self._last_write,))
