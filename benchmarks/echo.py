"""Echo on Flambeau and on its peers, one worker each, under the same load in the same run.

``python -m benchmarks.echo --preset throughput`` from the repository's root. Rounds are interleaved: in each round
every server is started, warmed, measured and stopped in turn, so that what changes on the machine meanwhile changes for
all. Ends with status 1 where a request failed or, with ``--check``, a target was missed.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import wrk
from benchmarks.contestants import CONTESTANTS, DELAY_MS, TORCHSERVE_DELAY_MS, EchoSetup
from benchmarks.presets import PRESETS, PresetName
from benchmarks.processes import ServerFailed, stop_servers_on_sigterm
from benchmarks.report import MET, as_json, comparison_grid, progress_bar, show, target_grid
from benchmarks.results import Cell, Results

console = Console()


def json_body(size_bytes: int) -> bytes:
    """A JSON object of exactly that many bytes, without white space. Raises ValueError below 11 bytes."""
    frame = b'{"data":""}'
    if size_bytes < len(frame):
        raise ValueError(f"a body has at least {len(frame)} bytes")
    return frame[:-2] + b"x" * (size_bytes - len(frame)) + frame[-2:]


@dataclass(frozen=True)
class Plan:
    """What is compared, and for how long."""

    servers: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    connections: tuple[int, ...]
    body_bytes: int
    rounds: int
    seconds: float
    warm_up_s: float
    peers_python: Path

    def starts(self) -> Iterator[tuple[int, int, str]]:
        """Round, batch size and server of each start, in order."""
        for number in range(1, self.rounds + 1):
            for batch_size in self.batch_sizes:
                for server in self.servers:
                    yield number, batch_size, server

    def __len__(self) -> int:
        return self.rounds * len(self.batch_sizes) * len(self.servers) * len(self.connections)


def measure(plan: Plan, results: Results) -> None:
    """Run the plan, adding to ``results`` as it goes. Raises ServerFailed or LoadError."""
    body = json_body(plan.body_bytes)
    with (
        tempfile.TemporaryDirectory(prefix="echo-body-") as folder,
        progress_bar(console) as progress,
    ):
        body_file = Path(folder, "body.json")
        body_file.write_bytes(body)
        bar = progress.add_task("", total=len(plan))
        for number, batch_size, name in plan.starts():
            label = f"round {number} of {plan.rounds}: {name}, batch {batch_size}"
            progress.update(bar, description=f"{label}, starting")
            server = CONTESTANTS[name]
            with server.echoing(EchoSetup(batch_size=batch_size, body=body, peers_python=plan.peers_python)) as url:
                progress.update(bar, description=f"{label}, warming up")
                wrk.post(url, body_file, server.content_type, connections=max(plan.connections), seconds=plan.warm_up_s)
                for connections in plan.connections:
                    progress.update(bar, description=f"{label}, {connections} connections")
                    measurement = wrk.post(
                        url, body_file, server.content_type, connections=connections, seconds=plan.seconds
                    )
                    results.add(Cell(name, batch_size, connections), measurement)
                    progress.advance(bar)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def main(
    preset: Annotated[
        PresetName, typer.Option(help="What to compare; the options below override it.")
    ] = PresetName.THROUGHPUT,
    servers: Annotated[str | None, typer.Option(help=f"Comma-separated, of: {', '.join(CONTESTANTS)}.")] = None,
    batch_sizes: Annotated[str | None, typer.Option(help="Comma-separated.")] = None,
    connections: Annotated[str | None, typer.Option(help="Connections of wrk, comma-separated.")] = None,
    body_bytes: Annotated[int | None, typer.Option(min=11, help="Size of the JSON body.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each server is measured; the median counts.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, help="Length of each measurement.")] = 5,
    warm_up: Annotated[float, typer.Option(min=1, help="Seconds of load after each start that are not counted.")] = 5,
    peers_python: Annotated[Path, typer.Option(help="Python of the peers' environment.")] = Path(
        ".venv-peers/bin/python"
    ),
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every run to this file.")] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")] = False,
    check: Annotated[bool, typer.Option(help="Fail unless every target of the preset is met.")] = False,
) -> None:
    """Compare Flambeau with its peers on the smallest possible model."""
    chosen = PRESETS[preset]
    plan = Plan(
        servers=tuple(servers.split(",")) if servers else chosen.servers,
        batch_sizes=_numbers(batch_sizes) if batch_sizes else chosen.batch_sizes,
        connections=_numbers(connections) if connections else chosen.connections,
        body_bytes=body_bytes or chosen.body_bytes,
        rounds=rounds,
        seconds=seconds,
        warm_up_s=warm_up,
        peers_python=peers_python.absolute(),
    )
    unknown = set(plan.servers) - set(CONTESTANTS)
    if unknown:
        raise typer.BadParameter(f"no such server: {', '.join(sorted(unknown))}", param_hint="--servers")
    results = Results()
    try:
        wrk.require_wrk()
        for name in plan.servers:
            if missing := CONTESTANTS[name].missing(plan.peers_python):
                raise ServerFailed(missing)
        measure(plan, results)
    except (ServerFailed, wrk.LoadError) as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error

    versions = {name: CONTESTANTS[name].version(plan.peers_python) for name in plan.servers}
    settings = {
        "body_bytes": plan.body_bytes,
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "workers": 1,
        "delay_ms": {"mosec": DELAY_MS, "litserve": DELAY_MS, "torchserve": TORCHSERVE_DELAY_MS},
        "versions": versions,
    }
    title = f"Echo of {plan.body_bytes} bytes, one worker; median of {plan.rounds} rounds (lowest to highest)"
    grids = [comparison_grid(results, reference="flambeau", title=title), target_grid(results, chosen.targets)]
    show(console, grids, as_markdown=as_markdown)
    console.print(", ".join(f"{name}: {version}" for name, version in versions.items()), highlight=False)
    if json_file:
        json_file.write_text(json.dumps(as_json(results, settings, chosen.targets), indent=2) + "\n")
    for cell, count in results.failures.items():
        console.print(f"{cell}: {count} requests failed", style="red")
    all_met = all(row[-1] == MET for row in grids[1].rows)
    if results.failures or (check and not all_met):
        raise typer.Exit(1)


if __name__ == "__main__":
    stop_servers_on_sigterm()
    typer.run(main)
