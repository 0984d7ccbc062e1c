"""What commands print: tables, and values that came from elsewhere, which must not drive the terminal."""

from __future__ import annotations

import codecs
import json
import re
import sys
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def console(*, stderr: bool = False) -> Console:
    """Prints text as it is, with neither markup nor guessed colours; one line a row where it is no terminal."""
    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=False)
    if not made.is_terminal:
        made.width = 1000
    return made


def table(*columns: str) -> Table:
    return Table(*columns, box=None, pad_edge=False, header_style="bold")


def harmless(text: str) -> str:
    """The text with control characters, tabs and line ends excepted, written as escapes."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def show_answer(body: bytes, content_type: str) -> bool:
    """Print an answer for people, on a terminal. Returns False, and prints nothing, where it is not text."""
    out = console()
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type.endswith("json") or not media_type:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            pass
        else:
            if isinstance(document, (dict, list)):
                out.print_json(json.dumps(document), ensure_ascii=False)
                return True
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return False
    if "\0" in text:
        return False
    out.print(harmless(text), end="" if text.endswith("\n") else "\n", soft_wrap=True)
    return True


def part_writer() -> Callable[[bytes], None]:
    """Prints text that comes in parts on a terminal, as it comes."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def write(part: bytes) -> None:
        sys.stdout.write(harmless(decode(part)))
        sys.stdout.flush()

    return write


def write_raw(body: bytes) -> None:
    """Write bytes to stdout as they are, at once."""
    sys.stdout.flush()
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()
