"""The processor cores that this process may use: affinity, hyper-threads and the container's quota taken together."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from flambeau.workers.cgroups import cpu_quota


@dataclass(frozen=True, slots=True)
class Core:
    """One physical core."""

    cpus: tuple[int, ...]
    """Its logical processors (hyper-threads) that this process may run on, ascending; at least one."""

    @property
    def number(self) -> int:
        """The logical processor that stands for the core: a worker's thread is held to this one."""
        return self.cpus[0]


@dataclass(frozen=True, slots=True)
class CoreSet:
    """The cores of the machine, as far as this process may use them."""

    cores: tuple[Core, ...]
    """Neighbours in this order share a socket where possible; at least one core."""
    usable: int
    """Cores' worth of time that may be used at once, 1 to ``len(cores)``; fewer than there are under a CPU quota."""


def available_cores(root: Path = Path("/"), affinity: Collection[int] | None = None) -> CoreSet:
    """Find the physical cores that this process may use.

    Args:
        root: where ``proc`` and ``sys`` are.
        affinity: the logical processors allowed; None: those that the kernel allows this process.
    """
    allowed = sorted(os.sched_getaffinity(0) if affinity is None else affinity)
    siblings: dict[tuple[int, ...], list[int]] = {}
    for cpu in allowed:
        siblings.setdefault(_core_key(root, cpu), []).append(cpu)
    cores = tuple(Core(tuple(cpus)) for _, cpus in sorted(siblings.items()))
    quota = cpu_quota(root)
    usable = len(cores) if quota is None else max(1, min(len(cores), int(quota)))
    return CoreSet(cores, usable)


def _core_key(root: Path, cpu: int) -> tuple[int, ...]:
    """What the logical processors of one core have in common: the socket and the first of them."""
    topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
    try:
        first_sibling = min(_parse_cpu_list((topology / "thread_siblings_list").read_text()))
        return int((topology / "physical_package_id").read_text()), first_sibling
    except (OSError, ValueError):  # sandboxes that show no topology: each processor counts as a core
        return 0, cpu


def _parse_cpu_list(text: str) -> list[int]:
    """``0,4-6`` as ``[0, 4, 5, 6]``."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cpus.extend(range(int(first), int(last or first) + 1))
    return cpus
