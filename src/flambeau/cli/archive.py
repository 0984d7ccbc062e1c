"""``flambeau archive``: package a model's files for serving."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from flambeau.archive import writer
from flambeau.archive.manifest import DEFAULT_VERSION, RUNTIMES
from flambeau.archive.plan import FORMAT_SUFFIXES, ArchivePlan, ArchiveSpec, plan_archive
from flambeau.archive.writer import write_plan
from flambeau.cli.failures import print_warnings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("archive", no_args_is_help=True)(archive)


def archive(
    model_name: Annotated[str, typer.Option(help="Name of the model; the archive is named after it.")],
    handler: Annotated[str, typer.Option(help="Built-in handler, or file.py[:function].")],
    version: Annotated[str, typer.Option("-v", "--version", help="Version of the model.")] = DEFAULT_VERSION,
    serialized_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights or compiled model: .pt, .pth, .onnx, .so, ...")
    ] = None,
    model_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Python file with the model's class, where weights need one.")
    ] = None,
    extra_files: Annotated[
        str, typer.Option(metavar="LIST", help="Comma-separated files, folders (their content is taken) and patterns.")
    ] = "",
    config_file: Annotated[Path | None, typer.Option("-c", "--config-file", metavar="FILE", help="Model YAML.")] = None,
    requirements_file: Annotated[
        Path | None, typer.Option("-r", "--requirements-file", metavar="FILE", help="What pip is to install for it.")
    ] = None,
    export_path: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write; made if need be.", show_default="current folder")
    ] = None,
    archive_format: Annotated[
        str,
        typer.Option(
            metavar="|".join(FORMAT_SUFFIXES), help=".mar; .mar with nothing deflated; .tar.gz; or a plain folder."
        ),
    ] = "default",
    runtime: Annotated[
        str, typer.Option(metavar="|".join(RUNTIMES), help="What the handler is written for.")
    ] = "python",
    force: Annotated[bool, typer.Option("-f", "--force", help="Replace an archive that exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Package a model's files into an archive that `flambeau serve` and TorchServe take."""
    spec = ArchiveSpec(
        model_name=model_name,
        handler=handler,
        version=version,
        serialized_file=serialized_file,
        model_file=model_file,
        extra_files=tuple(extra_files.split(",")),
        runtime=runtime,
        export_path=export_path or Path(),
        archive_format=archive_format,
        force=force,
        requirements_file=requirements_file,
        config_file=config_file,
    )
    plan = plan_archive(spec)
    print_warnings(plan.warnings)
    with _progress_bar(plan) as progress:
        path = write_plan(plan, progress)
    if as_json:
        typer.echo(json.dumps(_result(plan), indent=2))
    else:
        typer.echo(f"{path}: {len(plan.member_names)} files, {_size_bytes(path)} bytes")


@contextmanager
def _progress_bar(plan: ArchivePlan) -> Iterator[writer.Progress | None]:
    """A bar on stderr, where that is a terminal; None elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        row = bar.add_task(plan.target.name, total=sum(entry.size for entry in plan.entries))
        yield lambda name, done, total: bar.update(row, description=name, completed=done)


def _result(plan: ArchivePlan) -> dict[str, object]:
    """What ``--json`` prints; ``sha256`` is null for a folder."""
    path = plan.target
    return {
        "path": str(path.resolve()),
        "size": _size_bytes(path),
        "sha256": _sha256(path) if path.is_file() else None,
        "members": plan.member_names,
    }


def _size_bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
