"""A real model, served, beside the same handler in a bare loop: what does serving cost?

``python -m benchmarks.model`` from the repository's root: EfficientNet-Lite0, JPEG in, five labels out. Both sides get
the same batch size, threads and processes, in turn within each round. Ends with status 1 where a request failed or,
with ``--check``, serving costs more than it may.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import wrk
from benchmarks.bare_loop import bare_loops, run_together
from benchmarks.flambeau_server import flambeau_serving
from benchmarks.processes import ServerFailed, stop_servers_on_sigterm, wait_for_reply
from benchmarks.report import Grid, format_spread, machine, progress_bar, show
from benchmarks.results import Spread, p50_ms, p99_ms
from demo.efficientnet_lite0 import MODEL_NAME, jpeg, pack

LEAST_RATIO = 0.95
CONTENT_TYPE = "image/jpeg"
console = Console()


def write_config(model: Path, *, batch_size: int, threads: int, workers: int) -> None:
    """Replace the YAML of an unpacked archive."""
    settings = {"minWorkers": workers, "maxWorkers": workers, "batchSize": batch_size, "threads": threads}
    (model / "model-config.yaml").write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))


def measure_served(model: Path, body: Path, *, connections: int, seconds: float, warm_up_s: float) -> wrk.Measurement:
    with (
        tempfile.TemporaryDirectory(prefix="served-") as folder,
        flambeau_serving(model, Path(folder)) as server,
    ):
        url = server.predictions(MODEL_NAME)
        wait_for_reply(server.process, url, body.read_bytes(), CONTENT_TYPE)
        wrk.post(url, body, CONTENT_TYPE, connections=connections, seconds=warm_up_s)
        return wrk.post(url, body, CONTENT_TYPE, connections=connections, seconds=seconds)


def measure_bare(
    model: Path, body: Path, *, batch_size: int, threads: int, workers: int, seconds: float, warm_up_s: float
) -> float:
    """Rows per second."""
    with bare_loops(model, body, batch_size=batch_size, threads=threads, processes=workers) as loops:
        run_together(loops, warm_up_s)
        return run_together(loops, seconds)


def main(
    batch_size: Annotated[int, typer.Option(min=1)] = 4,
    connections: Annotated[int, typer.Option(min=1)] = 8,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes, and processes of the bare loop.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Torch's threads in each process.")] = 2,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    seconds: Annotated[float, typer.Option(min=1, help="Length of each measurement.")] = 10,
    warm_up: Annotated[float, typer.Option(min=1, help="Seconds before each that are not counted.")] = 2,
    picture: Annotated[str, typer.Option(help="A picture of scikit-image.")] = "chelsea",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every round to this file.")] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    check: Annotated[bool, typer.Option(help=f"Fail below {LEAST_RATIO} of the bare loop.")] = False,
) -> None:
    """Compare a served model with the same handler in a bare loop."""
    served: list[wrk.Measurement] = []
    bare: list[float] = []
    try:
        wrk.require_wrk()
        with tempfile.TemporaryDirectory(prefix="model-") as folder, progress_bar(console) as progress:
            bar = progress.add_task("packing the model", total=rounds * 2)
            model = pack(Path(folder), archive_format="no-archive")
            write_config(model, batch_size=batch_size, threads=threads, workers=workers)
            body = Path(folder, "body.jpg")
            body.write_bytes(jpeg(picture))
            for number in range(1, rounds + 1):
                progress.update(bar, description=f"round {number} of {rounds}: served")
                served.append(measure_served(model, body, connections=connections, seconds=seconds, warm_up_s=warm_up))
                progress.update(bar, advance=1, description=f"round {number} of {rounds}: bare loop")
                bare.append(
                    measure_bare(
                        model,
                        body,
                        batch_size=batch_size,
                        threads=threads,
                        workers=workers,
                        seconds=seconds,
                        warm_up_s=warm_up,
                    )
                )
                progress.advance(bar)
    except (ServerFailed, wrk.LoadError) as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error

    ratio = Spread.of([run.requests_per_s / rows_per_s for run, rows_per_s in zip(served, bare, strict=True)])
    settings = {"batch_size": batch_size, "connections": connections, "workers": workers, "threads": threads}
    show(console, [_grid(served, bare, ratio, settings)], as_markdown=as_markdown)
    if json_file:
        report = {
            "machine": machine(),
            "settings": {**settings, "picture": picture, "seconds": seconds},
            "served": [asdict(run) for run in served],
            "bare_rows_per_s": bare,
            "ratio": asdict(ratio),
        }
        json_file.write_text(json.dumps(report, indent=2) + "\n")
    failures = sum(run.failures for run in served)
    if failures:
        console.print(f"{failures} requests failed", style="red")
    if failures or (check and ratio.median < LEAST_RATIO):
        raise typer.Exit(1)


def _grid(served: list[wrk.Measurement], bare: list[float], ratio: Spread, settings: dict[str, int]) -> Grid:
    rates = Spread.of([run.requests_per_s for run in served])
    latencies = [f"{Spread.of([metric(run) for run in served]).median:.0f}" for metric in (p50_ms, p99_ms)]
    title = (
        f"EfficientNet-Lite0, {', '.join(f'{key} {value}' for key, value in settings.items())}; median of {len(bare)}"
    )
    return Grid(
        title,
        ("", "images/s", "p50 ms", "p99 ms", "served ÷ bare"),
        (
            ("served", format_spread(rates, ".1f"), *latencies, format_spread(ratio, ".3f")),
            ("bare loop", format_spread(Spread.of(bare), ".1f"), "", "", ""),
        ),
    )


if __name__ == "__main__":
    stop_servers_on_sigterm()
    typer.run(main)
