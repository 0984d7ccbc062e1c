import pytest

from flambeau.workers.cgroups import cpu_quota, oom_kills


@pytest.fixture
def root(tmp_path):
    """A machine without control groups; :func:`put` adds files to it."""
    return tmp_path


def put(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def put_version_2(root, group="/"):
    put(root, "proc/self/cgroup", f"0::{group}\n")
    put(root, "sys/fs/cgroup/cgroup.controllers", "cpu memory\n")


def put_version_1(root, group="/"):
    put(root, "proc/self/cgroup", f"4:memory:{group}\n3:cpu,cpuacct:{group}\n0::/\n")


def test_machine_without_control_groups_has_no_quota_and_tells_no_kills(root):
    assert cpu_quota(root) is None
    assert oom_kills(root) is None


def test_version_2_quota_is_time_by_period(root):
    put_version_2(root)
    put(root, "sys/fs/cgroup/cpu.max", "150000 100000\n")
    assert cpu_quota(root) == 1.5


def test_version_2_without_limit(root):
    put_version_2(root)
    put(root, "sys/fs/cgroup/cpu.max", "max 100000\n")
    assert cpu_quota(root) is None


def test_strictest_quota_on_the_way_up_counts(root):
    put_version_2(root, "/pod/container")
    put(root, "sys/fs/cgroup/pod/container/cpu.max", "400000 100000\n")
    put(root, "sys/fs/cgroup/pod/cpu.max", "200000 100000\n")
    assert cpu_quota(root) == 2


def test_version_1_quota(root):
    put_version_1(root, "/job")
    put(root, "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "300000\n")
    put(root, "sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n")
    put(root, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    assert cpu_quota(root) == 3


def test_group_of_the_host_that_is_not_visible_falls_back_to_the_mount_point(root):
    put_version_1(root, "/docker/0123abcd")
    put(root, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n")
    put(root, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert cpu_quota(root) == 2


def test_version_2_counts_the_kills_of_its_own_group(root):
    put_version_2(root, "/pod")
    put(root, "sys/fs/cgroup/pod/memory.events", "low 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 9\n")
    put(root, "sys/fs/cgroup/memory.events", "oom_kill 7\n")
    assert oom_kills(root) == 2


def test_version_1_counts_kills(root):
    put_version_1(root)
    put(root, "sys/fs/cgroup/memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n")
    assert oom_kills(root) == 4


def test_hybrid_machine_is_read_where_the_controller_is(root):
    put(root, "proc/self/cgroup", "3:cpu:/job\n0::/job\n")
    put(root, "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "100000\n")
    put(root, "sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n")
    put(root, "sys/fs/cgroup/unified/job/memory.events", "oom_kill 1\n")
    assert cpu_quota(root) == 1
    assert oom_kills(root) == 1
