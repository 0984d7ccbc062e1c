"""Why a worker process ended, in words for whoever reads the log or the describe API."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from flambeau.workers.cgroups import oom_kills

_OUT_OF_MEMORY_MARKS = (
    "out of memory",
    "MemoryError",
    "std::bad_alloc",
    "can't allocate memory",
    "Cannot allocate memory",
)
"""What Python, C++, torch's allocators and the C library write when memory runs out."""

_SAME_BATCH_S = 0.1
"""A worker that has more batches may have begun the next when an answer arrives: what it wrote just now is kept."""

_SHELL_SIGNAL_BASE = 128
"""A shell between server and worker reports a child killed by signal n as 128 + n."""


@dataclass(frozen=True, slots=True)
class WorkerExit:
    """How a worker ended."""

    reason: str
    """A few words that are fit for any client: ``killed by SIGSEGV``."""
    out_of_memory: bool
    last_line: str = ""
    """What the worker wrote last; may name paths and data, so not for whoever only sends requests."""

    @property
    def in_full(self) -> str:
        """For log and management: ``exited with status 1: ModuleNotFoundError: No module named 'foo'``."""
        return f"{self.reason}: {self.last_line}" if self.last_line else self.reason


class LastWords:
    """What a worker wrote last to its error stream about the work that it has now.

    A traceback of a request that has been answered explains no later death, and may speak of memory that has long been
    free again. Output and answers come by two ways, so a line may arrive a little after the answer that it belongs to.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._line = ""
        self._heard_at = 0.0
        self._unanswered = 0

    @property
    def line(self) -> str:
        """Empty if it wrote nothing."""
        return self._line

    def heard(self, line: str) -> None:
        if line:
            self._line, self._heard_at = line, self._monotonic()

    def asked(self) -> None:
        """A batch is sent to it."""
        if not self._unanswered:
            self._line = ""
        self._unanswered += 1

    def answered(self) -> None:
        """It has answered a batch."""
        self._unanswered -= 1
        if self._line and self._monotonic() - self._heard_at > _SAME_BATCH_S:
            self._line = ""


class OomCounter:
    """Tells a worker that the kernel killed for want of memory from one that somebody killed.

    The kernel only counts its kills in a group of processes. Each kill explains one death, so one counter is shared by
    all workers of a server.
    """

    def __init__(self, read: Callable[[], int | None] = oom_kills) -> None:
        """
        Args:
            read: the kernel's count so far; None where it does not tell.
        """
        self._read = read
        self._claimed = read()

    def claim(self) -> bool | None:
        """Ask whether a kill explains a death seen now, and use it up.

        Returns:
            None where the kernel does not tell.
        """
        count = self._read()
        if count is None or self._claimed is None:
            return None
        if count <= self._claimed:
            return False
        self._claimed += 1
        return True


def explain_exit(
    returncode: int | None,
    *,
    last_stderr_line: str = "",
    memory_limit_bytes: int | None = None,
    oom_counter: OomCounter | None = None,
) -> WorkerExit:
    """Say why a worker ended that was not told to.

    Args:
        returncode: as of ``subprocess``: negative for a signal; None if the worker hung up but has not ended.
        last_stderr_line: the last that it wrote, usually the end of a traceback; empty if it wrote nothing.
        memory_limit_bytes: the limit it ran under, to be named where memory ran out.
        oom_counter: asked only about a worker killed by SIGKILL. Without one such a death counts as out of memory,
            which is what it nearly always is; a server that kills a worker itself knows better and need not ask.
    """
    killer = _signal_behind(returncode)
    verdict = ""
    if any(mark in last_stderr_line for mark in _OUT_OF_MEMORY_MARKS):
        verdict = ", out of memory"
    elif killer == signal.SIGKILL:
        confirmed = oom_counter.claim() if oom_counter is not None else None
        verdict = {True: ", out of memory", None: ", probably out of memory", False: ""}[confirmed]
    out_of_memory = bool(verdict)
    limit = f" (limit {memory_limit_bytes / 2**20:.0f} MiB)" if out_of_memory and memory_limit_bytes else ""
    return WorkerExit(f"{_how(returncode, killer)}{verdict}{limit}", out_of_memory, last_stderr_line)


def _signal_behind(returncode: int | None) -> signal.Signals | None:
    if returncode is None:
        return None
    number = -returncode if returncode < 0 else returncode - _SHELL_SIGNAL_BASE
    try:
        return signal.Signals(number)
    except ValueError:
        return None


def _how(returncode: int | None, killer: signal.Signals | None) -> str:
    if returncode is None:
        return "closed its connection without ending"
    if returncode >= 0:
        return f"exited with status {returncode}" + (f" ({killer.name})" if killer else "")
    return f"killed by {killer.name if killer else f'signal {-returncode}'}"
