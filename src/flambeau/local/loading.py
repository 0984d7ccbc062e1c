"""A model's files or a model that is an object, as a thread-safe function."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flambeau.archive.reader import UnpackedModel, open_archive
from flambeau.config.model import ModelConfig
from flambeau.config.model_sources import model_config
from flambeau.config.server import ServerConfig
from flambeau.errors import InvalidModel
from flambeau.local.combining import CombiningEngine
from flambeau.local.engine import Engine, RunBatch
from flambeau.local.model import LocalModel
from flambeau.local.outcomes import plain_result
from flambeau.local.runners import runner_of, runner_of_folder, source_name
from flambeau.local.settings import LoadSettings
from flambeau.local.sources import find_source
from flambeau.runtime.placement import limit_torch_threads
from flambeau.workers.allocator import keep_freed_memory

logger = logging.getLogger(__name__)

_WINDOW_BATCHES = 2
"""Batches a worker that ``map`` keeps under way: one that runs, one that waits."""


def load_model(source: Any, name: str | None, settings: LoadSettings) -> LocalModel:
    """See :func:`flambeau.load`, for all sources but a pipeline's description and what is loaded already."""
    found = find_source(source)
    if not settings.has_processes:
        keep_freed_memory()  # a batch's tensors would be faulted in anew for each batch
    return (_load_files if isinstance(found, Path) else _load_object)(found, name, settings)


def _load_object(source: Any, name: str | None, settings: LoadSettings) -> LocalModel:
    name = name or source_name(source)
    config = settings.applied_to(ModelConfig())
    engine: Engine
    if settings.has_processes:
        engine = _own_processes(name, source, None, config, settings)
    else:
        _limit_threads(settings.threads)
        batch_size = config.batching.batch_size
        runners = [
            runner_of(source, name=name, batch_size=batch_size, device=settings.device)
            for _ in range(config.min_workers)
        ]
        engine = _combine(name, runners, config, settings)
    return _model(name, source_name(source), engine, config, settings)


def _load_files(path: Path, name: str | None, settings: LoadSettings) -> LocalModel:
    unpacked = open_archive(path, Path(tempfile.gettempdir()) / f"flambeau-local-{os.getpid()}", model_name=name)
    try:
        manifest = unpacked.manifest
        name = manifest.model_name
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
        config = settings.applied_to(own.config)
        own_limit = own.config.queue_jobs if own.origins["jobQueueSize"] == yaml_name else None
        settings = replace(
            settings,
            queue_size=settings.queue_size or own_limit,
            warm_up=[*map(unpacked.read_input, config.warm_up), *settings.warm_up],
        )
        engine: Engine
        if settings.has_processes:
            engine = _own_processes(name, unpacked.directory, manifest.handler, config, settings)
        else:
            runners = [
                runner_of_folder(
                    unpacked.directory,
                    name=name,
                    handler=manifest.handler,
                    batch_size=config.batching.batch_size,
                    device=settings.device,
                    threads=settings.threads,
                )
                for _ in range(config.min_workers)
            ]
            engine = _combine(name, runners, config, settings)
    except BaseException:
        unpacked.remove()
        raise
    return _model(name, str(path), engine, config, settings, unpacked)


def _combine(name: str, runners: Sequence[RunBatch], config: ModelConfig, settings: LoadSettings) -> CombiningEngine:
    for run in runners:
        for row in settings.warm_up:
            plain_result(run([row])[0])
    return CombiningEngine(
        f"model {name!r}",
        runners,
        config.batching,
        queue_size=settings.queue_size,
        size_of=settings.size_of,
        isolate_failures=config.isolate_failures,
    )


def _own_processes(name: str, source: Any, handler: str | None, config: ModelConfig, settings: LoadSettings) -> Engine:
    from flambeau.local.processes import ProcessEngine  # an event loop and a supervisor, which threads do without

    return ProcessEngine(
        f"model {name!r}",
        source,
        replace(config, queue_jobs=settings.queue_size or sys.maxsize),
        workers=config.min_workers,
        model=name,
        handler=handler,
        device=settings.device,
        size_of=settings.size_of,
        warm_up=settings.warm_up,
    )


def _model(
    name: str,
    source: str,
    engine: Engine,
    config: ModelConfig,
    settings: LoadSettings,
    files: UnpackedModel | None = None,
) -> LocalModel:
    description = {
        "source": source,
        "workers": config.min_workers,
        "kind": "process" if settings.has_processes else "thread",
        "batchSize": config.batching.batch_size,
        "maxBatchDelayMs": round(config.batching.max_batch_delay_s * 1e3, 3),
        "batchPolicy": config.batching.policy.value,
        "device": settings.device or "cpu",
    }
    window = _WINDOW_BATCHES * config.min_workers * config.batching.batch_size
    return LocalModel(name, engine, description, window, files)


def _limit_threads(threads: int | None) -> None:
    """Of this process: there is but one number for all models in it."""
    if threads is not None:
        limit_torch_threads(threads)
