"""Cores and threads of the process that this runs in."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

logger = logging.getLogger(__name__)

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
"""Read by numeric libraries when they are loaded, and never again."""


def limit_library_threads(threads: int | None) -> None:
    """Have the numeric libraries that are loaded from now on use this many threads. None leaves them."""
    if threads is not None:
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))


def limit_torch_threads(threads: int | None, inter_op_threads: int | None = None) -> None:
    """Have torch use this many threads within an operation, and between operations, if torch is there. None leaves a
    number as it is; the second can be set only before torch has first used such threads.

    For the calling thread: torch's OpenMP keeps the number per thread.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if threads is not None:
        torch.set_num_threads(threads)
    if inter_op_threads is not None and torch.get_num_interop_threads() != inter_op_threads:
        try:
            torch.set_num_interop_threads(inter_op_threads)
        except RuntimeError:
            logger.info("torch keeps its %d inter-op threads", torch.get_num_interop_threads())


def pin_to_cores(cores: Sequence[int]) -> None:
    """Hold every thread of this process to some cores. No cores: leave it. What the system refuses is logged."""
    if not cores or not hasattr(os, "sched_setaffinity"):
        return
    for thread_id in os.listdir("/proc/self/task"):
        try:
            os.sched_setaffinity(int(thread_id), cores)
        except ProcessLookupError:  # the thread has ended since
            continue
        except OSError as error:
            logger.warning("cannot be pinned to cores %s: %s", list(cores), error)
            return
