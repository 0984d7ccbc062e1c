"""Files that change, found by looking at them from time to time: works on every file system, and needs no package."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

POLL_S = 0.5
MAX_FILES = 10_000
"""Of one folder; a model has a few dozen, and to look at more every time would slow the machine down."""

_SOURCES = (".py", ".yaml", ".yml", ".toml", ".json", ".txt", ".model", ".vocab")
_WEIGHTS = (".pt", ".pth", ".pt2", ".bin", ".onnx", ".so", ".safetensors")
_SUFFIXES = frozenset((*_SOURCES, *_WEIGHTS))
"""Of files that make up a model. What handlers and servers write beside them, logs above all, is no change of it."""
_PASSED_OVER = frozenset(("__pycache__", "node_modules", "site-packages"))
_VENV_MARK = "pyvenv.cfg"

_State = tuple[int, int, int]
"""Time of the last change, size and number of a file: an editor that saves into a new file changes the number."""


class WatchedFiles:
    """Files, and the model's files in folders."""

    def __init__(self, roots: Iterable[Path], ignored: Iterable[Path] = (), *, since_s: float = math.inf) -> None:
        """What is there now is known.

        Args:
            roots: files and folders, of which some may not exist yet.
            ignored: files and folders within them that are not looked at.
            since_s: seconds since the epoch; what was written later than that is not known.
        """
        self._roots = [Path(os.path.abspath(root)) for root in roots]
        self._ignored = {os.path.abspath(path) for path in ignored}
        self._known = {path: state for path, state in self._look() if state[0] <= since_s * 1e9}

    def changes(self) -> list[Path]:
        """Files that were made, changed or removed since the last call, sorted."""
        known, self._known = self._known, dict(self._look())
        return sorted(
            Path(path) for path in known.keys() | self._known.keys() if known.get(path) != self._known.get(path)
        )

    def _look(self) -> Iterator[tuple[str, _State]]:
        for root in self._roots:
            if root.is_dir():
                yield from self._look_into(str(root), [MAX_FILES])
            else:
                yield from _state(str(root))

    def _look_into(self, folder: str, room: list[int]) -> Iterator[tuple[str, _State]]:
        """``room``: in its one item, how many more files there may be."""
        try:
            entries = list(os.scandir(folder))
        except OSError:
            return  # it has gone, or is none of our business
        if any(entry.name == _VENV_MARK for entry in entries):
            return
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _PASSED_OVER or entry.path in self._ignored:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self._look_into(entry.path, room)
            elif os.path.splitext(entry.name)[1] in _SUFFIXES:
                if room[0] <= 0:
                    return
                room[0] -= 1
                yield from _state(entry.path)


def _state(path: str) -> Iterator[tuple[str, _State]]:
    try:
        status = os.stat(path)
    except OSError:
        return
    yield path, (status.st_mtime_ns, status.st_size, status.st_ino)
