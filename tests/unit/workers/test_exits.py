import pytest

from flambeau.testing.clock import FakeClock
from flambeau.workers.exits import LastWords, OomCounter, WorkerExit, explain_exit


class KernelCount:
    """A count of kills that a test sets."""

    def __init__(self, kills: int | None) -> None:
        self.kills = kills

    def __call__(self) -> int | None:
        return self.kills


@pytest.mark.parametrize(
    ("returncode", "reason"),
    [
        (0, "exited with status 0"),
        (3, "exited with status 3"),
        (-11, "killed by SIGSEGV"),
        (-15, "killed by SIGTERM"),
        (-63, "killed by signal 63"),
        (139, "exited with status 139 (SIGSEGV)"),
        (255, "exited with status 255"),
        (None, "closed its connection without ending"),
    ],
)
def test_ordinary_ends_are_named_and_are_not_out_of_memory(returncode, reason):
    assert explain_exit(returncode) == WorkerExit(reason, out_of_memory=False)


@pytest.mark.parametrize(
    ("returncode", "reason"),
    [
        (-9, "killed by SIGKILL, probably out of memory"),
        (137, "exited with status 137 (SIGKILL), probably out of memory"),
    ],
)
def test_kill_is_probably_out_of_memory_where_the_kernel_does_not_tell(returncode, reason):
    counter = OomCounter(KernelCount(None))
    assert explain_exit(returncode, oom_counter=counter) == WorkerExit(reason, out_of_memory=True)
    assert explain_exit(returncode) == WorkerExit(reason, out_of_memory=True)


def test_kill_that_the_kernel_counted_is_out_of_memory_for_certain_and_names_the_limit():
    count = KernelCount(5)
    counter = OomCounter(count)
    count.kills = 6
    end = explain_exit(-9, oom_counter=counter, memory_limit_bytes=512 * 2**20)
    assert end == WorkerExit("killed by SIGKILL, out of memory (limit 512 MiB)", out_of_memory=True)


def test_kill_that_the_kernel_did_not_count_came_from_somebody():
    end = explain_exit(-9, oom_counter=OomCounter(KernelCount(5)), memory_limit_bytes=512 * 2**20)
    assert end == WorkerExit("killed by SIGKILL", out_of_memory=False)


def test_each_counted_kill_explains_one_death():
    count = KernelCount(0)
    counter = OomCounter(count)
    count.kills = 2
    assert [counter.claim() for _ in range(3)] == [True, True, False]


def test_kernel_is_asked_only_about_sigkill():
    count = KernelCount(0)
    counter = OomCounter(count)
    count.kills = 1
    explain_exit(-11, oom_counter=counter)
    assert counter.claim() is True


@pytest.mark.parametrize(
    "line",
    [
        "MemoryError",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory",
        "OSError: [Errno 12] Cannot allocate memory",
    ],
)
def test_last_line_can_show_that_memory_ran_out(line):
    assert explain_exit(1, last_stderr_line=line).out_of_memory


def test_last_line_is_kept_apart_from_what_clients_may_read():
    end = explain_exit(1, last_stderr_line="FileNotFoundError: /secret/weights.pt")
    assert end.reason == "exited with status 1"
    assert end.in_full == "exited with status 1: FileNotFoundError: /secret/weights.pt"


def test_worker_that_wrote_nothing_has_nothing_to_add():
    assert explain_exit(-11).in_full == "killed by SIGSEGV"


def test_the_last_words_are_the_last_line_that_says_something():
    words = LastWords()
    words.heard("Traceback (most recent call last):")
    words.heard("ValueError: x")
    words.heard("")
    assert words.line == "ValueError: x"


def test_what_was_written_before_it_was_asked_explains_nothing_later():
    words = LastWords()
    words.asked()
    words.answered()
    words.heard("MemoryError")  # of that batch: its line came after its answer
    assert words.line == "MemoryError"
    words.asked()
    assert words.line == ""


def test_what_belongs_to_an_answered_batch_is_forgotten_even_if_it_is_never_idle():
    clock = FakeClock()
    words = LastWords(clock.monotonic)
    words.asked()
    words.heard("MemoryError")
    words.asked()
    clock.advance(0.2)
    words.answered()
    assert words.line == ""


def test_what_it_writes_about_the_next_batch_outlives_the_answer_to_the_one_before():
    clock = FakeClock()
    words = LastWords(clock.monotonic)
    words.asked()
    words.asked()
    words.heard("std::bad_alloc")
    clock.advance(0.01)
    words.answered()
    assert words.line == "std::bad_alloc"
