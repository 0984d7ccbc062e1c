"""``flambeau logs``: what a server has logged, all logs in one."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable
from contextlib import ExitStack, closing
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice, takewhile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from flambeau.cli.display import console, harmless
from flambeau.cli.failures import UsageProblem
from flambeau.cli.log_lines import FILES, Entry, LogKind
from flambeau.cli.log_reading import Follower, entries_backwards
from flambeau.config.sources import CONFIG_FILE, load_server_config

_DEFAULT_LINES = 50
_POLL_S = 0.2
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION = re.compile(r"(\d{1,6})([smhd])")
_STYLES = {"WARN": "yellow", "ERROR": "red", "FATAL": "bold red"}
_DEFAULT_KINDS = (LogKind.SERVER, LogKind.MODEL, LogKind.ACCESS)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("logs")(logs)


def logs(
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes, until Ctrl-C.")] = False,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="Only what is about this model.")] = None,
    kind: Annotated[
        list[LogKind] | None, typer.Option(help="Only this log; may be repeated.", show_default="all but metrics")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Everything from then on: 30s, 10m, 2h or 1d ago, or 2026-01-31T12:00."),
    ] = None,
    lines: Annotated[
        int | None, typer.Option("-n", "--lines", min=0, help="The last so many entries.", show_default="50")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each entry.")] = False,
    log_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder of the logs.", show_default="as the server's settings say")
    ] = None,
    config: Annotated[
        str | None, typer.Option(metavar="FILE", help="Properties file of the server, which may name the folders.")
    ] = None,
) -> None:
    """Show what a server has logged: all logs in one, in order of time."""
    begin = None if since is None else _begin(since, datetime.now())
    if lines is None and begin is None:
        lines = _DEFAULT_LINES
    sources = [(of_kind, path) for of_kind in kind or _DEFAULT_KINDS for path in _paths(of_kind, log_dir, config)]
    if not any(path.exists() for _, path in sources):
        folders = " and ".join(sorted({str(path.parent) for _, path in sources}))
        raise UsageProblem(f"no logs in {folders}", "say where the server writes them with --log-dir")
    printer = _print_json if as_json else _Printer(console())
    with ExitStack() as opened:
        followers = [opened.enter_context(closing(Follower(*source))) for source in sources]
        ends = [follower.seen_bytes for follower in followers]
        backlog = merge(
            *(entries_backwards(*source, end) for source, end in zip(sources, ends, strict=True)),
            key=lambda entry: entry.time,
            reverse=True,
        )
        wanted = (entry for entry in _since(backlog, begin) if model is None or entry.is_about(model))
        for entry in reversed(list(islice(wanted, lines))):
            printer(entry)
        while follow:
            time.sleep(_POLL_S)
            new = [entry for follower in followers for entry in follower.new_entries()]
            for entry in sorted(new, key=lambda entry: entry.time):
                if model is None or entry.is_about(model):
                    printer(entry)


def _since(newest_first: Iterable[Entry], begin: datetime | None) -> Iterable[Entry]:
    return newest_first if begin is None else takewhile(lambda entry: entry.time >= begin, newest_first)


def _begin(since: str, now: datetime) -> datetime:
    """
    Raises:
        UsageProblem: it is neither a duration nor a time.
    """
    duration = _DURATION.fullmatch(since)
    try:
        if duration is not None:
            return now - timedelta(**{_UNITS[duration[2]]: int(duration[1])})
        begin = datetime.fromisoformat(since)
    except (ValueError, OverflowError):
        raise UsageProblem(f"--since {since}: no time", "write 30s, 10m, 2h or 1d, or 2026-01-31T12:00") from None
    return begin if begin.tzinfo is None else begin.astimezone().replace(tzinfo=None)


def _paths(kind: LogKind, log_dir: str | None, config: str | None) -> list[Path]:
    """The files of one log, where a server with these settings, started here, writes them.

    Raises:
        ConfigError: a setting cannot be used.
    """
    named = {"log_dir": log_dir, "metrics_dir": log_dir, CONFIG_FILE: config}
    given = {key: value for key, value in named.items() if value is not None}
    settings = load_server_config(cli=given, environ=os.environ, cwd=Path.cwd(), use_snapshots=False).config
    folder = settings.metrics_dir or settings.log_dir if kind is LogKind.METRICS else settings.log_dir
    return [folder / name for name in FILES[kind]]


class _Printer:
    """Prints entries for people."""

    def __init__(self, out: Console) -> None:
        self._out = out

    def __call__(self, entry: Entry) -> None:
        place = f"{entry.place} " if entry.kind in (LogKind.MODEL, LogKind.SERVER) and entry.place else ""
        text = Text()
        text.append(f"{entry.time:%Y-%m-%d %H:%M:%S}.{entry.time.microsecond // 1000:03d} ", "dim")
        text.append(f"{entry.kind.value:<7}", "cyan")
        text.append(f" {entry.level:<5} " if entry.level else " ", _STYLES.get(entry.level, ""))
        text.append(place, "dim")
        text.append(harmless(entry.text), _STYLES.get(entry.level, ""))
        self._out.print(text, soft_wrap=True)


def _print_json(entry: Entry) -> None:
    print(json.dumps(entry.fields()), flush=True)
