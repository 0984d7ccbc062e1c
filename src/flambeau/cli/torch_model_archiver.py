"""The ``torch-model-archiver`` command: its options, messages and exit codes over Flambeau's archive writer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flambeau.archive.manifest import RUNTIMES
from flambeau.archive.plan import FORMAT_SUFFIXES, ArchiveSpec, plan_archive
from flambeau.archive.writer import write_plan
from flambeau.cli.failures import EXIT_FAILURE
from flambeau.errors import PackagingError


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code: 0 or 1. Wrong usage ends the process with 2, as argparse does."""
    options = vars(_parser().parse_args(arguments))
    extra_files = options.pop("extra_files") or ""
    try:
        plan = plan_archive(ArchiveSpec(**options, extra_files=tuple(extra_files.split(","))))
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
    """Options that are named like the fields of :class:`ArchiveSpec`."""
    parser = argparse.ArgumentParser(
        prog="torch-model-archiver",
        description="Package a model's files for serving. `flambeau archive` does the same and shows progress.",
    )
    add = parser.add_argument
    add("--model-name", required=True, help="name of the model; the archive is named after it")
    add("--serialized-file", type=Path, help="weights or compiled model: .pt, .pth, .onnx, .so, ...")
    add("--model-file", type=Path, help="Python file with the model's class, where weights need one")
    add("--handler", required=True, help="built-in handler, or file.py[:function]")
    add("--extra-files", help="comma-separated files, directories (their content is taken) and patterns")
    add("--runtime", default="python", choices=RUNTIMES, help="language of the handler; python if not given")
    add("--export-path", type=Path, default=Path.cwd(), help="directory to write to; the current one if not given")
    add("--archive-format", default="default", choices=FORMAT_SUFFIXES, help="default: .mar; tgz: .tar.gz; ...")
    add("-f", "--force", action="store_true", help="replace an archive that exists")
    add("-v", "--version", required=True, help="version of the model")
    add("-r", "--requirements-file", type=Path, help="what pip is to install for the model")
    add("-c", "--config-file", type=Path, help="model YAML")
    return parser
