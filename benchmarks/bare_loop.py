"""A handler in a loop, without a server: what serving is measured against.

As a program: ``python -m benchmarks.bare_loop MODEL_DIR BODY BATCH_SIZE THREADS`` loads the handler as a worker does
and says ``ready``. For each line on its standard input, a number of seconds, it runs full batches for so long and
prints rows per second.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from flambeau.request import PREDICT, InferenceRequest, RowError
from flambeau.runtime import LoadedHandler, load_handler
from flambeau.runtime.placement import limit_library_threads

READY = "ready"
WARM_UP_BATCHES = 5


class BareLoop:
    """One process that runs a handler in a loop."""

    def __init__(self, model: Path, body: Path, *, batch_size: int, threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.bare_loop", str(model), str(body), str(batch_size), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self) -> None:
        if (line := self._read_line()) != READY:
            raise RuntimeError(f"the bare loop said {line!r} when it should be ready")

    def start(self, seconds: float) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()

    def rows_per_s(self) -> float:
        """Waits for what ``start`` began."""
        return float(self._read_line())

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def bare_loops(
    model: Path, body: Path, *, batch_size: int, threads: int, processes: int
) -> Iterator[Sequence[BareLoop]]:
    """Processes that are loaded and warm, for as long as the block lasts."""
    with ExitStack() as stack:
        loops = []
        for _ in range(processes):
            loop = BareLoop(model, body, batch_size=batch_size, threads=threads)
            stack.callback(loop.stop)
            loops.append(loop)
        for loop in loops:
            loop.wait_until_ready()
        yield loops


def run_together(loops: Sequence[BareLoop], seconds: float) -> float:
    """Rows per second of all loops at once."""
    for loop in loops:
        loop.start(seconds)
    return sum(loop.rows_per_s() for loop in loops)


def _loop(handler: LoadedHandler, batch: Sequence[InferenceRequest], seconds: float) -> float:
    """Rows per second. Raises RuntimeError where a row has no answer."""
    rows = 0
    started_at = time.perf_counter()
    while (elapsed := time.perf_counter() - started_at) < seconds:
        replies = handler.run(batch)
        handler.take_metrics()
        if any(reply.error != RowError.NONE for reply in replies):
            raise RuntimeError(f"the handler failed: {replies}")
        rows += len(replies)
    return rows / elapsed


def main() -> None:
    model, body, batch_size, threads = sys.argv[1:]
    limit_library_threads(int(threads))
    handler = load_handler(model, batch_size=int(batch_size), threads=int(threads))
    row = InferenceRequest("bare", (PREDICT,), (("body", "image/jpeg", bytearray(Path(body).read_bytes())),))
    batch = [row] * int(batch_size)
    for _ in range(WARM_UP_BATCHES):
        handler.run(batch)
    print(READY, flush=True)
    for line in sys.stdin:
        print(_loop(handler, batch, float(line)), flush=True)


if __name__ == "__main__":
    main()
