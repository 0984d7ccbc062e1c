"""A handler's stages under torch's profiler: ``ENABLE_TORCH_PROFILER``."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


def is_enabled() -> bool:
    return bool(os.environ.get("ENABLE_TORCH_PROFILER"))


def run_profiled(stages: Callable[[], Result], model_name: str, arguments: Mapping[str, Any]) -> Result:
    """Run under the profiler and log the ten operations that took the most CPU time.

    Args:
        arguments: for ``torch.profiler.profile``. Missing ones: CPU activities, CUDA's too where there is CUDA, shapes,
            and a TensorBoard trace in ``pytorch_profiler/<model name>`` of the temporary folder.
    """
    cuda = [torch.profiler.ProfilerActivity.CUDA] if torch.cuda.is_available() else []
    complete = {
        "activities": [torch.profiler.ProfilerActivity.CPU, *cuda],
        "record_shapes": True,
        **arguments,
    }
    if "on_trace_ready" not in complete:
        folder = Path(tempfile.gettempdir()) / "pytorch_profiler" / model_name
        logger.info("profiler traces go to %s", folder)
        complete["on_trace_ready"] = torch.profiler.tensorboard_trace_handler(str(folder))
    with torch.profiler.profile(**complete) as profile:
        result = stages()
    logger.info("%s", profile.key_averages().table(sort_by="cpu_time_total", row_limit=10))
    return result
