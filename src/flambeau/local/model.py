"""A loaded model, as its user sees it."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from flambeau.archive.reader import UnpackedModel
from flambeau.local.calls import LocalCallable
from flambeau.local.engine import Engine


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
        """
        self.name = name
        self._engine = engine
        self._settings = settings
        self._rows_under_way = window
        self._call = engine.call
        self._closing = weakref.finalize(self, _close, engine, files)  # a model that is dropped is closed
        self._closing.atexit = False
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
        return self._engine.stream(row, timeout_s, priority)

    def describe(self) -> dict[str, Any]:
        return {"modelName": self.name, **self._settings, **self._engine.describe()}

    def close(self, timeout_s: float | None = None) -> bool:
        was_answered = self._engine.close(timeout_s)
        self._closing()
        return was_answered

    def _window(self) -> int:
        return self._rows_under_way

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={value!r}" for key, value in self._settings.items() if value is not None)
        return f"<LocalModel {self.name}: {settings}>"


def _close(engine: Engine, files: UnpackedModel | None) -> None:
    engine.close(0.0)
    if files is not None:
        files.remove()


_models: weakref.WeakSet[LocalModel] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """At the interpreter's exit: what has been accepted is answered, as with ``concurrent.futures``."""
    for model in list(_models):
        model.close()
