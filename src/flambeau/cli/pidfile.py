"""The file that remembers which process is the running server, for ``torchserve --stop``."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import psutil

_CLOCK_TOLERANCE_S = 2.0
"""Process start times are derived from the boot time, which is known to the second."""


class PidFile:
    """Holds one process id."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> psutil.Process | None:
        """The process that the file names, if it still runs.

        A process that began after the file was written has only got the same number, and is not meant.
        """
        try:
            process = psutil.Process(int(self.path.read_text()))
            written_at = self.path.stat().st_mtime
            is_meant = process.create_time() <= written_at + _CLOCK_TOLERANCE_S
            return process if is_meant and process.status() != psutil.STATUS_ZOMBIE else None
        except (OSError, ValueError, psutil.NoSuchProcess):
            return None

    def write(self, pid: int) -> None:
        """Name a process, whole at once."""
        descriptor, partial = tempfile.mkstemp(prefix=f"{self.path.name}.", dir=self.path.parent)
        with os.fdopen(descriptor, "w") as file:
            file.write(str(pid))
        os.replace(partial, self.path)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
