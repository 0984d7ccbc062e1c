"""The ``flambeau`` command: puts the commands together, and turns errors into lines that help."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from flambeau.cli import archive, archive_workflow, debug, logs, migrate, models, predict, serve
from flambeau.cli.failures import EXIT_USAGE, print_error, report
from flambeau.errors import FlambeauError
from flambeau.version import __version__

EXIT_INTERRUPTED = 130
"""Ended by Ctrl-C, as shells count."""

# Typer has its own copy of click in some releases and uses the installed one in others; this finds the right class.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(name="flambeau", help="Serve PyTorch models.", pretty_exceptions_enable=False)
for command in (serve, predict, models, logs, archive, archive_workflow, debug, migrate):
    command.register(app)


@app.callback(invoke_without_command=True)
def flambeau(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if version:
        typer.echo(f"flambeau {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code: 0, 1 for failures at work, 2 for wrong usage or configuration."""
    command = typer.main.get_command(app)
    try:
        code = command.main(args=list(arguments), prog_name="flambeau", standalone_mode=False)
    except _UsageError as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "flambeau"
        print_error(error.format_message(), f"{path} --help")  # type: ignore[attr-defined]
        return EXIT_USAGE
    except (FlambeauError, OSError) as error:
        return report(error)
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    return code if isinstance(code, int) else 0
