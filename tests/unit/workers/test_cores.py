import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.workers.cores import Core, _parse_cpu_list, available_cores


def machine(root, packages):
    """Show ``packages`` in ``root/sys``: socket number to its cores, each a list of logical processors."""
    for package, cores in packages.items():
        for cpus in cores:
            for cpu in cpus:
                topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
                topology.mkdir(parents=True)
                (topology / "thread_siblings_list").write_text(",".join(map(str, cpus)) + "\n")
                (topology / "physical_package_id").write_text(f"{package}\n")
    return root


def with_quota(root, cpu_max):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("0::/\n")
    (root / "sys/fs/cgroup").mkdir(parents=True)
    (root / "sys/fs/cgroup/cgroup.controllers").write_text("cpu\n")
    (root / "sys/fs/cgroup/cpu.max").write_text(cpu_max)
    return root


def test_hyper_threads_are_grouped_into_physical_cores(tmp_path):
    found = available_cores(machine(tmp_path, {0: [[0, 4], [1, 5], [2, 6], [3, 7]]}), affinity=range(8))
    assert found.cores == (Core((0, 4)), Core((1, 5)), Core((2, 6)), Core((3, 7)))
    assert found.usable == 4


def test_cores_of_one_socket_are_neighbours_however_they_are_numbered(tmp_path):
    found = available_cores(machine(tmp_path, {0: [[0], [2]], 1: [[1], [3]]}), affinity=range(4))
    assert [core.number for core in found.cores] == [0, 2, 1, 3]


def test_affinity_leaves_out_cores_and_hyper_threads(tmp_path):
    found = available_cores(machine(tmp_path, {0: [[0, 4], [1, 5], [2, 6], [3, 7]]}), affinity={5, 2, 6})
    assert found.cores == (Core((5,)), Core((2, 6)))
    assert found.usable == 2


@pytest.mark.parametrize(
    ("cpu_max", "usable"),
    [("150000 100000", 1), ("50000 100000", 1), ("300000 100000", 3), ("1600000 100000", 4), ("max 100000", 4)],
)
def test_quota_is_rounded_down_to_whole_cores_but_one_is_always_usable(tmp_path, cpu_max, usable):
    root = with_quota(machine(tmp_path, {0: [[0, 4], [1, 5], [2, 6], [3, 7]]}), cpu_max)
    found = available_cores(root, affinity=range(8))
    assert (len(found.cores), found.usable) == (4, usable)


def test_each_processor_is_a_core_where_the_topology_is_hidden(tmp_path):
    assert available_cores(tmp_path, affinity={3, 1}).cores == (Core((1,)), Core((3,)))


def test_this_machine_has_a_core():
    found = available_cores()
    assert 1 <= found.usable <= len(found.cores)
    cpus = [cpu for core in found.cores for cpu in core.cpus]
    assert len(cpus) == len(set(cpus))


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 5)), min_size=1))
def test_cpu_lists_are_read_as_the_kernel_writes_them(spans):
    text = ",".join(str(first) if not extra else f"{first}-{first + extra}" for first, extra in spans)
    assert _parse_cpu_list(text + "\n") == [cpu for first, extra in spans for cpu in range(first, first + extra + 1)]
