"""Results that come in parts: a handler's generators, run by the worker that has the batch."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

STREAMED = object()
"""The result of a row whose parts its reader has had."""

_END = object()


class PartReader(Iterator[Any]):
    """The parts of one row's result as they come. Closed or dropped before its end, it takes the row back."""

    _future: Future[Any] | None = None
    """None when it is over, or was interrupted while it was made."""

    def __init__(self, future: Future[Any], parts: SimpleQueue[Any], leave: Callable[[], object]) -> None:
        """
        Args:
            future: of the row; its result is :data:`STREAMED`, or the one part.
            parts: where they are put before the future is done.
            leave: has a worker stop that has begun with the row.
        """
        self._parts = parts
        self._leave = leave
        self._future = future
        future.add_done_callback(lambda _: parts.put(_END))

    def __next__(self) -> Any:
        if self._future is None:
            raise StopIteration
        part = self._parts.get()
        if part is not _END:
            return part
        self._parts.put(_END)  # for other threads that read it too
        future, self._future = self._future, None
        if future is None:  # closed while this waited
            raise StopIteration
        try:
            result = future.result()
        finally:
            del future  # else an error's traceback and the future would hold each other
        if result is STREAMED:
            raise StopIteration
        return result

    def close(self) -> None:
        """No more parts are wanted. From any thread; a reader that waits sees the end."""
        future, self._future = self._future, None
        if future is not None:
            if not future.cancel() and not future.done():
                self._leave()
            self._parts.put(_END)

    __del__ = close


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
            except BaseException as error:  # the border to user code: one row's generator fails, the others go on
                ends[row] = error
            del generators[row]
    return ends
