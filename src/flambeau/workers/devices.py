"""Which accelerators there are, who gets which, and the environment that keeps a worker to its threads."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_NVIDIA_SMI_TIMEOUT_S = 10.0
"""nvidia-smi takes seconds on a machine whose driver is not loaded yet; a broken driver must not hold up the start."""

_GPU_NODE = re.compile(r"nvidia\d+")


def detect_gpus(root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> int:
    """Count the NVIDIA GPUs that a worker would see, without loading torch or CUDA.

    Device nodes are counted, because a container shows only those it was given; where there is none, nvidia-smi is
    asked (it creates them, and is what WSL has). ``CUDA_VISIBLE_DEVICES`` is applied as CUDA does.

    Args:
        root: where ``dev`` is.
        environ: for ``CUDA_VISIBLE_DEVICES`` and ``PATH``.
    """
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and not visible.strip():
        return 0
    present = _count_device_nodes(root / "dev") or _count_with_nvidia_smi(environ)
    return present if visible is None else _count_visible(visible, present)


def _count_device_nodes(dev: Path) -> int:
    return sum(1 for node in dev.glob("nvidia*") if _GPU_NODE.fullmatch(node.name))


def _count_with_nvidia_smi(environ: Mapping[str, str]) -> int:
    program = shutil.which("nvidia-smi", path=environ.get("PATH", os.defpath))
    if program is None:
        return 0
    try:
        listing = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=_NVIDIA_SMI_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(1 for line in listing.stdout.splitlines() if line.startswith("GPU "))


def _count_visible(visible: str, present: int) -> int:
    """Entries that CUDA would take: it stops at the first that names no device. A UUID is taken on trust."""
    count = 0
    for entry in visible.split(","):
        name = entry.strip()
        if not (name.startswith(("GPU-", "MIG-")) or (name.isdecimal() and int(name) < present)):
            break
        count += 1
    return count if present else 0


def assign_gpus(n_workers: int, device_ids: Sequence[int] | None, gpu_count: int) -> list[int | None]:
    """Give each worker of a model a GPU, in turn.

    Args:
        device_ids: the GPUs to use (``deviceIds``); None, or a list with an id that does not exist: all of them.
        gpu_count: GPUs that there are.

    Returns:
        One id per worker; None for each where there is no GPU.
    """
    if gpu_count == 0:
        return [None] * n_workers
    are_valid = device_ids and all(0 <= device_id < gpu_count for device_id in device_ids)
    ids = device_ids if device_ids and are_valid else range(gpu_count)
    return [ids[index % len(ids)] for index in range(n_workers)]


def thread_environment(threads: int) -> dict[str, str]:
    """Environment variables that keep a worker's numeric libraries to so many threads each.

    OpenMP must not bind its threads itself: they would not follow when the worker is moved to other cores. Affinity is
    set on the worker's process instead, and its threads inherit it.
    """
    count = str(threads)
    return {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "NUMEXPR_NUM_THREADS": count,
        "OMP_PROC_BIND": "false",
        "KMP_AFFINITY": "",  # one that the server inherited would win over OMP_PROC_BIND, with a warning
        # Milliseconds that an idle thread of Intel's OpenMP spins. Its default, 200, takes a core that others share.
        "KMP_BLOCKTIME": "1",
    }
