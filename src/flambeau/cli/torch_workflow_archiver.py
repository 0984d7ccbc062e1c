"""The ``torch-workflow-archiver`` command: its options, messages and exit codes over Flambeau's archive writer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flambeau.archive.writer import write_plan
from flambeau.cli.failures import EXIT_FAILURE
from flambeau.errors import PackagingError
from flambeau.workflows.packaging import WorkflowArchiveSpec, plan_workflow_archive


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code: 0 or 1. Wrong usage ends the process with 2, as argparse does."""
    options = vars(_parser().parse_args(arguments))
    extra_files = options.pop("extra_files") or ""
    try:
        plan = plan_workflow_archive(WorkflowArchiveSpec(**options, extra_files=tuple(extra_files.split(","))))
        for warning in plan.warnings:
            _log("WARNING", warning)
        if plan.target.exists():
            _log("WARNING", f"Overwriting {plan.target} ...")
        write_plan(plan)
    except PackagingError as error:
        _log("ERROR", "\n".join(filter(None, (error.message, error.hint))))
        return EXIT_FAILURE
    return 0


def _log(level: str, message: str) -> None:
    print(f"{level} - {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    """Options that are named like the fields of :class:`WorkflowArchiveSpec`."""
    parser = argparse.ArgumentParser(
        prog="torch-workflow-archiver",
        description="Package a workflow's files for serving. `flambeau archive-workflow` does the same.",
    )
    add = parser.add_argument
    add("--workflow-name", required=True, help="name of the workflow; the archive is named after it")
    add("--spec-file", required=True, type=Path, help="YAML with the models and the graph")
    add("--handler", type=Path, help="Python file with the functions of the graph")
    add("--export-path", type=Path, default=Path.cwd(), help="directory to write to; the current one if not given")
    add("-f", "--force", action="store_true", help="replace an archive that exists")
    add("--extra-files", help="comma-separated files, directories (their content is taken) and patterns")
    return parser
