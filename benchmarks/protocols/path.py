"""What every base is put in front of: the prediction path as the server builds it, metrics and access log included."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.protocols.instant import InstantInference
from flambeau.api import Inference
from flambeau.archive.store import ModelStore
from flambeau.config.server import ServerConfig, StartupModel
from flambeau.frontends.http.predictions import Predictions
from flambeau.frontends.http.request_ids import RequestIds
from flambeau.frontends.http.responder import Responder
from flambeau.logs import AccessLog, LogFiles
from flambeau.metrics.catalog import load_catalog
from flambeau.metrics.recorder import Recorder
from flambeau.observer import ServerObserver
from flambeau.registry.models import Registry

ECHO = "echo"
FLUSH_S = 1.0
STOP_WORKERS_S = 10.0


@dataclass(frozen=True)
class PredictionPath:
    """The parts that bases put together."""

    config: ServerConfig
    inference: Inference
    recorder: Recorder
    access_log: AccessLog
    responder: Responder
    predictions: Predictions
    request_ids: RequestIds


@asynccontextmanager
async def prediction_path(folder: Path, model: Path | None = None) -> AsyncIterator[PredictionPath]:
    """The path for as long as the block lasts.

    Args:
        folder: for logs and temporary files.
        model: an unpacked archive, served by dispatcher and workers; None: the model named ``echo`` answers in process.
    """
    config = ServerConfig(log_dir=folder / "logs", temp_dir=folder)
    logs = LogFiles(config.log_dir)
    recorder = Recorder(
        load_catalog(None),
        mode=config.metrics_mode.value,
        hostname=socket.gethostname(),
        ts_log=logs.ts_metrics.write,
        model_log=logs.model_metrics.write,
    )
    flushing = asyncio.ensure_future(_flush(recorder))
    try:
        async with _serving(config, model, ServerObserver(recorder, logs.worker)) as inference:
            responder = Responder(recorder, logs.access, ())
            predictions = Predictions(inference, responder, recorder, None)
            yield PredictionPath(config, inference, recorder, logs.access, responder, predictions, RequestIds())
    finally:
        flushing.cancel()
        logs.close()


@asynccontextmanager
async def _serving(config: ServerConfig, model: Path | None, observer: ServerObserver) -> AsyncIterator[Inference]:
    if model is None:
        yield InstantInference(ECHO)
        return
    assert config.temp_dir is not None
    registry = Registry(config, ModelStore(None, config.temp_dir, (), False), observer)
    await registry.load_at_startup([StartupModel(url=str(model))], {})
    try:
        yield registry
    finally:
        await registry.stop(STOP_WORKERS_S)


async def _flush(recorder: Recorder) -> None:
    while True:
        await asyncio.sleep(FLUSH_S)
        recorder.flush(time.time())


def end_on_failure(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """For ``set_exception_handler``: figures of a base whose call-backs fail are worth nothing, so end the process."""
    loop.default_exception_handler(context)
    os._exit(1)


def quiet_collector() -> None:
    """Have the garbage collector look as seldom as the server has it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
