"""A loaded handler, and the rules by which what it returns or raises becomes one reply per row."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from flambeau.request import InferenceReply, InferenceRequest, MetricUpdate
from flambeau.runtime.context import Context, RequestProcessor
from flambeau.runtime.entry_point import EntryPoint
from flambeau.runtime.failures import (
    NOT_A_LIST,
    NOT_SERIALIZABLE,
    WRONG_LENGTH,
    PredictionException,
    failed,
    is_out_of_memory,
    reply_for,
)
from flambeau.runtime.metrics import MetricsCache, MetricTypes
from flambeau.runtime.results import response_body
from flambeau.runtime.rows import make_rows

logger = logging.getLogger(__name__)


class LoadedHandler:
    """A handler that is ready. Not for several threads at once: handlers keep the batch's state on one context."""

    def __init__(
        self,
        entry: EntryPoint,
        context: Context,
        metrics: MetricsCache,
        *,
        decode_input_request: bool = True,
        isolate_failures: bool = True,
        max_response_bytes: int = 6_553_500,
    ) -> None:
        """
        Args:
            entry: called with the row dicts and the context.
            isolate_failures: whether a batch that fails is run again row by row.
            max_response_bytes: a row whose answer is longer fails.
        """
        self.context = context
        self.metrics = metrics
        self._entry = entry
        self._decode = decode_input_request
        self._isolate = isolate_failures
        self._max_response_bytes = max_response_bytes
        self._dimensions = (context.model_name, "Model")
        if "PredictionTime" not in metrics.cache[MetricTypes.GAUGE]:
            metrics.add_metric_to_cache("PredictionTime", "ms", ["ModelName", "Level"], MetricTypes.GAUGE)
        self._prediction_time = metrics.get_metric("PredictionTime", MetricTypes.GAUGE)

    def run(self, rows: Sequence[InferenceRequest]) -> list[InferenceReply]:
        """Answer a batch.

        Args:
            rows: 1 to ``batch_size`` requests, whose values are bytes, not lengths.

        Returns:
            One reply per row, in order. What the handler raises is in the replies; only what ends a process
            (``SystemExit``, ``KeyboardInterrupt``) comes through.
        """
        mark = self.metrics.mark()
        outcome = self._attempt(rows)
        if isinstance(outcome, list):
            return outcome
        if len(rows) == 1 or not self._isolate:
            return [outcome] * len(rows)
        logger.warning("running the %d rows of the failed batch again, each alone", len(rows))
        self.metrics.rewind(mark)
        replies: list[InferenceReply] = []
        for row in rows:
            alone = self._attempt([row])
            replies.extend(alone if isinstance(alone, list) else [alone])
        return replies

    def take_metrics(self) -> list[MetricUpdate]:
        """What the handler has recorded since the last call, also while it loaded or in threads of its own."""
        return self.metrics.take_updates()

    def _attempt(self, rows: Sequence[InferenceRequest]) -> list[InferenceReply] | InferenceReply:
        """One call of the handler: the replies, or the one that all rows get because it failed as a whole."""
        self.context.begin_batch(rows)
        self.metrics.begin_batch(rows)
        data = make_rows(rows, self._decode)
        started_at = perf_counter()
        try:
            results = self._entry(data, self.context)
        except PredictionException as error:
            logger.warning("handler rejected the request: %s", error)
            return reply_for(error)
        except Exception as error:  # the border to user code: whatever it raises costs these rows, not the worker
            logger.warning("handler failed on a batch of %d", len(rows), exc_info=True)
            return reply_for(error)
        elapsed_ms = (perf_counter() - started_at) * 1000.0
        if not isinstance(results, list):
            logger.warning("handler returned %s, not a list", type(results).__name__)
            return failed(NOT_A_LIST)
        if len(results) != len(rows):
            logger.warning("handler returned %d answers to %d rows", len(results), len(rows))
            return failed(WRONG_LENGTH)
        self._prediction_time.add_or_update(round(elapsed_ms, 2), self._dimensions, self.metrics.request_id())
        processors = self.context.touched_processors()
        if processors is None:
            return [self._reply(result) for result in results]
        if len(processors) != len(rows):
            logger.warning("handler replaced the %d request processors by %d", len(rows), len(processors))
            return failed(WRONG_LENGTH)
        return [self._reply(result, processor) for result, processor in zip(results, processors, strict=True)]

    def _reply(self, result: Any, processor: RequestProcessor | None = None) -> InferenceReply:
        try:
            kind = type(result)
            body = result if kind is bytes or kind is bytearray else response_body(result)
            if len(body) > self._max_response_bytes:
                return self._too_large(len(body))
            return InferenceReply(body) if processor is None else processor.reply(body)
        except Exception as error:  # the border to user code: what a result's own methods raise costs its row
            logger.warning("an element that the handler returned is no answer: %s", error)
            return reply_for(error) if is_out_of_memory(error) else failed(NOT_SERIALIZABLE)

    def _too_large(self, size: int) -> InferenceReply:
        message = f"Response of {size} bytes is over the limit of {self._max_response_bytes} bytes (max_response_size)"
        logger.warning(message)
        return failed(message)
