"""The calls of a handler's stages, as they happen."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from flambeau.debug.outline import outline
from flambeau.local.calls import LocalCallable
from flambeau.local.pipeline import Pipeline
from flambeau.runtime.entry_point import FoundHandler

STAGES = ("preprocess", "inference", "postprocess", "explain_handle", "describe_handle")
"""Methods of a handler that ``handle`` is made of, where it follows ``BaseHandler``."""


@dataclass(frozen=True, slots=True)
class StageCall:
    """One call of one stage, when it was over."""

    stage: str
    given: str
    """An outline of its first argument; empty of one that is not worth a word."""
    gave: str
    """An outline of what it returned; empty where it raised."""
    seconds: float
    error: str = ""
    """What it raised, in a line."""


class Trace:
    """Watches stages, and keeps what they did. Stages may be called from several threads."""

    def __init__(self, on_call: Callable[[StageCall], None]) -> None:
        self.calls: list[StageCall] = []
        self.error: BaseException | None = None
        """What was raised first, where it was raised: what is raised after it is made of it."""
        self._on_call = on_call

    def begin(self) -> None:
        """Forget what came before."""
        self.calls = []
        self.error = None

    def around(self, stage: str, function: Callable[..., Any], *, outlines: bool = True) -> Callable[..., Any]:
        """The function, watched. ``outlines``: whether its argument and result are of interest."""

        def watched(*arguments: Any, **options: Any) -> Any:
            given = outline(arguments[0]) if arguments and outlines else ""  # now: the stage may change it
            started_at = perf_counter()
            try:
                gave = function(*arguments, **options)
                _wait_for_devices()
            except BaseException as error:
                self.note_error(error)
                self._add(StageCall(stage, given, "", perf_counter() - started_at, _in_a_line(error)))
                raise
            self._add(StageCall(stage, given, outline(gave) if outlines else "", perf_counter() - started_at))
            return gave

        return watched

    def note_error(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error

    def _add(self, call: StageCall) -> None:
        self.calls.append(call)
        self._on_call(call)


def watch_handler(found: FoundHandler, trace: Trace) -> FoundHandler:
    """A handler whose load, whose call and whose stages are watched."""
    instance = getattr(found.initialize, "__self__", None)
    if instance is not None:
        for stage in STAGES:
            method = getattr(instance, stage, None)
            if callable(method) and hasattr(instance, "__dict__"):
                setattr(instance, stage, trace.around(stage, method))
    return FoundHandler(
        trace.around("handle", found.entry), trace.around("initialize", found.initialize, outlines=False)
    )


def watch_pipeline(pipeline: Pipeline, trace: Trace) -> None:
    """Have the stages of a pipeline watched, those of pipelines inside of it included."""

    def wrap(stage: str, model: LocalCallable) -> LocalCallable:
        if isinstance(model, Pipeline):
            model.wrap_stages(lambda inner, its_model: wrap(f"{stage}.{inner}", its_model))
        return _Watched(stage, model, trace)

    pipeline.wrap_stages(wrap)


class _Watched(LocalCallable):
    """A stage's model."""

    def __init__(self, stage: str, model: LocalCallable, trace: Trace) -> None:
        self.name = model.name
        self._model = model
        self._call = trace.around(stage, model)

    def __call__(self, row: Any, *, timeout_s: float | None = None, priority: int = 0) -> Any:
        return self._call(row, timeout_s=timeout_s, priority=priority)

    def submit(self, row: Any, *, timeout_s: float | None = None, priority: int = 0) -> Future[Any]:
        """Runs it now, in the calling thread: a debugger is of use in the one that has the terminal."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(self._call(row, timeout_s=timeout_s, priority=priority))
        except Exception as error:  # the border of the stage: its caller asks the future
            future.set_exception(error)
        return future

    def describe(self) -> dict[str, Any]:
        return self._model.describe()

    def close(self, timeout_s: float | None = None) -> bool:
        return self._model.close(timeout_s)

    def _window(self) -> int:
        return 1


def _wait_for_devices() -> None:
    """Until a GPU has done what it was given, so that the stage that gave it is charged for it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _in_a_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
