from __future__ import annotations

import subprocess
import sys

from flambeau.workers.allocator import MMAP_THRESHOLD_BYTES, TRIM_THRESHOLD_BYTES, allocator_environment

PROGRAM = """
import resource, sys
from flambeau.workers.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def turn():
    blocks = [bytes(100_000) for _ in range(64)]
turn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    turn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    return int(subprocess.run([sys.executable, "-c", PROGRAM, mode], check=True, capture_output=True).stdout)


def test_memory_that_is_used_again_is_not_faulted_in_again():
    assert faults("keep") < 1000 < faults("leave")


def test_what_the_environment_says_already_is_left_alone():
    assert allocator_environment({"MALLOC_TRIM_THRESHOLD_": "1"}) == {
        "MALLOC_MMAP_THRESHOLD_": str(MMAP_THRESHOLD_BYTES)
    }
    assert allocator_environment({})["MALLOC_TRIM_THRESHOLD_"] == str(TRIM_THRESHOLD_BYTES)
