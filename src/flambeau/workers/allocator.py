"""glibc's allocator, told that what is freed will be wanted again.

By default it gives the top of its heap back to the kernel as soon as 128 kB of it are free, and takes what is larger
from the kernel each time. Under load with bodies of 100 kB that is a system call and some twenty-five page faults for
each buffer of each request.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""glibc's ``malloc.h``."""

_TRIM_VARIABLE, _MMAP_VARIABLE = "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"

TRIM_THRESHOLD_BYTES = 64 * 1024 * 1024
"""What a process may keep free at the top of its heap."""
MMAP_THRESHOLD_BYTES = 32 * 1024 * 1024
"""From here a block is the kernel's again: the largest threshold that glibc takes on 64-bit machines."""


def keep_freed_memory() -> None:
    """Set the thresholds for this process, except what its environment says. Does nothing under another C library."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    if _TRIM_VARIABLE not in os.environ:
        mallopt(_M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES)
    if _MMAP_VARIABLE not in os.environ:
        mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)


def allocator_environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The same for a process that is to be started, except what its environment says already."""
    wanted = {
        _TRIM_VARIABLE: str(TRIM_THRESHOLD_BYTES),
        _MMAP_VARIABLE: str(MMAP_THRESHOLD_BYTES),
    }
    return {name: value for name, value in wanted.items() if name not in inherited}
