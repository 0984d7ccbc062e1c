"""Which HTTP protocol class carries the data plane: Flambeau's own, or uvicorn's?

``python -m benchmarks.protocol`` from the repository's root. The same prediction path stands on

- ``own``: Flambeau's connection class,
- ``bypass``: uvicorn's httptools class, subclassed so that predictions do not go through ASGI,
- ``asgi``: uvicorn as it is, predictions an ASGI function without a framework,

and ``bare`` is httptools without any path, for the ceiling. By default the model answers in the server process on the
next turn of the loop, so that HTTP is all that is measured; with ``--worker`` a dispatcher and an echo worker with
batch size 8 stand behind. Rounds are interleaved as in ``benchmarks.echo``. Beside requests per second stands the
processor time that the server process takes for a request: others on the machine change it less.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console

from benchmarks import wrk
from benchmarks.contestants import ECHO, PEERS, write_echo_model
from benchmarks.echo import json_body
from benchmarks.processes import ServerFailed, ServerProcess, free_port, running, wait_for_reply
from benchmarks.report import Grid, format_spread, machine, progress_bar, show
from benchmarks.results import Cell, Results, p50_ms, p99_ms, requests_per_s

ROOT = Path(__file__).parent.parent
CONTENT_TYPE = "application/octet-stream"
OWN, BARE = "own", "bare"
BASES = (OWN, "bypass", "asgi", BARE)
WORKER_BATCH_SIZE = 8
console = Console()


@dataclass(frozen=True)
class CostedMeasurement(wrk.Measurement):
    """One run, and what it took."""

    cpu_s: float
    """Processor time of the server process, user and system, all its threads, without its workers."""


def cpu_us(measurement: CostedMeasurement) -> float:
    """Microseconds of processor time per request."""
    return measurement.cpu_s / measurement.requests * 1e6


@dataclass(frozen=True)
class Plan:
    """What is compared, and for how long."""

    bases: tuple[str, ...]
    body_bytes: tuple[int, ...]
    connections: tuple[int, ...]
    has_worker: bool
    rounds: int
    seconds: float
    warm_up_s: float

    @property
    def batch_size(self) -> int:
        return WORKER_BATCH_SIZE if self.has_worker else 1

    def __len__(self) -> int:
        return self.rounds * len(self.bases) * len(self.body_bytes) * len(self.connections)


@contextmanager
def serving(base: str, plan: Plan) -> Iterator[tuple[ServerProcess, str]]:
    """One base in a process, and the address of its predictions. Raises ServerFailed where it does not start."""
    with tempfile.TemporaryDirectory(prefix=f"protocol-{base}-") as name:
        folder = Path(name)
        if base == BARE:
            port = free_port()
            with running([sys.executable, str(PEERS / "bare_echo.py"), str(port)], folder=folder) as server:
                yield server, f"http://127.0.0.1:{port}/predictions/{ECHO}"
            return
        ready_file = folder / "ready.json"
        command = [sys.executable, "-m", "benchmarks.protocols", base, str(ready_file)]
        if plan.has_worker:
            command.append(str(write_echo_model(folder, batch_size=plan.batch_size)))
        with running(command, folder=folder, environment={"PYTHONPATH": str(ROOT)}) as server:
            address = json.loads(server.wait_for_file(ready_file))["address"]
            yield server, f"{address}/predictions/{ECHO}"


def load(server: ServerProcess, url: str, body: Path, *, connections: int, seconds: float) -> CostedMeasurement:
    """One run of wrk. Raises LoadError."""
    process = psutil.Process(server.pid)
    before = process.cpu_times()
    measurement = wrk.post(url, body, CONTENT_TYPE, connections=connections, seconds=seconds)
    after = process.cpu_times()
    cpu_s = after.user + after.system - before.user - before.system
    return CostedMeasurement(**asdict(measurement), cpu_s=cpu_s)


def measure(plan: Plan, results: dict[int, Results]) -> None:
    """Run the plan, adding to the results of each body size as it goes. Raises ServerFailed or LoadError."""
    with tempfile.TemporaryDirectory(prefix="protocol-bodies-") as folder, progress_bar(console) as progress:
        bodies = {size: Path(folder, f"{size}.json") for size in plan.body_bytes}
        for size, file in bodies.items():
            file.write_bytes(json_body(size))
        bar = progress.add_task("", total=len(plan))
        for number in range(1, plan.rounds + 1):
            for base in plan.bases:
                progress.update(bar, description=f"round {number} of {plan.rounds}: {base}, starting")
                with serving(base, plan) as (server, url):
                    for size, file in bodies.items():
                        body = file.read_bytes()
                        if wait_for_reply(server, url, body, CONTENT_TYPE) != body:
                            raise ServerFailed(f"{base} does not echo {size} bytes")
                        load(server, url, file, connections=max(plan.connections), seconds=plan.warm_up_s)
                        for connections in plan.connections:
                            label = f"{base}, {size} bytes, {connections} connections"
                            progress.update(bar, description=f"round {number} of {plan.rounds}: {label}")
                            run = load(server, url, file, connections=connections, seconds=plan.seconds)
                            results[size].add(Cell(base, plan.batch_size, connections), run)
                            progress.advance(bar)


def grid(results: Results, title: str) -> Grid:
    """A row per base and number of connections; ratios are to ``own``, where that was measured."""
    rows = []
    for cell in sorted(results.by_cell, key=lambda cell: (-cell.connections, BASES.index(cell.server))):
        reference = cell._replace(server=OWN)
        has_ratio = cell != reference and reference in results.by_cell
        rows.append(
            (
                str(cell.connections),
                cell.server,
                format_spread(results.spread(cell, requests_per_s), ",.0f"),
                format_spread(results.ratio(cell, reference, requests_per_s), ".2f") if has_ratio else "",
                format_spread(results.spread(cell, cpu_us), ".1f"),
                format_spread(results.ratio(cell, reference, cpu_us), ".2f") if has_ratio else "",
                f"{results.spread(cell, p50_ms).median:.2f}",
                f"{results.spread(cell, p99_ms).median:.2f}",
            )
        )
    header = ("conns", "base", "requests/s", "÷ own", "CPU µs/request", "÷ own", "p50 ms", "p99 ms")
    return Grid(title, header, tuple(rows))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def main(
    bases: Annotated[str, typer.Option(help=f"Comma-separated, of: {', '.join(BASES)}.")] = ",".join(BASES),
    body_bytes: Annotated[str, typer.Option(help="Sizes of the JSON body, comma-separated.")] = "64,100000",
    connections: Annotated[str, typer.Option(help="Connections of wrk, comma-separated.")] = "64,1",
    worker: Annotated[bool, typer.Option("--worker", help="A dispatcher and a real echo worker behind.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="How often each base is measured; the median counts.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, help="Length of each measurement.")] = 5,
    warm_up: Annotated[float, typer.Option(min=1, help="Seconds of load per body size that are not counted.")] = 2,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every run to this file.")] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")] = False,
) -> None:
    """Compare the protocol classes under the same prediction path."""
    plan = Plan(
        bases=tuple(bases.split(",")),
        body_bytes=_numbers(body_bytes),
        connections=_numbers(connections),
        has_worker=worker,
        rounds=rounds,
        seconds=seconds,
        warm_up_s=warm_up,
    )
    unknown = set(plan.bases) - set(BASES)
    if unknown:
        raise typer.BadParameter(f"no such base: {', '.join(sorted(unknown))}", param_hint="--bases")
    results = {size: Results() for size in plan.body_bytes}
    try:
        wrk.require_wrk()
        if importlib.util.find_spec("uvicorn") is None:
            raise ServerFailed("uvicorn is not installed: .venv/bin/python -m pip install --group bench")
        measure(plan, results)
    except (ServerFailed, wrk.LoadError) as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error

    behind = f"an echo worker, batch {plan.batch_size}" if worker else "a model that answers in process"
    grids = [
        grid(of_size, f"{size} bytes to {behind}; median of {rounds} rounds (lowest to highest)")
        for size, of_size in results.items()
    ]
    show(console, grids, as_markdown=as_markdown)
    if json_file:
        runs = [
            {**cell._asdict(), "body_bytes": size, "round": number, **asdict(run)}
            for size, of_size in results.items()
            for cell, measured in of_size.by_cell.items()
            for number, run in enumerate(measured, 1)
        ]
        json_file.write_text(
            json.dumps({"machine": machine(), "settings": asdict(plan), "runs": runs}, indent=2) + "\n"
        )
    failures = [
        f"{size} bytes, {cell}: {n} requests failed" for size, r in results.items() for cell, n in r.failures.items()
    ]
    for failure in failures:
        console.print(failure, style="red")
    if failures:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
