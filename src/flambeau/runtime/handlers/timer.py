"""How long functions take: a handler's stages as metrics, any other in print."""

from __future__ import annotations

import functools
from collections.abc import Callable
from time import perf_counter, process_time
from typing import Any, TypeVar, cast

Stage = TypeVar("Stage", bound=Callable[..., Any])


def timed(stage: Stage) -> Stage:
    """Decorate a handler's method: each call records its milliseconds as ``ts_handler_<method>``, if the model's YAML
    says ``handler: {profile: true}``."""

    @functools.wraps(stage)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        context = getattr(self, "context", None)
        settings = getattr(context, "model_yaml_config", None) or {}
        if not (settings.get("handler") or {}).get("profile"):
            return stage(self, *args, **kwargs)
        started_at = perf_counter()
        result = stage(self, *args, **kwargs)
        elapsed_ms = (perf_counter() - started_at) * 1000
        context.metrics.add_time(f"ts_handler_{stage.__name__}", elapsed_ms, None, "ms")  # type: ignore[union-attr]
        return result

    return cast(Stage, wrapper)


def timeit(func: Stage) -> Stage:
    """Decorate a function: each call prints how long it took, and how much of that was processor time."""

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        started_at, cpu_started_at = perf_counter(), process_time()
        result = func(*args, **kwargs)
        seconds, cpu_seconds = perf_counter() - started_at, process_time() - cpu_started_at
        print(f"{func.__name__} took {seconds:.4f} s, {cpu_seconds:.4f} s of it processor time")
        return result

    return cast(Stage, wrapper)
