"""The time stamp at the beginning of every line, and how text from outside is kept from forging one."""

from __future__ import annotations

import time
from functools import lru_cache

STAMP_CHARS = len("2026-01-31T12:00:00,123")

# Control characters and the line ends of Unicode; a tab does no harm.
_CONTROLS = {
    code: chr(code).encode("unicode_escape").decode() for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)
}
del _CONTROLS[ord("\t")]


@lru_cache(maxsize=16)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(second))


@lru_cache(maxsize=256)
def _millisecond(milliseconds: int) -> str:
    second, rest = divmod(milliseconds, 1000)
    return f"{_second(second)},{rest:03d}"


def stamp(seconds: float) -> str:
    """Local time of ``seconds`` since the epoch: ``2026-01-31T12:00:00,123``. Cheap for times close together."""
    return _millisecond(int(seconds * 1000))


def one_line(text: str) -> str:
    """The text with control characters and line ends written as escapes (``\\x1b``, ``\\n``)."""
    return text if text.isprintable() else text.translate(_CONTROLS)


def one_entry(text: str) -> str:
    """The text, which may have several lines: all but the first begin with a tab, so that none looks like an entry."""
    if text.isprintable():
        return text
    return "\n\t".join(one_line(line) for line in text.replace("\r\n", "\n").split("\n"))
