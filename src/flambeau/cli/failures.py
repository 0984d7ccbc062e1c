"""How commands report what went wrong: one line for the problem, one for what to do about it."""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence

from flambeau.config.settings import SERVER_SETTINGS
from flambeau.errors import ConfigError, FlambeauError

EXIT_FAILURE = 1
"""Something went wrong while the command was at work."""
EXIT_USAGE = 2
"""The command cannot work with what it was given."""

_HINTS_BY_ERRNO = {
    errno.EADDRINUSE: "another program listens there: stop it, or choose another port (0 takes any free one)",
    errno.EADDRNOTAVAIL: "this machine has no such address: 127.0.0.1 is local, 0.0.0.0 is every one it has",
    errno.EACCES: "check the permissions; ports below 1024 are for the superuser",
    errno.ENOSPC: "make room on the disk, or name another folder with --log-dir",
}


class UsageProblem(FlambeauError):
    """The command line asks for something that cannot be done."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def report(error: FlambeauError | OSError) -> int:
    """Print an error to stderr; returns the exit code."""
    print_error(_message(error), _hint(error))
    return EXIT_USAGE if isinstance(error, ConfigError | UsageProblem) else EXIT_FAILURE


def _message(error: FlambeauError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror:  # without Python's "[Errno 98]"
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return str(error)


def _hint(error: FlambeauError | OSError) -> str:
    if isinstance(error, ConfigError):
        if error.key.startswith("--"):
            return ""
        setting = SERVER_SETTINGS.get(error.key)
        if setting is None or setting.without_effect:
            return "flambeau serve --show-config lists every setting"
        return f"{setting.key}: {setting.type.name}. {setting.help}".replace("`", "")
    if isinstance(error, OSError) and error.errno is not None:
        return _HINTS_BY_ERRNO.get(error.errno, "")
    return str(getattr(error, "hint", ""))


def print_error(message: str, hint: str = "") -> None:
    """Print a problem as one line, and the hint, if there is one, below it."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    if hint:
        print(f"  hint: {hint}", file=sys.stderr)


def print_warnings(warnings: Sequence[str]) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
