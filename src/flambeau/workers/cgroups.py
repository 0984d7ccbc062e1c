"""What the kernel's control groups say of this process: its CPU quota and its out-of-memory kills.

Both versions are read. In a container the path that ``/proc/self/cgroup`` names is often the host's and not visible;
then the mount point itself is the group.
"""

from __future__ import annotations

from pathlib import Path


def cpu_quota(root: Path = Path("/")) -> float | None:
    """CPUs' worth of time that this process may use, by the strictest of the groups it is in.

    Args:
        root: where ``proc`` and ``sys`` are.

    Returns:
        For example 1.5; None where there is no limit.
    """
    quotas = [quota for group in _groups(root, "cpu") if (quota := _quota_of(group)) is not None]
    return min(quotas, default=None)


def oom_kills(root: Path = Path("/")) -> int | None:
    """How many processes of this process's group the kernel has killed for want of memory; None if it does not tell."""
    for group in _groups(root, "memory"):
        for name in ("memory.events", "memory.oom_control"):  # version 2, version 1
            for line in _read(group / name).splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    return None


def _groups(root: Path, controller: str) -> list[Path]:
    """The directories of the groups that this process is in, from its own to the outermost."""
    mounts = root / "sys/fs/cgroup"
    unified = mounts if (mounts / "cgroup.controllers").exists() else mounts / "unified"
    mount, path = unified, "/"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, line_path = line.split(":", 2)
        if controller in controllers.split(","):
            mount, path = mounts / controller, line_path
            break  # version 1 has this controller, so version 2 has not
        if not controllers:
            path = line_path
    own = mount / path.lstrip("/")
    return [own, *(parent for parent in own.parents if parent.is_relative_to(mount))]


def _quota_of(group: Path) -> float | None:
    limit, _, period = _read(group / "cpu.max").strip().partition(" ")
    if not limit:
        limit = _read(group / "cpu.cfs_quota_us").strip()
        period = _read(group / "cpu.cfs_period_us").strip()
    if limit in ("", "max", "-1"):
        return None
    return int(limit) / int(period)


def _read(path: Path) -> str:
    """The file's text; empty where this kernel, or this container, does not show it."""
    try:
        return path.read_text()
    except OSError:
        return ""
