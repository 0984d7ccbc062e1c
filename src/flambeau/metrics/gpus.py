"""NVIDIA GPUs as their management library (NVML) sees them, where its Python binding ``pynvml`` is installed."""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass
from typing import Any

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GpuSample:
    index: int
    memory_used_bytes: int
    memory_percent: float
    compute_percent: float


class NvidiaGpus:
    """The GPUs of a machine; none of them, where there is no library to ask."""

    def __init__(self, nvml: Any = None) -> None:
        """``nvml`` is the module ``pynvml`` after ``nvmlInit``, or None."""
        self._nvml = nvml
        self._count: int = nvml.nvmlDeviceGetCount() if nvml is not None else 0

    @classmethod
    def of_this_machine(cls) -> NvidiaGpus:
        """Those that the machine has. Without ``pynvml`` or a driver: none."""
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            return cls()
        try:
            nvml.nvmlInit()
            return cls(nvml)
        except nvml.NVMLError as error:
            _logger.info("GPU metrics are off: %s", error)
            return cls()

    def sample(self) -> list[GpuSample]:
        """One sample for each GPU that answers, in the library's order."""
        samples = []
        for index in range(self._count):
            try:
                samples.append(self._sample(index))
            except self._nvml.NVMLError as error:  # a GPU that was lost, or a partition that reports no load
                _logger.debug("GPU %d gives no metrics: %s", index, error)
        return samples

    def _sample(self, index: int) -> GpuSample:
        device = self._nvml.nvmlDeviceGetHandleByIndex(index)
        memory = self._nvml.nvmlDeviceGetMemoryInfo(device)
        return GpuSample(
            index=index,
            memory_used_bytes=memory.used,
            memory_percent=100.0 * memory.used / memory.total,
            compute_percent=float(self._nvml.nvmlDeviceGetUtilizationRates(device).gpu),
        )
