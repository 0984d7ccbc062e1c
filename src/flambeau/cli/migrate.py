"""``flambeau migrate``: what of a TorchServe installation runs here, and what to change."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from flambeau.cli.display import console
from flambeau.cli.failures import EXIT_FAILURE, UsageProblem
from flambeau.cli.migrate_report import markdown, print_report

_TRIAL_TIMEOUT_S = 120.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("migrate", no_args_is_help=True)(migrate)


def migrate(
    store: Annotated[Path, typer.Argument(metavar="MODEL_STORE", help="Folder of the archives.")],
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Properties file.", show_default="config.properties here, if there is one"),
    ] = None,
    no_run: Annotated[bool, typer.Option("--no-run", help="Only read; do not try to load each handler.")] = False,
    timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="For how long each handler may load.")
    ] = _TRIAL_TIMEOUT_S,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Also write the report here, as Markdown.")
    ] = None,
) -> int:
    """Read a TorchServe installation: model by model, what works, what differs and what to change.

    Each handler is loaded once, in a process of its own; nothing is written to the store. Exits with 0 if everything
    runs as it is, with 1 if something needs attention. Run it in the folder that you start the server in.
    """
    from flambeau.migrate.installation import Installation, examine, model_names  # here: other commands start faster

    _check(store, config, output)
    names = model_names(store)
    if not names:
        raise UsageProblem(f"no models in {store}", "name the folder of the .mar archives")
    default = Path("config.properties")
    properties = config if config is not None else default if default.is_file() else None
    installation = Installation(store=store.absolute(), properties=properties, cwd=Path.cwd())
    with _progress_bar(len(names)) as advance:
        report = examine(installation, trial_timeout_s=None if no_run else timeout, on_model=advance)
    if output is not None:
        output.write_text(markdown(report), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=2))
    else:
        print_report(report)
    return EXIT_FAILURE if report.needs_attention else 0


def _check(store: Path, config: Path | None, output: Path | None) -> None:
    """
    Raises:
        UsageProblem: a path is not what it should be.
    """
    if not store.is_dir():
        problem = "is not a folder" if store.exists() else "is not there"
        raise UsageProblem(f"model store {store} {problem}", "name the folder of the .mar archives")
    if config is not None and not config.is_file():
        problem = "is a folder" if config.is_dir() else "is not there"
        raise UsageProblem(f"properties file {config} {problem}", "name TorchServe's config.properties")
    if output is not None and (output.is_dir() or not output.absolute().parent.is_dir()):
        raise UsageProblem(f"--output {output} cannot be written", "name a file in a folder that is there")


@contextmanager
def _progress_bar(count: int) -> Iterator[Callable[[str], None]]:
    """A bar on stderr, where that is a terminal."""
    bar_console = console(stderr=True)
    if not bar_console.is_terminal:
        yield lambda name: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=bar_console, transient=True) as bar:
        row = bar.add_task("models", total=count)
        begun = iter(range(count))
        yield lambda name: bar.update(row, description=name, completed=next(begun, count))
