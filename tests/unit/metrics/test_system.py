from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import psutil
import pytest

from flambeau.metrics.catalog import load_catalog
from flambeau.metrics.gpus import GpuSample, NvidiaGpus
from flambeau.metrics.system import SystemSampler, resident_bytes

GPU_METRICS = {"GPUMemoryUtilization", "GPUMemoryUsed", "GPUUtilization"}


class NVMLError(Exception):
    pass


class FakeNvml:
    """Two GPUs of 16 GiB, the second of which is lost."""

    NVMLError = NVMLError

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index == 1:
            raise NVMLError("GPU is lost")
        return index

    def nvmlDeviceGetMemoryInfo(self, device: int) -> SimpleNamespace:
        return SimpleNamespace(total=16 * 2**30, used=4 * 2**30, free=12 * 2**30)

    def nvmlDeviceGetUtilizationRates(self, device: int) -> SimpleNamespace:
        return SimpleNamespace(gpu=37, memory=5)


def test_samples_are_those_of_the_catalog_with_its_dimensions():
    dimensions = {spec.name: spec.dimensions for spec in load_catalog().frontend}
    samples = SystemSampler(NvidiaGpus(FakeNvml())).sample()
    assert len(samples) == 10
    for name, labels, value in samples:
        assert len(labels) + 1 == len(dimensions[name])
        assert labels[0] == "Host"
        assert value >= 0


def test_a_host_without_gpus_has_no_gpu_samples():
    names = {name for name, _, _ in SystemSampler(NvidiaGpus()).sample()}
    assert len(names) == 7
    assert not names & GPU_METRICS


def test_values_are_in_the_units_of_the_catalog():
    values = {name: value for name, _, value in SystemSampler(NvidiaGpus()).sample()}
    assert values["MemoryUsed"] + values["MemoryAvailable"] <= psutil.virtual_memory().total / 2**20 * 1.01
    assert values["DiskUsage"] + values["DiskAvailable"] <= psutil.disk_usage("/").total / 2**30 * 1.01
    for name in ("CPUUtilization", "MemoryUtilization", "DiskUtilization"):
        assert 0 <= values[name] <= 100


def test_processor_load_is_measured_from_sample_to_sample_on_whatever_thread(monkeypatch: pytest.MonkeyPatch):
    times = psutil.cpu_times()
    later = times._replace(user=times.user + 3, idle=times.idle + 1)
    readings = iter([times, later, later])
    monkeypatch.setattr(psutil, "cpu_times", lambda: next(readings))
    sampler = SystemSampler(NvidiaGpus())
    loads = []
    for _ in range(2):
        with ThreadPoolExecutor(1) as pool:
            loads.append(pool.submit(sampler.sample).result()[0])
    assert loads == [("CPUUtilization", ("Host",), 75.0), ("CPUUtilization", ("Host",), 0.0)]


def test_a_gpu_that_does_not_answer_is_left_out():
    assert NvidiaGpus(FakeNvml()).sample() == [
        GpuSample(index=0, memory_used_bytes=4 * 2**30, memory_percent=25.0, compute_percent=37.0)
    ]


@pytest.mark.parametrize("driver", ["absent library", "absent driver", "present"])
def test_gpus_are_found_where_library_and_driver_are(driver: str, monkeypatch: pytest.MonkeyPatch):
    def nvml_init() -> None:
        if driver == "absent driver":
            raise NVMLError("driver not loaded")

    nvml = FakeNvml()
    nvml.nvmlInit = nvml_init
    monkeypatch.setitem(sys.modules, "pynvml", None if driver == "absent library" else nvml)
    assert len(NvidiaGpus.of_this_machine().sample()) == (driver == "present")


def test_resident_bytes_of_a_process_that_runs():
    assert resident_bytes(os.getpid()) > 2**20


def test_resident_bytes_of_a_process_that_has_ended_are_none():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert resident_bytes(process.pid) == 0
