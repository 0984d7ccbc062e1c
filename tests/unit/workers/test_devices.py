import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.workers.devices import assign_gpus, detect_gpus, thread_environment


def machine_with_gpus(root, count):
    (root / "dev").mkdir()
    for name in ("nvidiactl", "nvidia-uvm", *(f"nvidia{index}" for index in range(count))):
        (root / "dev" / name).touch()
    return root


def put_nvidia_smi(root, script):
    program = root / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"PATH": str(program.parent)}


def test_machine_without_driver_has_no_gpu(tmp_path):
    assert detect_gpus(tmp_path, {"PATH": str(tmp_path)}) == 0
    assert detect_gpus(tmp_path, {"PATH": str(tmp_path), "CUDA_VISIBLE_DEVICES": "0,1"}) == 0


def test_gpus_are_the_numbered_device_nodes(tmp_path):
    assert detect_gpus(machine_with_gpus(tmp_path, 3), {}) == 3


@pytest.mark.parametrize(
    ("visible", "count"),
    [
        ("", 0),
        ("-1", 0),
        ("NoDevFiles", 0),
        ("2", 1),
        ("3, 1", 2),
        ("0,1,9,2", 2),
        ("GPU-8932f937-d72c,MIG-a1b2", 2),
        ("all", 0),
    ],
)
def test_cuda_visible_devices_counts_up_to_its_first_invalid_entry(tmp_path, visible, count):
    assert detect_gpus(machine_with_gpus(tmp_path, 4), {"CUDA_VISIBLE_DEVICES": visible}) == count


def test_nvidia_smi_is_asked_where_there_is_no_device_node(tmp_path):
    environ = put_nvidia_smi(tmp_path, "echo 'GPU 0: H100 (UUID: GPU-1)'; echo 'GPU 1: H100 (UUID: GPU-2)'")
    assert detect_gpus(tmp_path, environ) == 2


def test_nvidia_smi_that_fails_means_no_gpu(tmp_path):
    environ = put_nvidia_smi(tmp_path, "echo 'Failed to initialize NVML'; exit 9")
    assert detect_gpus(tmp_path, environ) == 0


def test_workers_take_gpus_in_turn():
    assert assign_gpus(5, None, gpu_count=2) == [0, 1, 0, 1, 0]


def test_workers_take_the_configured_ids_in_turn():
    assert assign_gpus(3, [3, 1], gpu_count=4) == [3, 1, 3]


@pytest.mark.parametrize("device_ids", [[0, 4], [-1], []])
def test_list_with_an_invalid_id_is_discarded(device_ids):
    assert assign_gpus(3, device_ids, gpu_count=2) == [0, 1, 0]


def test_no_gpu_means_the_processor_whatever_is_configured():
    assert assign_gpus(2, [0], gpu_count=0) == [None, None]


@given(workers=st.integers(0, 50), device_ids=st.none() | st.lists(st.integers(-1, 8)), gpus=st.integers(1, 8))
def test_gpus_are_shared_evenly(workers, device_ids, gpus):
    assigned = assign_gpus(workers, list(dict.fromkeys(device_ids)) if device_ids else None, gpus)
    counts = [assigned.count(gpu) for gpu in set(assigned)]
    assert len(assigned) == workers
    assert all(0 <= gpu < gpus for gpu in assigned)
    assert not counts or max(counts) - min(counts) <= 1


def test_every_numeric_library_gets_the_number_of_threads():
    environment = thread_environment(3)
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    assert {environment[name] for name in names} == {"3"}


def test_openmp_is_told_not_to_bind_threads_even_if_the_server_inherited_a_wish():
    environment = thread_environment(1)
    assert environment["OMP_PROC_BIND"] == "false"
    assert environment["KMP_AFFINITY"] == ""
