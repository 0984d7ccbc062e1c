"""The settings that ``load`` takes, beside those that a model brings itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flambeau.config.model import BatchingConfig, BatchPolicy, ModelConfig
from flambeau.errors import ConfigError
from flambeau.local.runners import gpu_id_of
from flambeau.workers.cores import available_cores


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSettings:
    """See :func:`flambeau.load`; None: not given."""

    batch_size: int | None = None
    max_batch_delay_ms: float | None = None
    batch_policy: str | None = None
    workers: int | str | None = None
    processes: int | None = None
    threads: int | None = None
    device: str | None = None
    size_of: Callable[[Any], int] | None = None
    queue_size: int | None = None
    response_timeout_s: float | None = None
    isolate_failures: bool | None = None
    warm_up: Sequence[Any] = ()

    def __post_init__(self) -> None:
        """Check what ``ModelConfig`` does not."""
        if isinstance(self.workers, str) and self.workers != "process":
            raise ConfigError("workers", self.workers, 'must be a number, or "process"')
        if isinstance(self.workers, int) and self.processes is not None:
            raise ConfigError("processes", self.processes, "workers of this process are wanted too; give one of both")
        for key in ("workers", "processes", "queue_size", "batch_size", "threads"):
            value = getattr(self, key)
            if value is None or (key == "workers" and value == "process"):
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise ConfigError(key, value, "must be a whole number")
            if value < 1:
                raise ConfigError(key, value, "must be at least 1")
        delay_ms, timeout_s = self.max_batch_delay_ms, self.response_timeout_s
        if delay_ms is not None and not (_is_number(delay_ms) and delay_ms >= 0):
            raise ConfigError("max_batch_delay_ms", delay_ms, "must be a number of milliseconds, 0 or more")
        if timeout_s is not None and not (_is_number(timeout_s) and timeout_s > 0):
            raise ConfigError("response_timeout_s", timeout_s, "must be a number of seconds, more than 0")
        if self.batch_policy not in (None, "adaptive", "fixed"):
            raise ConfigError("batch_policy", self.batch_policy, "must be adaptive or fixed")
        if not isinstance(self.isolate_failures, (bool, type(None))):
            raise ConfigError("isolate_failures", self.isolate_failures, "must be True or False")
        if self.size_of is not None and not callable(self.size_of):
            raise ConfigError("size_of", self.size_of, "must be a function of a row")
        gpu_id_of(self.device)

    @property
    def has_processes(self) -> bool:
        return self.processes is not None or self.workers == "process"

    def applied_to(self, config: ModelConfig) -> ModelConfig:
        """A model's own settings with those given instead of them."""
        batching = BatchingConfig(
            batch_size=config.batching.batch_size if self.batch_size is None else self.batch_size,
            max_batch_delay_s=(
                config.batching.max_batch_delay_s if self.max_batch_delay_ms is None else self.max_batch_delay_ms / 1e3
            ),
            policy=config.batching.policy if self.batch_policy is None else BatchPolicy(self.batch_policy),
        )
        count = self.processes or self.workers or config.min_workers or 1
        if count == "process":
            count = available_cores().usable
        return replace(
            config,
            batching=batching,
            placement=config.placement if self.threads is None else replace(config.placement, threads=self.threads),
            min_workers=int(count),
            max_workers=int(count),
            queue_jobs=self.queue_size or config.queue_jobs,
            response_timeout_s=self.response_timeout_s or config.response_timeout_s,
            isolate_failures=config.isolate_failures if self.isolate_failures is None else self.isolate_failures,
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
