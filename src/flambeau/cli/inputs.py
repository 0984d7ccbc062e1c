"""What is sent to a model: files, standard input, or values of the command line."""

from __future__ import annotations

import json
import mimetypes
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flambeau.cli.failures import UsageProblem

STANDARD_INPUT = "-"
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
UNKNOWN = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Input:
    """One request's body."""

    name: str
    """For people: the file's path, or where the value comes from."""
    content_type: str
    read: Callable[[], bytes]
    """Raises OSError."""


def gather_inputs(
    files: Sequence[str], *, text: str | None = None, json_text: str | None = None, content_type: str | None = None
) -> list[Input]:
    """The inputs that a command line names, files first. Files are read when they are sent; standard input is read now.

    Args:
        content_type: of all of them; None: that of each, which is guessed from a file's name.

    Raises:
        UsageProblem: a file cannot be read, or the JSON is none.
    """
    inputs = [_of_file(name, content_type) for name in files]
    if text is not None:
        inputs.append(_of_value("-d", text, content_type or TEXT))
    if json_text is not None:
        try:
            json.loads(json_text)
        except (ValueError, RecursionError) as error:
            raise UsageProblem(f"--json {json_text}: not JSON: {error}", "-d sends text as it is") from None
        inputs.append(_of_value("--json", json_text, content_type or JSON))
    return inputs


def guess_content_type(name: str) -> str:
    """By the suffix of a file's name."""
    guessed, encoding = mimetypes.guess_type(name)
    return UNKNOWN if guessed is None or encoding is not None else guessed


def _of_file(name: str, content_type: str | None) -> Input:
    if name == STANDARD_INPUT:
        body = sys.stdin.buffer.read()
        return Input("standard input", content_type or UNKNOWN, lambda: body)
    path = Path(name)
    try:
        with path.open("rb"):
            pass
    except IsADirectoryError:
        raise UsageProblem(f"{name} is a folder", f"name the files: {name.rstrip('/')}/*") from None
    except FileNotFoundError:
        raise UsageProblem(f"{name}: no such file", "-d sends text, --json a JSON value") from None
    except OSError as error:
        raise UsageProblem(f"{name}: {error.strerror}", "") from None
    return Input(name, content_type or guess_content_type(name), path.read_bytes)


def _of_value(name: str, value: str, content_type: str) -> Input:
    body = value.encode(errors="surrogateescape")
    return Input(name, content_type, lambda: body)
