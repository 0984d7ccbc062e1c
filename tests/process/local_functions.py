"""What worker processes of local models run in the tests: plain functions, which they import from here."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

_calls = 0


class OwnError(Exception):
    def __init__(self, row: object, reason: str) -> None:
        super().__init__(f"{row}: {reason}")
        self.row = row


def echo(rows):
    return rows


def types(rows):
    return [type(row).__name__ for row in rows]


def describe_arrays(rows):
    """Whether each lies in memory of its own, where, and its sum."""
    return [(row.flags.owndata, row.ctypes.data % 64, float(row.sum())) for row in rows]


def filled(rows):
    """An array for each ``(number, length)``."""
    return [np.full(length, number, dtype=np.float32) for number, length in rows]


def batch_sizes(rows):
    return [len(rows)] * len(rows)


def failing(rows):
    """Raises for a whole batch if "raise" is in it; returns an error for "return"."""
    if "raise" in rows:
        raise OwnError(rows.index("raise"), "bad batch")
    return [ValueError("bad row") if row == "return" else row for row in rows]


def unpicklable(rows):
    return [(lambda: None) if row else row for row in rows]


def deadly(rows):
    if "exit" in rows:
        print("these were my last words", flush=True)
        os._exit(7)
    return [os.getpid() for _ in rows]


def numbered(rows):
    """Answers each row with how many came before, and the size of its batch.

    Waits for a row that is a path until its file is there, and makes ``taken`` beside it first.
    """
    global _calls
    results = []
    for row in rows:
        if isinstance(row, Path):
            row.with_name("taken").touch()
            wait_for(row)
        results.append((_calls, len(rows)))
        _calls += 1
    return results


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.001)


def interrupting(rows):
    """Sends SIGINT to a process, then waits for a file."""
    for pid, path in rows:
        os.kill(pid, signal.SIGINT)
        wait_for(path)
    return rows


def counting_down(rows):
    for row in rows:
        if row < 0:
            raise ValueError("negative")
    return [_down_from(row) for row in rows]


def _down_from(number: int):
    while True:
        if number == 0:
            raise KeyError("zero")
        yield number
        number -= 1


class Unloadable:
    def __init__(self):
        print("about to fail", flush=True)
        raise RuntimeError("no weights")

    def __call__(self, rows):
        return rows


class Adder:
    def __init__(self):
        self.total = 0

    def __call__(self, rows):
        results = []
        for row in rows:
            self.total += row
            results.append(self.total)
        return results
