"""What the host's processors, memory, disk and GPUs are doing."""

from __future__ import annotations

from typing import Any

import psutil

from flambeau.metrics.gpus import NvidiaGpus

Sample = tuple[str, tuple[str, ...], float]
"""Name of a metric, label values without the host's name, value."""

_HOST = ("Host",)
_MIB = 1024**2
_GIB = 1024**3


class SystemSampler:
    """Takes the values of the host's metrics. May be called from any thread, one at a time."""

    def __init__(self, gpus: NvidiaGpus | None = None, disk_path: str = "/") -> None:
        """
        Args:
            gpus: None: those of the machine, where the vendor's library is installed.
            disk_path: any path on the file system to be watched.
        """
        self._gpus = gpus if gpus is not None else NvidiaGpus.of_this_machine()
        self._disk_path = disk_path
        self._cpu_times = psutil.cpu_times()

    def sample(self) -> list[Sample]:
        """All values now. The processors' load is the mean since the last sample, or since the sampler was made."""
        memory = psutil.virtual_memory()
        disk = psutil.disk_usage(self._disk_path)
        samples: list[Sample] = [
            ("CPUUtilization", _HOST, self._cpu_percent()),
            ("MemoryUsed", _HOST, memory.used / _MIB),
            ("MemoryAvailable", _HOST, memory.available / _MIB),
            ("MemoryUtilization", _HOST, memory.percent),
            ("DiskUsage", _HOST, disk.used / _GIB),
            ("DiskUtilization", _HOST, disk.percent),
            ("DiskAvailable", _HOST, disk.free / _GIB),
        ]
        for gpu in self._gpus.sample():
            labels = (*_HOST, str(gpu.index))
            samples.append(("GPUMemoryUtilization", labels, gpu.memory_percent))
            samples.append(("GPUMemoryUsed", labels, gpu.memory_used_bytes / _MIB))
            samples.append(("GPUUtilization", labels, gpu.compute_percent))
        return samples

    def _cpu_percent(self) -> float:
        # psutil.cpu_percent() keeps its last reading for each thread, so a pool of threads would get 0.0 from it.
        earlier, self._cpu_times = self._cpu_times, psutil.cpu_times()
        total = _total_s(self._cpu_times) - _total_s(earlier)
        if total <= 0:
            return 0.0
        busy = total - (_idle_s(self._cpu_times) - _idle_s(earlier))
        return round(min(max(100.0 * busy / total, 0.0), 100.0), 1)


def _idle_s(times: Any) -> float:
    return float(times.idle + getattr(times, "iowait", 0.0))


def _total_s(times: Any) -> float:
    # Linux counts the time of guests in user time as well.
    return float(sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0))


def resident_bytes(pid: int) -> int:
    """Memory that a process occupies; 0 if it has ended or may not be looked at."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
