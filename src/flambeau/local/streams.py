"""Results that come in parts: a handler's generators, run by the worker that has the batch."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any


def run_streams(generators: dict[int, Generator[Any, Any, Any]], emit: Callable[[int, Any], bool]) -> dict[int, Any]:
    """Run the generators of a batch in turns, one part of each at a time, so that all streams move on together.

    Args:
        generators: by row.
        emit: takes a part of a row; returns whether more are wanted.

    Returns:
        By row: None for a generator that came to its end or was no longer wanted, else the exception that it raised.
    """
    ends: dict[int, Any] = {}
    while generators:
        for row, generator in list(generators.items()):
            try:
                part = next(generator)
                if emit(row, part):
                    continue
                generator.close()
                ends[row] = None
            except StopIteration:
                ends[row] = None
            except Exception as error:  # the border to user code: one row's generator fails, the others go on
                ends[row] = error
            del generators[row]
    return ends
