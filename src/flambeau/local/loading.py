"""``flambeau.load``: whatever a model is, as a thread-safe function."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from flambeau.archive.described import DESCRIPTION_SUFFIXES
from flambeau.archive.reader import UnpackedModel, open_archive
from flambeau.config.model import BatchingConfig, BatchPolicy, ModelConfig
from flambeau.config.model_sources import model_config
from flambeau.config.server import ServerConfig
from flambeau.errors import ConfigError, InvalidModel
from flambeau.local.calls import LocalCallable
from flambeau.local.combining import CombiningEngine, plain_result
from flambeau.local.engine import Engine, RunBatch
from flambeau.local.model import LocalModel
from flambeau.local.runners import runner_of, runner_of_folder, source_name
from flambeau.local.sources import find_source
from flambeau.runtime.entry_point import describes_pipeline
from flambeau.runtime.placement import limit_torch_threads
from flambeau.workers.cores import available_cores

logger = logging.getLogger(__name__)

_WINDOW_BATCHES = 2
"""Batches a worker that ``map`` keeps under way: one that runs, one that waits."""


def load(
    source: Any,
    *,
    name: str | None = None,
    batch_size: int | None = None,
    max_batch_delay_ms: float | None = None,
    batch_policy: Literal["adaptive", "fixed"] | None = None,
    workers: int | Literal["process"] | None = None,
    processes: int | None = None,
    threads: int | None = None,
    device: str | None = None,
    size_of: Callable[[Any], int] | None = None,
    queue_size: int | None = None,
    response_timeout_s: float | None = None,
    isolate_failures: bool | None = None,
    warm_up: Iterable[Any] = (),
) -> LocalCallable:
    """Load a model as a function of one row that any thread may call; rows that come together are batched.

    Args:
        source: one of

            - a function that takes a list of rows and returns a list with one result a row;
            - an ``nn.Module``, which gets rows stacked; rows are tensors, arrays, numbers, dicts or tuples of them;
            - a handler class, or any class whose instances are such functions; one instance is made for each worker;
            - the path of an archive (``.mar``, ``.tar.gz``) or a model folder;
            - ``"file.py:name"`` or ``"package.module:name"``, for any of these;
            - the path of a pipeline's description (``.yaml``, ``.toml``).
        name: for errors and ``describe``; None: what the source calls itself.
        batch_size: rows that run together, at most. None: the archive's own setting, else 1.
        max_batch_delay_ms: longest time that a free worker waits for a batch to fill. None: the archive's, else 100.
        batch_policy: ``adaptive`` never waits for callers that do not exist; ``fixed`` is TorchServe's. None: the
            archive's, else adaptive.
        workers: handlers in this process, each run by one calling thread at a time; ``"process"``: one worker process
            for each core. None: the archive's ``minWorkers``, else 1.
        processes: worker processes instead of handlers in this process, for those that hold the GIL.
        threads: torch's threads: of this process, or of each worker process. None: left as they are, or cores divided
            by processes.
        device: ``cpu``, ``cuda`` or ``cuda:N``. None: the CPU.
        size_of: what a row counts toward ``batch_size``, instead of 1: tokens, pixels. A row that is larger runs alone.
        queue_size: calls that may wait before ``QueueFull`` is raised. None: the archive's ``jobQueueSize``, else any.
        response_timeout_s: for worker processes: longest time in the queue, and for a batch, after which its worker is
            replaced. None: the archive's, else 120.
        isolate_failures: whether a batch that fails is run again row by row, so that one bad row costs only itself.
            None: the archive's, else True.
        warm_up: rows that every worker answers before this returns, after those that the archive names.

    Raises:
        ConfigError: a setting or the source is none that can be used.
        ModelNotFound: there is nothing at that path, or of that name.
        InvalidModel: the archive cannot be used; says why.
        Exception: whatever the handler raised when it was made, or for a warm-up row.
    """
    found = find_source(source)
    if isinstance(found, LocalCallable):
        return found
    if isinstance(found, Path) and found.suffix in DESCRIPTION_SUFFIXES:
        return _pipeline(found)
    wanted = _Wanted(
        batch_size=batch_size,
        max_batch_delay_ms=max_batch_delay_ms,
        batch_policy=batch_policy,
        workers=workers,
        processes=processes,
        threads=threads,
        device=device,
        queue_size=queue_size,
        response_timeout_s=response_timeout_s,
        isolate_failures=isolate_failures,
    )
    wanted.check()
    if isinstance(found, Path):
        return _load_files(found, name, wanted, size_of, list(warm_up))
    return _load_object(found, name, wanted, size_of, list(warm_up))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The settings that ``load`` was given; None: not given."""

    batch_size: int | None
    max_batch_delay_ms: float | None
    batch_policy: str | None
    workers: int | str | None
    processes: int | None
    threads: int | None
    device: str | None
    queue_size: int | None
    response_timeout_s: float | None
    isolate_failures: bool | None

    def check(self) -> None:
        """
        Raises:
            ConfigError: of what ``ModelConfig`` does not check itself.
        """
        if isinstance(self.workers, str) and self.workers != "process":
            raise ConfigError("workers", self.workers, 'must be a number, or "process"')
        if isinstance(self.workers, int) and self.processes is not None:
            raise ConfigError("processes", self.processes, "workers of this process are wanted too; give one of both")
        for key in ("workers", "processes", "queue_size", "batch_size", "threads"):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, (int, str, type(None))):
                raise ConfigError(key, value, "must be a whole number")
            if isinstance(value, int) and value < 1:
                raise ConfigError(key, value, "must be at least 1")
        if self.batch_policy not in (None, "adaptive", "fixed"):
            raise ConfigError("batch_policy", self.batch_policy, "must be adaptive or fixed")

    @property
    def has_processes(self) -> bool:
        return self.processes is not None or self.workers == "process"

    def applied_to(self, config: ModelConfig) -> ModelConfig:
        """A model's own settings with those given instead of them."""
        batching = BatchingConfig(
            batch_size=config.batching.batch_size if self.batch_size is None else self.batch_size,
            max_batch_delay_s=(
                config.batching.max_batch_delay_s
                if self.max_batch_delay_ms is None
                else _milliseconds(self.max_batch_delay_ms)
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


def _milliseconds(value: Any) -> float:
    """Seconds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError("max_batch_delay_ms", value, "must be a number of milliseconds")
    return value / 1e3


def _load_object(
    source: Any, name: str | None, wanted: _Wanted, size_of: Callable[[Any], int] | None, warm_up: list[Any]
) -> LocalModel:
    name = name or source_name(source)
    config = wanted.applied_to(ModelConfig())
    engine: Engine
    if wanted.has_processes:
        engine = _own_processes(name, source, None, config, wanted, wanted.queue_size, size_of, warm_up)
    else:
        _limit_threads(wanted.threads)
        batch_size = config.batching.batch_size
        runners = [
            runner_of(source, name=name, batch_size=batch_size, device=wanted.device) for _ in range(config.min_workers)
        ]
        engine = _combine(name, runners, config, wanted.queue_size, size_of, warm_up)
    return _model(name, source_name(source), engine, config, wanted)


def _pipeline(path: Path) -> LocalCallable:
    from flambeau.local.pipeline import Pipeline  # whose stages are loaded by this module

    return Pipeline.from_file(path)


def _load_files(
    path: Path, name: str | None, wanted: _Wanted, size_of: Callable[[Any], int] | None, warm_up: list[Any]
) -> LocalCallable:
    unpacked = open_archive(path, Path(tempfile.gettempdir()) / f"flambeau-local-{os.getpid()}", model_name=name)
    try:
        manifest = unpacked.manifest
        name = manifest.model_name
        if manifest.handler and describes_pipeline(manifest.handler):
            pipeline = _pipeline(unpacked.directory / manifest.handler)
            weakref.finalize(pipeline, unpacked.remove)
            return pipeline
        if not manifest.handler:
            raise InvalidModel(f"Model {name} names no handler.")
        yaml_name = manifest.config_file or ""
        own = model_config(
            server=ServerConfig(),
            name=name,
            version=manifest.model_version,
            default_workers=1,
            at_startup=True,
            yaml_text=unpacked.config_text(),
            yaml_name=yaml_name,
        )
        for warning in own.warnings:
            logger.warning("model %s: %s", name, warning)
        config = wanted.applied_to(own.config)
        own_limit = own.config.queue_jobs if own.origins["jobQueueSize"] == yaml_name else None
        queue_size = wanted.queue_size or own_limit
        rows = [_warm_up_row(unpacked.directory, file) for file in config.warm_up] + warm_up
        engine: Engine
        if wanted.has_processes:
            engine = _own_processes(
                name, unpacked.directory, manifest.handler, config, wanted, queue_size, size_of, rows
            )
        else:
            runners = [
                runner_of_folder(
                    unpacked.directory,
                    name=name,
                    handler=manifest.handler,
                    batch_size=config.batching.batch_size,
                    device=wanted.device,
                    threads=wanted.threads,
                )
                for _ in range(config.min_workers)
            ]
            engine = _combine(name, runners, config, queue_size, size_of, rows)
    except BaseException:
        unpacked.remove()
        raise
    return _model(name, str(path), engine, config, wanted, unpacked)


def _combine(
    name: str,
    runners: Sequence[RunBatch],
    config: ModelConfig,
    queue_size: int | None,
    size_of: Callable[[Any], int] | None,
    warm_up: Sequence[Any],
) -> CombiningEngine:
    for run in runners:
        for row in warm_up:
            plain_result(run([row])[0])
    return CombiningEngine(
        f"model {name!r}",
        runners,
        config.batching,
        queue_size=queue_size,
        size_of=size_of,
        isolate_failures=config.isolate_failures,
    )


def _own_processes(
    name: str,
    source: Any,
    handler: str | None,
    config: ModelConfig,
    wanted: _Wanted,
    queue_size: int | None,
    size_of: Callable[[Any], int] | None,
    warm_up: Sequence[Any],
) -> Engine:
    from flambeau.local.processes import ProcessEngine  # an event loop and a supervisor, which threads do without

    return ProcessEngine(
        f"model {name!r}",
        source,
        replace(config, queue_jobs=queue_size or sys.maxsize),
        workers=config.min_workers,
        model=name,
        handler=handler,
        device=wanted.device,
        size_of=size_of,
        warm_up=warm_up,
    )


def _model(
    name: str, source: str, engine: Engine, config: ModelConfig, wanted: _Wanted, files: UnpackedModel | None = None
) -> LocalModel:
    settings = {
        "source": source,
        "workers": config.min_workers,
        "kind": "process" if wanted.has_processes else "thread",
        "batchSize": config.batching.batch_size,
        "maxBatchDelayMs": round(config.batching.max_batch_delay_s * 1e3, 3),
        "batchPolicy": config.batching.policy.value,
        "device": wanted.device or "cpu",
    }
    window = _WINDOW_BATCHES * config.min_workers * config.batching.batch_size
    return LocalModel(name, engine, settings, window, files)


def _warm_up_row(directory: Path, file: str) -> bytes:
    path = (directory / file).resolve()
    if not path.is_relative_to(directory) or not path.is_file():
        raise InvalidModel(f"warmUp names {file}, which is not a file of the archive")
    return path.read_bytes()


def _limit_threads(threads: int | None) -> None:
    """Of this process: there is but one number for all models in it."""
    if threads is not None:
        limit_torch_threads(threads)
