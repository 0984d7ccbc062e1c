"""The settings of one model version: frozen, checked, in seconds and bytes.

The words of the YAML file (``batchSize``, ``maxBatchDelay`` in milliseconds) are known to ``config.sources`` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from flambeau.errors import ConfigError
from flambeau.signature import Signature


class BatchPolicy(str, Enum):
    """When a batch that is not full is cut."""

    ADAPTIVE = "adaptive"
    """Never wait for company that cannot come."""
    FIXED = "fixed"
    """TorchServe's rule: wait ``maxBatchDelay`` from the first job on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchingConfig:
    """How jobs are put together."""

    batch_size: int = 1
    max_batch_delay_s: float = 0.1
    """Longest time that a free worker waits for a batch to fill, counted from the arrival of its first job."""
    policy: BatchPolicy = BatchPolicy.ADAPTIVE

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError("batchSize", self.batch_size, "must be at least 1")
        if not self.max_batch_delay_s >= 0:
            raise ConfigError("maxBatchDelay", self.max_batch_delay_s, "must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementConfig:
    """Which processors a model's workers use. Whatever is None is worked out from the machine."""

    threads: int | None = None
    """Intra-op threads of each worker (YAML ``threads``). None: cores divided by workers."""
    inter_op_threads: int = 1
    """YAML ``interOpThreads``."""
    pin_cores: bool = True
    """Whether workers are held to disjoint sets of cores (YAML ``pinCores``)."""
    cores: tuple[tuple[int, ...], ...] | None = None
    """Core sets by worker, in turn (YAML ``cores: [[0, 1], [2, 3]]``). None: chosen."""
    device_type: str | None = None
    """``cpu`` or ``gpu``; None: gpu where there is one."""
    device_ids: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ConfigError("threads", self.threads, "must be at least 1")
        if self.inter_op_threads < 1:
            raise ConfigError("interOpThreads", self.inter_op_threads, "must be at least 1")
        if self.device_type not in (None, "cpu", "gpu"):
            raise ConfigError("deviceType", self.device_type, "must be cpu or gpu")
        if self.cores is not None and not all(self.cores):
            raise ConfigError("cores", self.cores, "must be lists of at least one core number")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Everything that can be set for one version of a model."""

    batching: BatchingConfig = field(default_factory=BatchingConfig)
    placement: PlacementConfig = field(default_factory=PlacementConfig)
    min_workers: int = 1
    max_workers: int = 1
    response_timeout_s: float = 120.0
    """Longest time in the worker, and longest wait in the queue."""
    startup_timeout_s: float = 120.0
    max_retry_timeout_s: float = 300.0
    """For how long workers that fail are started again before the model is given up (``maxRetryTimeoutInSec``)."""
    client_timeout_s: float = 0.0
    """0: off. ``clientTimeoutInMills``."""
    queue_jobs: int = 100
    """``jobQueueSize``."""
    queue_bytes: int = 1 << 30
    """``jobQueueBytes``: bytes of request bodies that may wait."""
    use_job_ticket: bool = False
    """Accept a request only when a worker is idle."""
    retry_on_worker_death: bool = True
    isolate_failures: bool = True
    use_venv: bool = False
    continuous_batching: bool = False
    sequence_batching: bool = False
    sequence_max_idle_ms: int = 0
    sequence_timeout_ms: int = 0
    max_num_sequence: int = 1
    max_sequence_job_queue_size: int = 1
    parallel_type: str = ""
    parallel_level: int = 0
    warm_up: tuple[str, ...] = ()
    """Inputs that each worker answers before it counts as ready: paths in the archive (YAML ``warmUp``)."""
    signature: Signature | None = None
    """The tensors that the handler takes and gives; None: it does not speak of tensors (YAML ``signature``)."""
    handler_settings: Mapping[str, Any] = field(default_factory=dict)
    """The whole YAML file, for the handler's ``context.model_yaml_config``."""

    def __post_init__(self) -> None:
        if self.min_workers < 0:
            raise ConfigError("minWorkers", self.min_workers, "must not be negative")
        if self.max_workers < self.min_workers:
            raise ConfigError("maxWorkers", self.max_workers, "must not be less than minWorkers")
        for key, value in (("responseTimeout", self.response_timeout_s), ("jobQueueSize", self.queue_jobs)):
            if not value > 0:
                raise ConfigError(key, value, "must be greater than 0")
