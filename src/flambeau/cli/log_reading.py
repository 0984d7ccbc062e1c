"""Log files from their end backwards, and as they grow."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from flambeau.cli.log_lines import Entry, LogKind, begin_entry

_BLOCK_BYTES = 64 * 1024


def entries_backwards(kind: LogKind, path: Path, until: int | None = None) -> Iterator[Entry]:
    """A log's entries, the newest first; after those of the file those that were put aside, which may be compressed.

    Block by block, so that the newest entries of a large file are there at once. A file that is gone by the time it is
    read, because logs rotate, is left out.

    Args:
        until: the end of the file, in bytes, if what comes behind is not wanted.
    """
    for part in (path, *_put_aside(path)):
        try:
            with part.open("rb") as file:
                if part.suffix == ".gz":
                    lines: Iterable[bytes] = reversed(gzip.decompress(file.read()).split(b"\n"))
                else:
                    lines = _lines_backwards(file, until if part is path else None)
                yield from _entries_of(kind, lines)
        except (FileNotFoundError, EOFError, gzip.BadGzipFile):
            continue


class Follower:
    """Finds what is added to a log, across its rotation."""

    def __init__(self, kind: LogKind, path: Path) -> None:
        """What is there now has been seen."""
        self._kind = kind
        self._path = path
        self._file = self._open()
        self.seen_bytes = 0 if self._file is None else self._file.seek(0, os.SEEK_END)
        """Size of the file when this was made."""
        self._cut = b""
        """The beginning of a line that is not whole yet."""
        self._open_entry: Entry | None = None
        """The newest one, to which further lines may still come."""

    def new_entries(self) -> list[Entry]:
        """What has been added since the last call. The newest entry is held back until nothing has been added to it
        between two calls."""
        data = self._read()
        if not data:
            held, self._open_entry = self._open_entry, None
            return [] if held is None else [held]
        *lines, self._cut = (self._cut + data).split(b"\n")
        entries = []
        for line in lines:
            begun = begin_entry(self._kind, _text(line))
            if begun is not None:
                if self._open_entry is not None:
                    entries.append(self._open_entry)
                self._open_entry = begun
            elif self._open_entry is not None:
                self._open_entry.lines.append(_text(line))
        return entries

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _read(self) -> bytes:
        data = b"" if self._file is None else self._file.read()
        if not data and self._has_rotated():
            self.close()
            self._file = self._open()
            data = b"" if self._file is None else self._file.read()
        return data

    def _has_rotated(self) -> bool:
        """Whether another file has the name by now, or what was read is gone from it."""
        try:
            now = self._path.stat()
        except OSError:
            return False
        if self._file is None:
            return True
        opened = os.fstat(self._file.fileno())
        return (now.st_dev, now.st_ino) != (opened.st_dev, opened.st_ino) or now.st_size < self._file.tell()

    def _open(self) -> BinaryIO | None:
        try:
            return self._path.open("rb")
        except FileNotFoundError:
            return None


def _put_aside(path: Path) -> list[Path]:
    """Earlier files of a log, the newest first."""
    found = []
    for part in path.parent.glob(f"{path.stem}.*{path.suffix}*"):
        try:
            if part != path and part.suffix in (".gz", path.suffix):
                found.append((part.stat().st_mtime_ns, part))
        except FileNotFoundError:
            continue
    return [part for _, part in sorted(found, reverse=True)]


def _entries_of(kind: LogKind, lines_backwards: Iterable[bytes]) -> Iterator[Entry]:
    """The newest first. Lines that belong to no entry, at the beginning of the file, are left out."""
    further: list[str] = []
    for line in lines_backwards:
        if not line:
            continue
        begun = begin_entry(kind, _text(line))
        if begun is None:
            further.append(_text(line))
            continue
        begun.lines.extend(reversed(further))
        further.clear()
        yield begun


def _lines_backwards(file: BinaryIO, until: int | None) -> Iterator[bytes]:
    place = file.seek(0, os.SEEK_END)
    if until is not None:
        place = min(place, until)
    cut = b""
    while place > 0:
        size = min(_BLOCK_BYTES, place)
        place -= size
        file.seek(place)
        cut, *lines = (file.read(size) + cut).split(b"\n")
        yield from reversed(lines)
    yield cut


def _text(line: bytes) -> str:
    return line.decode(errors="replace")
