"""Flambeau as the benchmarks start it: its own command, its defaults, free ports."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import ServerProcess, running


@dataclass(frozen=True)
class FlambeauServer:
    """A server that is up."""

    process: ServerProcess
    inference_url: str
    grpc_target: str
    """``host:port``, as gRPC's clients take it."""
    log_dir: Path

    def predictions(self, model: str) -> str:
        return f"{self.inference_url}/predictions/{model}"


@contextmanager
def flambeau_serving(model: Path, folder: Path, *options: str) -> Iterator[FlambeauServer]:
    """Serve one unpacked model or archive, from ``folder`` as working directory, until the block ends."""
    ready_file = folder / "ready.json"
    log_dir = folder / "logs"
    command = [str(Path(sys.executable).with_name("flambeau")), "serve", str(model), *options]
    for listener in ("inference", "management", "metrics"):
        command += [f"--{listener}-address", "http://127.0.0.1:0"]
    command += ["--grpc-port", "0", "--grpc-management-port", "0"]
    command += ["--ready-file", str(ready_file), "--log-dir", str(log_dir)]
    with running(command, folder=folder) as process:
        ready = json.loads(process.wait_for_file(ready_file))
        grpc_target = ready["grpc_inference_address"].removeprefix("grpc://")
        yield FlambeauServer(process, ready["inference_address"], grpc_target, log_dir)
