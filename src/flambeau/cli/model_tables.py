"""Descriptions of models, as the management API gives them, in tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Protocol

from flambeau.cli.display import console, harmless, table

_SHOWN_ELSEWHERE = {"modelName", "modelVersion", "workers", "jobQueueStatus", "batching", "customizedMetadata"}


class ListedVersion(Protocol):
    @property
    def is_default(self) -> bool: ...

    @property
    def description(self) -> dict[str, Any]: ...


def print_models(versions: Iterable[ListedVersion]) -> None:
    """A row for each version, and below the table the failures of workers."""
    out = console()
    rows = table("model", "version", "workers", "batch", "waiting", "device", "from")
    failures = []
    for version in versions:
        model = version.description
        name, number = harmless(model["modelName"]), harmless(model["modelVersion"])
        rows.add_row(
            name,
            f"{number} (default)" if version.is_default else number,
            _workers(model),
            _batch(model),
            str(model["jobQueueStatus"]["pendingRequests"]),
            model["deviceType"],
            harmless(model["modelUrl"]),
        )
        failures += [f"{name} {number}: {failure}" for failure in sorted(_failures(model))]
    if not rows.row_count:
        out.print("no models")
        return
    out.print(rows)
    for failure in failures:
        out.print(failure, style="red", soft_wrap=True)


def print_description(model: dict[str, Any]) -> None:
    """Everything that the server says of one version."""
    out = console()
    title = f"{harmless(model['modelName'])} {harmless(model['modelVersion'])}"
    out.print(title, style="bold")
    settings = table("", "")
    settings.show_header = False
    for key, value in model.items():
        if key not in _SHOWN_ELSEWHERE and value not in ("", None):
            settings.add_row(key, _shown(value))
    queue = model["jobQueueStatus"]
    settings.add_row("queue", f"{queue['pendingRequests']} wait, room for {queue['remainingCapacity']} more")
    for key, value in model.get("batching", {}).items():
        settings.add_row(key, _shown(value))
    for key, value in model.get("customizedMetadata", {}).items():
        settings.add_row(f"metadata: {key}", _shown(value))
    out.print(settings)
    if not model["workers"]:
        out.print("no workers")
        return
    workers = table("worker", "state", "process", "memory", "cores", "threads", "restarts", "since")
    for worker in model["workers"]:
        workers.add_row(
            worker["id"],
            worker["state"],
            str(worker["pid"]) if worker["pid"] > 0 else "",
            f"{worker['memoryUsage'] / 2**20:.0f} MiB",
            ",".join(map(str, worker["cores"])),
            str(worker["threads"]),
            str(worker["restarts"]),
            worker["startTime"].removesuffix("Z"),
        )
    out.print(workers)
    for failure in sorted(_failures(model)):
        out.print(failure, style="red", soft_wrap=True)


def _workers(model: dict[str, Any]) -> str:
    """``2 ready``, ``1 ready, 1 loading``; ``none`` where none is wanted."""
    states = Counter(worker["state"] for worker in model["workers"])
    return ", ".join(f"{count} {state}" for state, count in states.items()) or "none"


def _batch(model: dict[str, Any]) -> str:
    size = model["batchSize"]
    return "1" if size == 1 else f"{size} in {model['maxBatchDelay']} ms"


def _failures(model: dict[str, Any]) -> set[str]:
    return {harmless(worker["failure"]) for worker in model["workers"] if worker.get("failure")}


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return harmless(str(value))
