"""Many rows through a local model or pipeline, several at a time."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future
from contextlib import ExitStack
from queue import SimpleQueue
from typing import Any, Protocol

from flambeau.errors import ConfigError, QueueFull


class SubmitRow(Protocol):
    """``LocalCallable.submit_row`` of a model or pipeline."""

    def __call__(self, row: Any, number: int, *, timeout_s: float | None = None, priority: int = 0) -> Future[Any]: ...


def mapped(
    name: str,
    submit_row: SubmitRow,
    rows: Iterable[Any],
    *,
    ordered: bool,
    timeout_s: float | None,
    priority: int,
    return_exceptions: bool,
    window: int,
    progress: bool | None,
) -> Iterator[Any]:
    """See :meth:`~flambeau.local.calls.LocalCallable.map`. An iterator that is closed takes back what is under way."""
    if window < 1:
        raise ConfigError("window", window, "must be at least 1")
    source = enumerate(rows)
    collect = _InOrder() if ordered else _AsTheyCome()
    with ExitStack() as stack:
        advance = stack.enter_context(_Progress(name, rows, progress))
        stack.callback(collect.cancel)
        is_exhausted = False
        while True:
            while not is_exhausted and len(collect) < window:
                numbered = next(source, None)
                if numbered is None:
                    is_exhausted = True
                    break
                number, row = numbered
                while True:
                    try:
                        collect.add(submit_row(row, number, timeout_s=timeout_s, priority=priority))
                        break
                    except QueueFull:  # others use the model too: wait for one of ours to make room
                        if not len(collect):
                            raise
                        yield _result(collect.take(), return_exceptions)
                        advance()
            if not len(collect):
                return
            yield _result(collect.take(), return_exceptions)
            advance()


def _result(future: Future[Any], return_exceptions: bool) -> Any:
    if return_exceptions and (error := future.exception()) is not None:
        return error
    try:
        return future.result()
    finally:
        del future  # else an error's traceback and this frame would hold each other


class _InOrder:
    """Futures in the order in which they were added."""

    def __init__(self) -> None:
        self._futures: deque[Future[Any]] = deque()

    def __len__(self) -> int:
        return len(self._futures)

    def add(self, future: Future[Any]) -> None:
        self._futures.append(future)

    def take(self) -> Future[Any]:
        """The first. May not be done yet."""
        return self._futures.popleft()

    def cancel(self) -> None:
        while self._futures:
            self._futures.pop().cancel()


class _AsTheyCome:
    """Futures in the order in which they are done."""

    def __init__(self) -> None:
        self._done: SimpleQueue[Future[Any]] = SimpleQueue()
        self._futures: set[Future[Any]] = set()

    def __len__(self) -> int:
        return len(self._futures)

    def add(self, future: Future[Any]) -> None:
        self._futures.add(future)
        future.add_done_callback(self._done.put)

    def take(self) -> Future[Any]:
        """The next that is done."""
        future = self._done.get()
        self._futures.discard(future)
        return future

    def cancel(self) -> None:
        for future in list(self._futures):
            future.cancel()


class _Progress:
    """A progress bar on standard error, or nothing."""

    def __init__(self, name: str, rows: Iterable[Any], is_wanted: bool | None) -> None:
        self._name = name
        self._total = len(rows) if isinstance(rows, Sized) else None
        self._is_shown = sys.stderr.isatty() if is_wanted is None else is_wanted
        self._stack = ExitStack()

    def __enter__(self) -> Callable[[], object]:
        if not self._is_shown:
            return _nothing
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._stack.enter_context(bar)
        task = bar.add_task(self._name, total=self._total, rate="")

        def advance() -> None:
            bar.advance(task)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:,.0f}/s" if speed else "")

        return advance

    def __exit__(self, *failure: object) -> None:
        self._stack.close()


def _nothing() -> None:
    return None
