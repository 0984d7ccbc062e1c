"""A batch in small pieces, which pass preprocess, inference and postprocess one behind the other."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from time import perf_counter
from typing import Any

from flambeau.runtime.handlers import profiling

HANDLER_METHODS = ["preprocess", "inference", "postprocess"]
"""The stages, in their order."""


class MicroBatching:
    """Stands for ``handle`` of a handler: ``self.handle = MicroBatching(self, micro_batch_size=4)`` in its constructor.

    While one piece is in inference the next is preprocessed. The stages are methods of the handler that take and
    return one value; those of a stage with several threads run at the same time.
    """

    def __init__(
        self, parent_handler: Any, micro_batch_size: int = 1, parallelism: Mapping[str, int] | None = None
    ) -> None:
        """
        Args:
            micro_batch_size: rows of a piece; the last one may have fewer.
            parallelism: threads by stage, 1 where none is given. 0: the thread of the stage before.

        Raises:
            ValueError: a size below 1, a number of threads below 0, or a stage that there is not.
        """
        if micro_batch_size < 1:
            raise ValueError(f"micro_batch_size is {micro_batch_size}, which is not at least 1")
        self.handler = parent_handler
        self.micro_batch_size = micro_batch_size
        self._parallelism = dict.fromkeys(HANDLER_METHODS, 1)
        self._pools: dict[str, ThreadPoolExecutor | None] = {stage: _pool(stage, 1) for stage in HANDLER_METHODS}
        self._thread = threading.local()
        self.parallelism = parallelism or {}

    @property
    def parallelism(self) -> dict[str, int]:
        """Threads by stage. Assigning a mapping changes those of the stages that it names, between two batches."""
        return dict(self._parallelism)

    @parallelism.setter
    def parallelism(self, parallelism: Mapping[str, int]) -> None:
        for stage, threads in parallelism.items():
            if stage not in HANDLER_METHODS:
                raise ValueError(f"{stage!r} is none of {', '.join(HANDLER_METHODS)}")
            if threads < 0:
                raise ValueError(f"{stage} cannot have {threads} threads")
        for stage, threads in parallelism.items():
            if threads != self._parallelism[stage]:
                self._stop(stage)
                self._parallelism[stage] = threads
                self._pools[stage] = _pool(stage, threads)

    def __call__(self, data: list[Any], context: Any) -> list[Any]:
        """Answer a batch as the handler's own ``handle`` would, which still answers describe and explain requests."""
        started_at = perf_counter()
        handler = self.handler
        handler.context = context
        if profiling.is_enabled() or handler._is_describe() or handler._is_explain():
            answers: list[Any] = type(handler).handle(handler, data, context)
            return answers
        answers = self.handle(data)
        elapsed_ms = (perf_counter() - started_at) * 1000
        context.metrics.add_time("HandlerTime", round(elapsed_ms, 2), None, "ms")
        return answers

    def handle(self, data: Sequence[Any]) -> list[Any]:
        """Run the stages.

        Returns:
            The answers to all rows, in their order.

        Raises:
            Exception: whatever a stage raised for the first piece that failed, once all pieces are through.
        """
        size = self.micro_batch_size
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        outcomes: list[Future[list[Any]]] = [Future() for _ in pieces]
        for number, (piece, outcome) in enumerate(zip(pieces, outcomes, strict=True)):
            self._enter(0, number, piece, outcome)
        wait(outcomes)
        return [answer for outcome in outcomes for answer in outcome.result()]

    def get_micro_batch_idx(self) -> int | None:
        """The number of the piece that the calling thread works on; None outside the stages."""
        return getattr(self._thread, "micro_batch_number", None)

    def shutdown(self) -> None:
        """End all threads, once they have finished what they are at. No batch can be handled any more."""
        for stage in HANDLER_METHODS:
            self._stop(stage)

    def _enter(self, place: int, number: int, value: Any, outcome: Future[list[Any]]) -> None:
        pool = self._pools[HANDLER_METHODS[place]]
        if pool is None:
            self._run(place, number, value, outcome)
        else:
            pool.submit(self._run, place, number, value, outcome)

    def _run(self, place: int, number: int, value: Any, outcome: Future[list[Any]]) -> None:
        self._thread.micro_batch_number = number
        try:
            result = getattr(self.handler, HANDLER_METHODS[place])(value)
            if place + 1 < len(HANDLER_METHODS):
                self._enter(place + 1, number, result, outcome)
            else:
                outcome.set_result(result)
        except BaseException as error:  # user code: whatever it raises is raised in the caller's thread
            outcome.set_exception(error)
        finally:
            self._thread.micro_batch_number = None

    def _stop(self, stage: str) -> None:
        pool = self._pools[stage]
        if pool is not None:
            pool.shutdown()


def _pool(stage: str, threads: int) -> ThreadPoolExecutor | None:
    return ThreadPoolExecutor(threads, thread_name_prefix=stage) if threads else None
