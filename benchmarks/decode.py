"""Which library decodes images fastest?

``python -m benchmarks.decode`` from the repository's root. Every backend of ``stages.DecodeImage`` that is installed
decodes the same photograph of 640x444 pixels, as JPEG and as PNG, through the stage itself. Rounds are interleaved:
each round measures every backend once, so that what slows the whole machine slows all. Beside images per second stands
the processor time that an image takes, which others on the machine change less. Memory that is freed is kept, as in
Flambeau's workers: otherwise most of what differs is how often each library happens to get fresh pages.

``flambeau.stages.decoders`` has the backends in the order that this measures.
"""

from __future__ import annotations

import io
import json
import statistics
import threading
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console

from benchmarks.report import Grid, format_spread, machine, progress_bar, show
from benchmarks.results import Spread
from flambeau.stages import DecodeImage
from flambeau.stages.decoders import DECODERS
from flambeau.stages.image_header import ImageFormat
from flambeau.workers.allocator import keep_freed_memory

WIDTH, HEIGHT = 640, 444
JPEG_QUALITY = 90
REFERENCE = "pillow"
"""What the others are compared with: nearly everybody has it."""
THREADS = (1, 2)
BATCH_SIZE = 8
console = Console()


class Cell(NamedTuple):
    """One combination that is measured once a round."""

    format: str
    backend: str
    threads: int


@dataclass(frozen=True)
class Run:
    """One cell in one round."""

    images: int
    seconds: float
    cpu_s: float
    """Processor time of the process, all its threads."""

    @property
    def images_per_s(self) -> float:
        return self.images / self.seconds

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of processor time per image."""
        return self.cpu_s / self.images * 1e3


def photograph(image_format: ImageFormat) -> bytes:
    """The file that is decoded."""
    from PIL import Image
    from skimage import data

    image = Image.fromarray(data.chelsea()).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, image_format.value, quality=JPEG_QUALITY)
    return file.getvalue()


def measure(stage: DecodeImage, file: bytes, threads: int, seconds: float) -> Run:
    """Decode in so many threads, each a batch at a time, for at least so long."""
    counts = [0] * threads

    def decode(place: int, until: float) -> None:
        while time.perf_counter() < until:
            stage([file] * BATCH_SIZE)
            counts[place] += BATCH_SIZE

    cpu_before, start = time.process_time(), time.perf_counter()
    workers = [threading.Thread(target=decode, args=(place, start + seconds)) for place in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return Run(sum(counts), time.perf_counter() - start, time.process_time() - cpu_before)


def compare(rounds: int, seconds: float) -> dict[Cell, list[Run]]:
    """Every cell of every format, backend installed and number of threads, in as many rounds."""
    installed = [name for name, decoder in DECODERS.items() if find_spec(decoder.package)]
    cells = [
        Cell(image_format.value, name, threads)
        for image_format in ImageFormat
        for name in installed
        if image_format in DECODERS[name].formats
        for threads in THREADS
    ]
    stages = {name: DecodeImage(backend=name) for name in installed}
    files = {image_format.value: photograph(image_format) for image_format in ImageFormat}
    runs: dict[Cell, list[Run]] = {cell: [] for cell in cells}
    with progress_bar(console) as progress:
        bar = progress.add_task("warming up", total=rounds * len(cells))
        for cell in cells:
            stages[cell.backend]([files[cell.format]] * BATCH_SIZE)
        for _ in range(rounds):
            for cell in cells:
                progress.update(bar, description=f"{cell.format} {cell.backend}")
                runs[cell].append(measure(stages[cell.backend], files[cell.format], cell.threads, seconds))
                progress.advance(bar)
    return runs


def grid_of(image_format: ImageFormat, runs: dict[Cell, list[Run]]) -> Grid:
    """A row per backend, fastest first; the last column says how many times Pillow it is, each round by itself."""
    rows = []
    for backend in dict.fromkeys(cell.backend for cell in runs if cell.format == image_format.value):
        of_backend = [runs[Cell(image_format.value, backend, threads)] for threads in THREADS]
        reference = runs[Cell(image_format.value, REFERENCE, THREADS[0])]
        ratios = [mine.images_per_s / other.images_per_s for mine, other in zip(of_backend[0], reference, strict=True)]
        rows.append(
            (
                f"{backend} ({version_of(backend)})",
                *(format_spread(Spread.of([run.images_per_s for run in each]), ",.0f") for each in of_backend),
                format_spread(Spread.of([run.cpu_ms for run in of_backend[0]]), ".2f"),
                f"{statistics.median(ratios):.2f}",
            )
        )
    rows.sort(key=lambda row: -float(row[-1]))
    threads = (f"images/s, {number} thread{'s' * (number > 1)}" for number in THREADS)
    header = ("backend", *threads, "processor ms/image", f"times {REFERENCE}")
    return Grid(f"{image_format.value}, {WIDTH}x{HEIGHT}", header, tuple(rows))


def version_of(backend: str) -> str:
    """Name and version of the distribution that a backend's package comes from: Pillow may be Pillow-SIMD."""
    names = metadata.packages_distributions()[DECODERS[backend].package]
    return f"{names[0]} {metadata.version(names[0])}"


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Times that each backend is measured.")] = 9,
    seconds: Annotated[float, typer.Option(min=0.01, help="Length of one measurement.")] = 0.3,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write every run to this file.")] = None,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")] = False,
) -> None:
    """Compare the libraries that decode images."""
    if find_spec(DECODERS[REFERENCE].package) is None:
        console.print("Pillow makes the files that are decoded: pip install pillow", style="red")
        raise typer.Exit(1)
    keep_freed_memory()
    runs = compare(rounds, seconds)
    show(console, [grid_of(image_format, runs) for image_format in ImageFormat], as_markdown=as_markdown)
    if json_file:
        every = [{**cell._asdict(), **asdict(run)} for cell, of_cell in runs.items() for run in of_cell]
        json_file.write_text(json.dumps({"machine": machine(), "runs": every}, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
