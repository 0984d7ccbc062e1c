"""What a server costs before and beside its model: start-up time, memory, log volume.

``python -m benchmarks.footprint`` from the repository's root, with the echo model and one worker. Ends with status 1
where a request failed or, with ``--check``, a bound is not kept.
"""

from __future__ import annotations

import json
import tempfile
import time
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console

from benchmarks import wrk
from benchmarks.contestants import ECHO, write_echo_model
from benchmarks.echo import json_body
from benchmarks.flambeau_server import FlambeauServer, flambeau_serving
from benchmarks.processes import POLL_S, ServerFailed, stop_servers_on_sigterm, wait_for_reply
from benchmarks.report import MET, MISSED, Grid, machine, progress_bar, show

MOST_START_S = 1.0
MOST_RESIDENT_MB = 100.0
BATCH_SIZE = 32
CONNECTIONS = 64
CONTENT_TYPE = "application/octet-stream"
SLICE_S = 2.0
"""Load goes on in runs of this length until enough requests were answered."""
console = Console()


@dataclass(frozen=True)
class Footprint:
    """What one server took."""

    start_s: float
    """From the start of the process to the first 200 of ``/ping``."""
    requests: int
    failures: int
    resident_mb: float
    """The server process alone, after the requests."""
    holds_torch: bool
    """Whether torch's libraries are mapped into the server process."""
    log_bytes_per_request: float

    def verdicts(self) -> list[tuple[str, str, str, str]]:
        """Row by row: what, bound, measured, outcome."""
        return [
            _verdict("start to first 200 of /ping, s", self.start_s, MOST_START_S),
            _verdict(f"resident after {self.requests:,} requests, MB", self.resident_mb, MOST_RESIDENT_MB),
            (
                "torch in the server process",
                "no",
                "yes" if self.holds_torch else "no",
                MISSED if self.holds_torch else MET,
            ),
            ("log, bytes per request", "", f"{self.log_bytes_per_request:.0f}", ""),
        ]


def _verdict(what: str, value: float, most: float) -> tuple[str, str, str, str]:
    return what, f"≤ {most:g}", f"{value:.2f}", MET if value <= most else MISSED


def wait_for_ping(server: FlambeauServer, *, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with urllib.request.urlopen(f"{server.inference_url}/ping", timeout=timeout_s):
                return
        except OSError as error:
            server.process.check_alive()
            if time.monotonic() > deadline:
                raise ServerFailed(f"no 200 of /ping within {timeout_s:g} s: {error}") from error
        time.sleep(POLL_S)


def measure(requests: int) -> Footprint:
    """Start a server, have it answer at least so many requests, and look at it. Raises ServerFailed or LoadError."""
    with tempfile.TemporaryDirectory(prefix="footprint-") as name, progress_bar(console) as progress:
        bar = progress.add_task("starting", total=requests)
        folder = Path(name)
        model = write_echo_model(folder, batch_size=BATCH_SIZE)
        body = folder / "body.json"
        body.write_bytes(json_body(64))
        started_at = time.monotonic()
        with flambeau_serving(model, folder) as server:
            wait_for_ping(server)
            start_s = time.monotonic() - started_at
            url = server.predictions(ECHO)
            wait_for_reply(server.process, url, body.read_bytes(), CONTENT_TYPE)
            answered = failures = 0
            while answered < requests:
                run = wrk.post(url, body, CONTENT_TYPE, connections=CONNECTIONS, seconds=SLICE_S)
                answered += run.requests
                failures += run.failures
                progress.update(bar, completed=min(answered, requests), description="under load")
            process = psutil.Process(server.process.pid)
            resident_mb = process.memory_info().rss / 1e6
            holds_torch = any("libtorch" in mapped.path for mapped in process.memory_maps())
        log_bytes = sum(path.stat().st_size for path in server.log_dir.rglob("*") if path.is_file())
        return Footprint(start_s, answered, failures, resident_mb, holds_torch, log_bytes / answered)


def main(
    requests: Annotated[int, typer.Option(min=1, help="Requests before memory is read.")] = 100_000,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    check: Annotated[bool, typer.Option(help="Fail where a bound is not kept.")] = False,
) -> None:
    """Measure what the server process itself takes."""
    try:
        wrk.require_wrk()
        footprint = measure(requests)
    except (ServerFailed, wrk.LoadError) as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error
    verdicts = footprint.verdicts()
    grid = Grid("Footprint of the server process", ("", "bound", "measured", "outcome"), tuple(verdicts))
    show(console, [grid], as_markdown=as_markdown)
    if json_file:
        json_file.write_text(json.dumps({"machine": machine(), **asdict(footprint)}, indent=2) + "\n")
    if footprint.failures:
        console.print(f"{footprint.failures} requests failed", style="red")
    if footprint.failures or (check and any(outcome == MISSED for *_, outcome in verdicts)):
        raise typer.Exit(1)


if __name__ == "__main__":
    stop_servers_on_sigterm()
    typer.run(main)
