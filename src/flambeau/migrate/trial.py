"""Loads a handler in a process of its own, for so long and no longer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

from flambeau.migrate.findings import Trial

_LAST_WORDS = 500
"""Characters of what a process wrote that are shown, where it ended without a result."""


def try_handler(order: Mapping[str, object], timeout_s: float) -> Trial:
    """
    Args:
        order: the arguments of ``load_handler``; ``model_dir`` is the working directory, as it is a worker's.
        timeout_s: after which the process, and what it has started, is ended.
    """
    started_at = perf_counter()
    with tempfile.TemporaryDirectory(prefix="flambeau-migrate-") as folder:
        result = Path(folder) / "result.json"
        with (Path(folder) / "output").open("w+b") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "flambeau.migrate.attempt", str(result)],
                cwd=str(order["model_dir"]),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                process.communicate(json.dumps(order).encode(), timeout_s)
            except subprocess.TimeoutExpired:
                problem = f"it was not loaded within {timeout_s:g} s"
                return Trial(loaded=False, seconds=perf_counter() - started_at, problem=problem)
            finally:
                _end(process)
            if result.exists():
                return Trial(**json.loads(result.read_text()))
            output.seek(0)
            words = output.read().decode(errors="replace").strip()[-_LAST_WORDS:].splitlines()
        problem = _end_of(process.returncode) + (f": {words[-1]}" if words else "")
        return Trial(loaded=False, seconds=perf_counter() - started_at, problem=problem)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The process and all that it has started, which are a session of their own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def _end_of(code: int) -> str:
    if code >= 0:
        return f"its code ended the process with status {code}"
    try:
        return f"its code ended the process by {signal.Signals(-code).name}"
    except ValueError:
        return f"its code ended the process by signal {-code}"
