"""``flambeau.load``: whatever a model is, as a thread-safe function."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from flambeau.archive.described import DESCRIPTION_SUFFIXES
from flambeau.errors import ConfigError
from flambeau.local.calls import LocalCallable
from flambeau.local.loading import load_model
from flambeau.local.pipeline import Pipeline
from flambeau.local.settings import LoadSettings
from flambeau.local.sources import find_source


def load(
    source: Any,
    *,
    name: str | None = None,
    batch_size: int | None = None,
    max_batch_delay_ms: float | None = None,
    batch_policy: Literal["adaptive", "fixed"] | None = None,
    workers: int | Literal["process"] | None = None,
    processes: int | None = None,
    threads: int | None = None,
    device: str | None = None,
    size_of: Callable[[Any], int] | None = None,
    queue_size: int | None = None,
    response_timeout_s: float | None = None,
    isolate_failures: bool | None = None,
    warm_up: Iterable[Any] = (),
) -> LocalCallable:
    """Load a model as a function of one row that any thread may call; rows that come together are batched.

    Args:
        source: one of

            - a function that takes a list of rows and returns a list with one result a row;
            - an ``nn.Module``, which gets rows stacked; rows are tensors, arrays, numbers, dicts or tuples of them;
            - a handler class, or any class whose instances are such functions; one instance is made for each worker;
            - the path of an archive (``.mar``, ``.tar.gz``) or a model folder;
            - ``"file.py:name"`` or ``"package.module:name"``, for any of these;
            - the path of a pipeline's description (``.yaml``, ``.toml``).
        name: for errors and ``describe``; None: what the source calls itself.
        batch_size: rows that run together, at most. None: the archive's own setting, else 1.
        max_batch_delay_ms: longest time that a free worker waits for a batch to fill. None: the archive's, else 100.
        batch_policy: ``adaptive`` never waits for callers that do not exist; ``fixed`` is TorchServe's. None: the
            archive's, else adaptive.
        workers: handlers in this process, each run by one calling thread at a time; ``"process"``: one worker process
            for each core. None: the archive's ``minWorkers``, else 1.
        processes: worker processes instead of handlers in this process, for those that hold the GIL.
        threads: torch's threads: of this process, or of each worker process. None: left as they are, or cores divided
            by processes.
        device: ``cpu``, ``cuda`` or ``cuda:N``. None: the CPU.
        size_of: what a row counts toward ``batch_size``, instead of 1: tokens, pixels. A row that is larger runs alone.
        queue_size: calls that may wait before ``QueueFull`` is raised. None: the archive's ``jobQueueSize``, else any.
        response_timeout_s: for worker processes: longest time in the queue, and for a batch, after which its worker is
            replaced. None: the archive's, else 120.
        isolate_failures: whether a batch that fails is run again row by row, so that one bad row costs only itself.
            None: the archive's, else True.
        warm_up: rows that every worker answers before this returns, after those that the archive names.

    Raises:
        ConfigError: a setting or the source is none that can be used.
        ModelNotFound: there is nothing at that path, or of that name.
        InvalidModel: the archive cannot be used; says why.
        Exception: whatever the handler raised when it was made, or for a warm-up row.
    """
    settings = LoadSettings(
        batch_size=batch_size,
        max_batch_delay_ms=max_batch_delay_ms,
        batch_policy=batch_policy,
        workers=workers,
        processes=processes,
        threads=threads,
        device=device,
        size_of=size_of,
        queue_size=queue_size,
        response_timeout_s=response_timeout_s,
        isolate_failures=isolate_failures,
        warm_up=list(warm_up),
    )
    found = find_source(source)
    is_description = isinstance(found, Path) and found.suffix in DESCRIPTION_SUFFIXES
    if not is_description and not isinstance(found, LocalCallable):
        return load_model(found, name, settings)
    if settings != LoadSettings(warm_up=[]):
        what = "a pipeline, whose stages have" if is_description else "loaded already and has"
        raise ConfigError("source", source, f"is {what} settings of its own: give none here")
    return Pipeline.from_file(found) if is_description else found
