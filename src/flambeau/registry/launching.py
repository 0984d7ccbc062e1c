"""What it takes to start a worker of a model version: interpreter, environment and the ``Load`` message."""

from __future__ import annotations

import mimetypes
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import flambeau
from flambeau.archive.reader import UnpackedModel
from flambeau.config.model import ModelConfig
from flambeau.config.server import ServerConfig
from flambeau.request import InferenceRequest, ModelRef
from flambeau.wire.messages import Load
from flambeau.workers.allocator import allocator_environment
from flambeau.workers.devices import thread_environment
from flambeau.workers.exits import OomCounter
from flambeau.workers.placement import Assignment
from flambeau.workers.process import Launch

_FRAME_OVERHEAD_BYTES = 1 << 20
"""For names, headers and metrics beside the bodies of a frame."""


def launch_for(
    worker_id: int,
    ref: ModelRef,
    model: UnpackedModel,
    handler: str,
    config: ModelConfig,
    server: ServerConfig,
    assignment: Assignment,
    gpu_id: int | None,
    oom_counter: OomCounter,
) -> Launch:
    """How to start one worker.

    Raises:
        InvalidModel: a warm-up input is not in the archive.
    """
    load = Load(
        model_name=ref.name,
        model_version=ref.version or "",
        model_dir=str(model.directory),
        handler=handler,
        batch_size=config.batching.batch_size,
        gpu_id=gpu_id,
        envelope=server.service_envelope,
        limit_max_image_pixels=server.limit_max_image_pixels,
        decode_input_request=server.decode_input_request,
        isolate_failures=config.isolate_failures,
        max_response_bytes=server.limits.max_response_bytes,
        metrics_config=str(server.metrics_config) if server.metrics_config else None,
        threads=assignment.threads,
        inter_op_threads=config.placement.inter_op_threads,
        cores=assignment.cores,
        warm_up=[_warm_up_row(name, model.read_input(name)) for name in config.warm_up],
    )
    return Launch(
        worker_id=worker_id,
        python=sys.executable,
        environment=_environment(os.environ, server, assignment),
        load=load,
        startup_timeout_s=config.startup_timeout_s,
        max_frame_bytes=max_frame_bytes(config, server),
        oom_counter=oom_counter,
    )


def max_frame_bytes(config: ModelConfig, server: ServerConfig) -> int:
    """The largest frame that a worker of this model has reason to send: a whole batch of the largest answers."""
    return server.limits.max_response_bytes * config.batching.batch_size + _FRAME_OVERHEAD_BYTES


def _environment(inherited: Mapping[str, str], server: ServerConfig, assignment: Assignment) -> dict[str, str]:
    hidden = re.compile(server.blacklist_env_vars) if server.blacklist_env_vars else None
    environment = {name: value for name, value in inherited.items() if hidden is None or not hidden.fullmatch(name)}
    environment.update(thread_environment(assignment.threads))
    environment.update(allocator_environment(environment))
    environment["TS_DECODE_INPUT_REQUEST"] = str(server.decode_input_request).lower()
    environment["TS_IPEX_ENABLE"] = str(server.ipex_enable).lower()
    environment["TS_IPEX_GPU_ENABLE"] = str(server.ipex_gpu_enable).lower()
    environment["TS_REQUEST_SEQUENCE_ID"] = server.header_key_sequence_id
    environment["TS_REQUEST_SEQUENCE_START"] = server.header_key_sequence_start
    environment["TS_REQUEST_SEQUENCE_END"] = server.header_key_sequence_end
    package_parent = str(Path(flambeau.__file__).resolve().parent.parent)
    if Path(package_parent).name not in ("site-packages", "dist-packages"):
        paths = [package_parent, *filter(None, [environment.get("PYTHONPATH", "")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    return environment


def _warm_up_row(name: str, body: bytes) -> InferenceRequest:
    return InferenceRequest(f"warm-up-{name}", [], [("body", mimetypes.guess_type(name)[0] or "", body)])
