"""A command that is run again whenever files change, each time as a process of its own."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from flambeau.watching import WatchedFiles

LEAVE = signal.SIGUSR1
"""Asks a run to end, because its files have changed."""

_POLL_S = 0.2
_DEBUGGER = "bdb"
"""The module that every debugger for the terminal stands on: it is on the stack while one waits for a command."""


def leave_when_asked() -> None:
    """Have this process end when it is asked to, unless somebody is in a debugger."""

    def leave(number: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_globals.get("__name__") == _DEBUGGER:
                return
            frame = frame.f_back
        raise SystemExit(0)

    signal.signal(LEAVE, leave)


def rerun_on_change(
    command: Sequence[str], watched: WatchedFiles, on_pause: Callable[[], None], on_change: Callable[[Path], None]
) -> NoReturn:
    """Run a command now and after every change, until Ctrl-C while it does not run.

    A run under way when files change is asked to end, which it does not do while somebody debugs it; it then goes on to
    its end. Ctrl-C during a run is for the run.

    Args:
        on_pause: told that a run is over.
        on_change: told the first file that has changed before a run begins again.
    """
    changes: list[Path] = []
    while True:
        _run(command, watched, changes)
        if not changes:
            on_pause()
        while not changes:
            time.sleep(_POLL_S)
            changes += watched.changes()
        while watched.changes():  # until what is being written has been written
            time.sleep(_POLL_S)
        on_change(changes[0])
        changes.clear()


def _run(command: Sequence[str], watched: WatchedFiles, changes: list[Path]) -> None:
    with _left_to_the_run(), subprocess.Popen(command) as process:
        while True:
            try:
                process.wait(_POLL_S)
                return
            except subprocess.TimeoutExpired:
                new = watched.changes()
                if new:
                    changes += new
                    process.send_signal(LEAVE)


@contextmanager
def _left_to_the_run() -> Iterator[None]:
    """Ctrl-C reaches both processes; meanwhile it does nothing in this one."""
    before = signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN, which the run would inherit
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
