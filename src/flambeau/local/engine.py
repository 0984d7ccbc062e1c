"""What runs a loaded model's batches: threads of this process, or processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, Protocol

RunBatch = Callable[[list[Any]], list[Any]]
"""One worker's handler: rows in, one result a row out. A result that is an ``Exception`` is that row's failure; what is
raised is the batch's. Never called by two threads at once."""


class Engine(Protocol):
    """Answers rows. The contract of each method is that of :class:`~flambeau.local.calls.LocalCallable`'s."""

    def call(self, row: Any, timeout_s: float | None, priority: int) -> Any: ...

    def submit(self, row: Any, timeout_s: float | None, priority: int) -> Future[Any]: ...

    def stream(self, row: Any, timeout_s: float | None, priority: int) -> Iterator[Any]: ...

    def describe(self) -> dict[str, Any]:
        """``workers``, ``queue`` and ``batching``, each as the describe API of the server has them."""
        ...

    def close(self, timeout_s: float | None) -> bool: ...
