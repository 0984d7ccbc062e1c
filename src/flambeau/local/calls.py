"""What every local model and pipeline can be asked to do, built on two ways to call one row."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar

from flambeau.local.mapping import mapped

Self = TypeVar("Self", bound="LocalCallable")


class LocalCallable(ABC):
    """A thread-safe function of one row; calls that come together are batched."""

    name: str

    @abstractmethod
    def __call__(self, row: Any, *, timeout_s: float | None = None, priority: int = 0) -> Any:
        """Answer one row. Blocks; from any thread.

        Args:
            timeout_s: seconds after which the call is given up; None: never. A row whose time is over before a worker
                has come to it costs no work. What has begun is not interrupted.
            priority: rows with a greater one are taken first.

        Raises:
            CallTimedOut, QueueFull, ModelClosed, ForkedModel, ReentrantCall
            Exception: whatever the handler raised for this row.
        """

    @abstractmethod
    def submit(self, row: Any, *, timeout_s: float | None = None, priority: int = 0) -> Future[Any]:
        """The same without waiting. ``Future.cancel`` works until a worker has taken the row.

        Raises:
            QueueFull, ModelClosed, ForkedModel
        """

    def submit_row(self, row: Any, number: int, *, timeout_s: float | None = None, priority: int = 0) -> Future[Any]:
        """``submit`` for one of many rows; ``number`` is its place among them, from 0, for errors to name."""
        return self.submit(row, timeout_s=timeout_s, priority=priority)

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Settings, workers, queue and what batching has seen: values that JSON can say."""

    @abstractmethod
    def close(self, timeout_s: float | None = None) -> bool:
        """Accept no more calls, answer those accepted, end the workers.

        Args:
            timeout_s: after which those that wait get :class:`ModelClosed`; None: as long as it takes.

        Returns:
            Whether everything accepted was answered. Closing twice does nothing.
        """

    async def acall(self, row: Any, *, timeout_s: float | None = None, priority: int = 0) -> Any:
        """The same for coroutines. A coroutine that is cancelled takes its row back."""
        return await asyncio.wrap_future(self.submit(row, timeout_s=timeout_s, priority=priority))

    def map(
        self,
        rows: Iterable[Any],
        *,
        ordered: bool = True,
        timeout_s: float | None = None,
        priority: int = 0,
        return_exceptions: bool = False,
        window: int | None = None,
        progress: bool | None = None,
    ) -> Iterator[Any]:
        """Answer many rows, several at a time; no more of them are taken from the iterable than are under way.

        Args:
            ordered: results in the order of the rows; otherwise as they come.
            return_exceptions: give what a row raised in its place instead of raising it.
            window: rows under way at a time; None: enough to keep every worker busy.
            progress: whether to show a progress bar; None: where standard error is a terminal.
        """
        return mapped(
            self.name,
            self.submit_row,
            rows,
            ordered=ordered,
            timeout_s=timeout_s,
            priority=priority,
            return_exceptions=return_exceptions,
            window=window or self._window(),
            progress=progress,
        )

    @abstractmethod
    def _window(self) -> int:
        """Rows under way at a time that keep every worker busy."""

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
