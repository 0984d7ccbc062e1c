"""The parent's end of the processes that measure on order; see :mod:`benchmarks.local_report.orders`."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.local_report.load import LoadFailed, Sample, Window, pooled
from benchmarks.local_report.orders import order, sample_of

ROOT = Path(__file__).parents[2]
READY_WITHIN_S = 120.0
ANSWER_WITHIN_S = 60.0
"""Beyond the end of the window: calls under way are finished first."""


class MeasuredProcess:
    """One process that answers orders; see :mod:`benchmarks.local_report.orders`."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                text=True,
            )

    def wait_until_ready(self) -> None:
        """Raises LoadFailed, with the last thing it printed, where it ends or takes too long."""
        self._answer(READY_WITHIN_S)

    def order(self, clients: int, window: Window) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(order(clients, window))
        self._process.stdin.flush()

    def sample(self, window: Window) -> Sample:
        """What was ordered. Raises LoadFailed."""
        return sample_of(self._answer(window.seconds + ANSWER_WITHIN_S))

    def stop(self) -> None:
        """End it and its children."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.communicate()

    def _answer(self, timeout_s: float) -> dict[str, object]:
        output = self._process.stdout
        assert output is not None
        if not select.select([output], [], [], timeout_s)[0]:
            raise LoadFailed(f"no answer within {timeout_s:g} s")
        line = output.readline()
        if not line:
            raise LoadFailed(self._last_words())
        answer: dict[str, object] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else "ended without a word"


@contextmanager
def measured_processes(commands: Sequence[Sequence[str]]) -> Iterator[list[MeasuredProcess]]:
    with tempfile.TemporaryDirectory(prefix="side-") as folder, ExitStack() as stack:
        started = []
        for number, command in enumerate(commands):
            process = MeasuredProcess(command, Path(folder, f"{number}.log"))
            stack.callback(process.stop)
            started.append(process)
        for process in started:
            process.wait_until_ready()
        yield started


def measure_together(processes: Sequence[MeasuredProcess], clients_each: int, window: Window) -> Sample:
    for process in processes:
        process.order(clients_each, window)
    return pooled([process.sample(window) for process in processes])
