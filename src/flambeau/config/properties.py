"""Java properties files, the format of ``config.properties`` and of snapshots. Pure: text in, values out.

A file is ISO-8859-1; other characters are written ``\\uXXXX``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from flambeau.errors import ConfigError

ENCODING = "iso-8859-1"

_BLANKS = " \t\f"
_LINE_END = re.compile(r"\r\n|\r|\n")
_TRAILING_BACKSLASHES = re.compile(r"\\*\Z")
_KEY = re.compile(r"(?:\\.|[^\\=: \t\f])*", re.DOTALL)
_SEPARATOR = re.compile(r"[ \t\f]*[=:]?[ \t\f]*")
_ESCAPE = re.compile(r"\\(?:u(?P<code>[0-9a-fA-F]{4})|(?P<character>.?))", re.DOTALL)
_CONTROL_CHARACTERS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_TO_ESCAPE = re.compile(r"[\\=:#!\t\n\r\f]|[^ -~]")


class Property(NamedTuple):
    """One entry of a file."""

    key: str
    value: str
    line: int
    """Where it begins, counted from 1."""


def parse_properties(text: str, source: str) -> list[Property]:
    """The entries of a file, in its order; a key that stands twice is there twice.

    Args:
        source: name of the file, for errors.

    Raises:
        ConfigError: a ``\\u`` that four hexadecimal digits do not follow.
    """
    entries = []
    for number, line in _logical_lines(text):
        key = _KEY.match(line).group()  # type: ignore[union-attr]  # the pattern matches the empty string
        value = line[_SEPARATOR.match(line, len(key)).end() :]  # type: ignore[union-attr]
        try:
            entries.append(Property(_unescape(key), _unescape(value), number))
        except ValueError as error:
            raise ConfigError(key, value, str(error), f"{source}:{number}") from None
    return entries


def format_properties(properties: Mapping[str, str]) -> str:
    """A file that parses to these entries; ASCII only."""
    lines = [f"{_escape(key, blanks=True)}={_escape(value, blanks=False)}\n" for key, value in properties.items()]
    return "".join(lines)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their continuations joined, without comments and empty lines, each with its first line's number."""
    begun: list[str] = []
    begun_at = 0
    for number, natural in enumerate(_LINE_END.split(text), start=1):
        line = natural.lstrip(_BLANKS)
        if not begun:
            if not line or line[0] in "#!":
                continue
            begun_at = number
        backslashes = _TRAILING_BACKSLASHES.search(line).group()  # type: ignore[union-attr]
        is_continued = len(backslashes) % 2 == 1
        begun.append(line[:-1] if is_continued else line)
        if not is_continued:
            yield begun_at, "".join(begun)
            begun = []
    if begun:
        yield begun_at, "".join(begun)


def _unescape(text: str) -> str:
    def replacement(match: re.Match[str]) -> str:
        if match["code"] is not None:
            return chr(int(match["code"], 16))
        if match["character"] == "u":
            raise ValueError("\\u needs four hexadecimal digits")
        return _CONTROL_CHARACTERS.get(match["character"], match["character"])

    unescaped = _ESCAPE.sub(replacement, text)
    # Characters beyond the basic plane are written as two escapes, a surrogate pair, as in Java.
    return unescaped.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _escape(text: str, *, blanks: bool) -> str:
    """Escape one key or value. A blank that begins a value, and any blank of a key, would be read as separator."""
    escaped = _TO_ESCAPE.sub(_escaped_character, text)
    if blanks:
        return escaped.replace(" ", "\\ ")
    return "\\" + escaped if escaped.startswith(" ") else escaped


def _escaped_character(match: re.Match[str]) -> str:
    character = match.group()
    for letter, control in _CONTROL_CHARACTERS.items():
        if character == control:
            return f"\\{letter}"
    if " " < character <= "~":
        return f"\\{character}"
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i] << 8 | units[i + 1]:04X}" for i in range(0, len(units), 2))
