"""``flambeau debug``: run a model's handler in this terminal and see what each stage does."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from flambeau.archive.described import described_manifest, exists
from flambeau.cli.display import console
from flambeau.cli.failures import EXIT_FAILURE, UsageProblem
from flambeau.cli.inputs import STANDARD_INPUT, gather_inputs
from flambeau.watching import WatchedFiles


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("debug", no_args_is_help=True)(debug)


def debug(
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Archive, folder, file.py:object or a pipeline's description.")
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option("-i", "--input", metavar="FILE", help="What to ask it; several are a batch. - is standard input."),
    ] = None,
    data: Annotated[str | None, typer.Option("-d", "--data", metavar="TEXT", help="Ask it this text.")] = None,
    content_type: Annotated[
        str | None, typer.Option(help="Media type of the input.", show_default="guessed from the file's name")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Ask for an explanation instead.")] = False,
    handler: Annotated[
        str | None, typer.Option(help="Handler, file.py[:function].", show_default="the manifest's")
    ] = None,
    device: Annotated[str, typer.Option(metavar="cpu|cuda|cuda:N", help="Where to run it.")] = "cpu",
    envelope: Annotated[str | None, typer.Option(help="Service envelope, such as kserve.")] = None,
    repeats: Annotated[
        int, typer.Option("--repeat", min=1, metavar="N", help="Ask N times, and say how long each stage took.")
    ] = 1,
    post_mortem: Annotated[
        bool, typer.Option("--pdb", help="Where something is raised, open the debugger at the line that did.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Do it again whenever a file of the model is saved.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object; what the handler prints goes to stderr.")
    ] = False,
) -> int:
    """Run a model's handler in this terminal: no server, no worker, so that breakpoint() works.

    Prints what each stage is given and gives, how long it takes, the answer as a client would get it and the metrics
    recorded; where something is raised, the whole traceback. Without an input, the model is only loaded.
    """
    source = Path.cwd() / model
    if not exists(source):
        raise UsageProblem(f"model not found: {model}", "name an archive, folder, file.py:object or pipeline's YAML")
    asked = gather_inputs(inputs or [], text=data, content_type=content_type)
    if watch:
        if STANDARD_INPUT in (inputs or []):
            raise UsageProblem("standard input can be read once, and --watch asks again", "name a file")
        _watch(_again(context), source, [Path.cwd() / name for name in inputs or []])
    # Here, so that other commands need not load what runs models.
    from flambeau.cli.debug_output import JsonOutput, TerminalOutput
    from flambeau.debug.rerun import leave_when_asked
    from flambeau.debug.run import DebugPlan, run

    leave_when_asked()
    plan = DebugPlan(
        source=source,
        rows=[(one.content_type, one.read()) for one in asked],
        repeats=repeats,
        explain=explain,
        handler=handler,
        device=device,
        envelope=envelope,
    )
    output = JsonOutput() if as_json else TerminalOutput(post_mortem=post_mortem)
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        run(plan, output)
    output.finish()
    return EXIT_FAILURE if output.has_failed else 0


def _again(context: typer.Context) -> list[str]:
    """The command line that does the same once."""
    words = [sys.executable, "-m", "flambeau", "debug"]
    for parameter in context.command.params:
        value = context.params[parameter.name or ""]
        if parameter.param_type_name == "option" and parameter.name != "watch":
            for one in value if isinstance(value, (list, tuple)) else [value]:
                if one not in (None, False):
                    words += [parameter.opts[-1]] if one is True else [f"{parameter.opts[-1]}={one}"]
    return [*words, "--", context.params["model"]]


def _watch(command: Sequence[str], source: Path, inputs: Sequence[Path]) -> NoReturn:
    """Run it again and again; Ctrl-C ends it."""
    from flambeau.debug.rerun import rerun_on_change

    out = console(stderr=True)
    root = source if described_manifest(source, None, None) is None else source.parent
    watched = WatchedFiles([root, *inputs])
    rerun_on_change(
        command,
        watched,
        on_pause=lambda: out.print(f"\nwatching {source}; Ctrl-C ends", style="dim", soft_wrap=True),
        on_change=lambda path: out.print(
            f"\n{datetime.now():%H:%M:%S} {path} has changed", style="bold", soft_wrap=True
        ),
    )
