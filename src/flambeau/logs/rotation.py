"""A file that is put aside when it grows too large or the day changes, under TorchServe's names."""

from __future__ import annotations

import gzip
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_COMPRESSION_LEVEL = 1  # logs shrink to about a tenth at any level; this one is the fastest
_COPY_BYTES = 2**20


def _day(seconds: float) -> tuple[int, int, int]:
    """Year, month and day of the month, local time."""
    moment = time.localtime(seconds)
    return moment.tm_year, moment.tm_mon, moment.tm_mday


class RotatingFile:
    """A file to append to, for one thread at a time.

    When it is put aside it becomes ``<name>.<dd-MMM>.log.gz``, and ``<name>.<dd-MMM>.1.log.gz`` where the day has one.

    Raises:
        OSError: the file or its folder cannot be made or written.
    """

    def __init__(self, path: Path, *, max_bytes: int, backups: int, wall_clock: Callable[[], float]) -> None:
        """``backups`` is how many files that were put aside are kept. ``wall_clock`` gives seconds since the epoch."""
        self.path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._wall_clock = wall_clock
        self._is_torn = False
        self._compression: threading.Thread | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = self._open()

    def _open(self) -> int:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        status = os.fstat(descriptor)
        self._size_bytes = status.st_size
        # A file that an earlier run left belongs to the day of its last line.
        self._day = _day(status.st_mtime if status.st_size else self._wall_clock())
        return descriptor

    def write(self, data: bytes) -> None:
        """Append whole lines, after putting the file aside if that is due.

        Raises:
            OSError: the data is not written, or only its beginning.
        """
        if self._size_bytes:
            if self._size_bytes + len(data) > self._max_bytes or self._day != _day(self._wall_clock()):
                self._put_aside()
        else:
            self._day = _day(self._wall_clock())
        rest = memoryview(b"\n" + data if self._is_torn else data)
        while rest:
            written = os.write(self._descriptor, rest)
            self._size_bytes += written
            self._is_torn = written < len(rest)  # a disk that fills up ends in the middle of a line
            rest = rest[written:]

    def _put_aside(self) -> None:
        aside = self._free_name()
        with suppress(FileNotFoundError):  # someone else has moved it
            self.path.rename(aside)
        full, self._descriptor = self._descriptor, self._open()
        os.close(full)
        self._is_torn = False
        self._wait_for_compression()
        # A thread of its own: a hundred megabytes take a second, in which lines go on coming.
        self._compression = threading.Thread(target=self._compress, args=(aside,), name="log-compression", daemon=True)
        self._compression.start()

    def _free_name(self) -> Path:
        _, month, day = self._day
        for number in count():
            ending = f".{number}" if number else ""
            name = self.path.with_name(f"{self.path.stem}.{day:02d}-{_MONTHS[month - 1]}{ending}{self.path.suffix}")
            if not name.exists() and not _compressed(name).exists():
                return name
        raise AssertionError("this is a bug: count() ended")

    def _compress(self, aside: Path) -> None:
        unfinished = aside.with_name(f"{aside.name}.part")
        try:
            with aside.open("rb") as source, gzip.open(unfinished, "wb", _COMPRESSION_LEVEL) as target:
                shutil.copyfileobj(source, target, _COPY_BYTES)
            unfinished.rename(_compressed(aside))
            aside.unlink()
        except OSError:  # most often the disk is full: the file stays as it is, and counts as one put aside
            unfinished.unlink(missing_ok=True)
        self._remove_oldest()

    def _remove_oldest(self) -> None:
        kept = []
        for path in self.path.parent.glob(f"{self.path.stem}.*{self.path.suffix}*"):
            with suppress(OSError):
                kept.append((path.stat().st_mtime_ns, path))
        for _, path in sorted(kept, reverse=True)[self._backups :]:
            with suppress(OSError):
                path.unlink()

    def _wait_for_compression(self) -> None:
        if self._compression is not None:
            self._compression.join()

    def close(self) -> None:
        """Close the file, and wait until one that was put aside is compressed."""
        os.close(self._descriptor)
        self._wait_for_compression()


def _compressed(path: Path) -> Path:
    return path.with_name(f"{path.name}.gz")
