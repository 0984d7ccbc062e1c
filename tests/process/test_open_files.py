"""A server may hold as many connections as its setting says, whatever limit of open files it was started under."""

from __future__ import annotations

import resource
import subprocess
import sys

PROGRAM = """
import resource
from flambeau.server import _allow_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))
_allow_open_files(1000)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
_allow_open_files(100_000)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
_allow_open_files(10)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def test_the_limit_of_open_files_is_raised_as_far_as_the_system_allows_and_never_lowered():
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= 4096
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["1000", "4096", "4096"]
