"""A loaded model, as its user sees it."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from flambeau.local.calls import LocalCallable
from flambeau.local.engine import Engine


class LocalModel(LocalCallable):
    """A model of this process; :func:`flambeau.load` makes it. Thread-safe."""

    def __init__(self, name: str, engine: Engine, settings: dict[str, Any], window: int) -> None:
        """
        Args:
            settings: what ``describe`` says of it beside what the engine does.
            window: rows under way at a time that keep every worker busy.
        """
        self.name = name
        self._engine = engine
        self._settings = settings
        self._rows_under_way = window
        self._call = engine.call
        self._closing = weakref.finalize(self, engine.close, 0.0)  # a model that is dropped is closed
        self._closing.atexit = False  # at exit the engines answer what they have accepted

    def __call__(self, row: Any, *, timeout_s: float | None = None, priority: int = 0) -> Any:
        return self._call(row, timeout_s, priority)

    def submit(self, row: Any, *, timeout_s: float | None = None, priority: int = 0) -> Future[Any]:
        return self._engine.submit(row, timeout_s, priority)

    def stream(self, row: Any, *, timeout_s: float | None = None, priority: int = 0) -> Iterator[Any]:
        """The parts of one row's result as they come: what the handler's generator yields for it.

        A result that is no generator is the one part. The row is taken back when the iterator is closed. ``timeout_s``
        and what is raised are as for a call; a handler's error comes after the parts that it gave.
        """
        return self._engine.stream(row, timeout_s, priority)

    def describe(self) -> dict[str, Any]:
        return {"modelName": self.name, **self._settings, **self._engine.describe()}

    def close(self, timeout_s: float | None = None) -> bool:
        was_answered = self._engine.close(timeout_s)
        self._closing.detach()
        return was_answered

    def _window(self) -> int:
        return self._rows_under_way

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in self._settings.items() if value is not None)
        return f"<LocalModel {self.name}: {settings}>"
