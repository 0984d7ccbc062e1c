"""A loaded model, as its user sees it."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

from flambeau.archive.reader import UnpackedModel
from flambeau.local.calls import LocalCallable
from flambeau.local.engine import Engine
from flambeau.local.timekeeper import soon_caller, wait_until_called


class LocalModel(LocalCallable):
    """A model of this process; :func:`flambeau.load` makes it. Thread-safe."""

    def __init__(
        self, name: str, engine: Engine, settings: dict[str, Any], window: int, files: UnpackedModel | None = None
    ) -> None:
        """
        Args:
            settings: what ``describe`` says of it beside what the engine does.
            window: rows under way at a time that keep every worker busy.
            files: removed when it is closed.

        One that is dropped finishes what it has accepted, and is closed then.
        """
        self.name = name
        self._engine = engine
        self._settings = settings
        self._rows_under_way = window
        self._call = engine.call
        self._files = files
        # A finaliser may run in any thread, even in one that has the engine's locks: it only asks for the closing.
        self._dropped = weakref.finalize(self, soon_caller(), partial(_start_closing, engine, files))
        self._dropped.atexit = False
        _models.add(self)

    def __call__(self, row: Any, *, timeout_s: float | None = None, priority: int = 0) -> Any:
        return self._call(row, timeout_s, priority)

    def submit(self, row: Any, *, timeout_s: float | None = None, priority: int = 0) -> Future[Any]:
        return self._engine.submit(row, timeout_s, priority)

    def stream(self, row: Any, *, timeout_s: float | None = None, priority: int = 0) -> Iterator[Any]:
        """The parts of one row's result as they come: what the handler's generator yields for it.

        A result that is no generator is the one part. The row is taken back when the iterator is closed. ``timeout_s``
        and what is raised are as for a call; a handler's error comes after the parts that it gave.
        """
        stream = self._engine.stream(row, timeout_s, priority)
        _streams.add(stream)
        return stream

    def describe(self) -> dict[str, Any]:
        return {"modelName": self.name, **self._settings, **self._engine.describe()}

    def close(self, timeout_s: float | None = None) -> bool:
        was_answered = self._engine.close(timeout_s)
        if self._dropped.detach() is not None and self._files is not None:
            self._files.remove()
        return was_answered

    def forget(self) -> None:
        """This is the child of a fork: the files are the parent's."""
        self._dropped.detach()

    def _window(self) -> int:
        return self._rows_under_way

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in self._settings.items() if value is not None)
        return f"<LocalModel {self.name}: {settings}>"


_models: weakref.WeakSet[LocalModel] = weakref.WeakSet()
_streams: weakref.WeakSet[Any] = weakref.WeakSet()
"""Those that may still be read."""
_closings: set[threading.Thread] = set()
"""Each closes a model that was dropped."""
_unclosed: list[Callable[[], None]] = []
"""Close those models that were dropped when no thread was to be had for it."""


def _start_closing(engine: Engine, files: UnpackedModel | None) -> None:
    thread = threading.Thread(target=_close, args=(engine, files), name="flambeau-closing", daemon=True)
    _closings.add(thread)
    try:
        thread.start()
    except RuntimeError:  # none is to be had, least of all while the interpreter ends
        _closings.discard(thread)
        _unclosed.append(partial(_close, engine, files))


def _close(engine: Engine, files: UnpackedModel | None) -> None:
    engine.close(None)
    if files is not None:
        files.remove()
    _closings.discard(threading.current_thread())


@atexit.register
def _close_all() -> None:
    """At the interpreter's exit: what has been accepted is answered, as with ``concurrent.futures``.

    Streams are not: nobody is left to read them.
    """
    for stream in list(_streams):
        with suppress(ValueError):  # a generator that a daemon thread is reading
            stream.close()
    for model in list(_models):
        model.close()
    wait_until_called()  # so that all closings are known
    for thread in list(_closings):
        thread.join()
    for close in _unclosed:
        close()


def _forget_all() -> None:
    for model in list(_models):
        model.forget()
    _models.clear()
    _streams.clear()
    _closings.clear()
    _unclosed.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
