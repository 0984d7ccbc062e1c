"""``flambeau archive-workflow``: package a workflow's files for serving."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flambeau.archive.writer import write_plan
from flambeau.cli.failures import print_warnings
from flambeau.workflows.packaging import WorkflowArchiveSpec, plan_workflow_archive


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("archive-workflow", no_args_is_help=True)(archive_workflow)


def archive_workflow(
    workflow_name: Annotated[str, typer.Option(help="Name of the workflow; the archive is named after it.")],
    spec_file: Annotated[Path, typer.Option(metavar="FILE", help="YAML with the models and the graph.")],
    handler: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Python file with the functions of the graph.")
    ] = None,
    extra_files: Annotated[
        str, typer.Option(metavar="LIST", help="Comma-separated files, folders (their content is taken) and patterns.")
    ] = "",
    export_path: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write; made if need be.", show_default="current folder")
    ] = None,
    force: Annotated[bool, typer.Option("-f", "--force", help="Replace an archive that exists.")] = False,
) -> None:
    """Package models that follow one another into a workflow archive that a server takes."""
    plan = plan_workflow_archive(
        WorkflowArchiveSpec(
            workflow_name=workflow_name,
            spec_file=spec_file,
            handler=handler,
            extra_files=tuple(extra_files.split(",")),
            export_path=export_path or Path(),
            force=force,
        )
    )
    print_warnings(plan.warnings)
    path = write_plan(plan)
    typer.echo(f"{path}: {len(plan.member_names)} files, {path.stat().st_size} bytes")
