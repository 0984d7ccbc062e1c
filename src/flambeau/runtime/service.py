"""A loaded handler, and the rules by which what it returns or raises becomes one reply per row."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from flambeau.errors import BadRequest, WrongResults
from flambeau.request import InferenceReply, InferenceRequest, MetricUpdate, Purpose
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
    unusable,
)
from flambeau.runtime.metrics import MetricsCache, MetricTypes
from flambeau.runtime.results import response_body
from flambeau.runtime.rows import make_rows
from flambeau.runtime.tensors.row import TensorRow
from flambeau.signature import Signature, parse_signature

if TYPE_CHECKING:
    from flambeau.runtime.tensors.exchange import OpenInference

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
        views: bool = False,
    ) -> None:
        """
        Args:
            entry: called with the row dicts and the context.
            isolate_failures: whether a batch that fails is run again row by row.
            max_response_bytes: a row whose answer is longer fails.
            views: whether the handler takes values as they came, views of shared memory among them.
        """
        self.context = context
        self.metrics = metrics
        self._entry = entry
        self._decode = decode_input_request
        self._views = views
        self._isolate = isolate_failures
        self._max_response_bytes = max_response_bytes
        self._signature = _signature_of(context)
        self._exchange: OpenInference | None = None
        if self._signature is not None:
            self._open_inference()  # which fails here and now where numpy is not installed
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
        if rows and rows[0].purpose == Purpose.INFER:
            return self._infer(rows)
        return self._run(rows)

    def _infer(self, requests: Sequence[InferenceRequest]) -> list[InferenceReply]:
        """A batch of the Open Inference Protocol. What cannot be read is refused, and costs the others nothing."""
        refusals: dict[int, InferenceReply] = {}
        rows: list[Any] = []
        for index, request in enumerate(requests):
            try:
                row = self._open_inference().read(request)
            except BadRequest as error:
                refusals[index] = unusable(error.message)
            except Exception as error:  # the border of one request: it must not end the worker for the others
                logger.warning("request %s cannot be read", request.request_id, exc_info=True)
                refusals[index] = reply_for(error)
            else:
                rows.append(make_rows([request], self._decode)[0] if row is None else row)
        if not refusals:
            return self._run(requests, rows)
        usable = [request for index, request in enumerate(requests) if index not in refusals]
        replies = iter(self._run(usable, rows) if usable else ())
        return [refusals[index] if index in refusals else next(replies) for index in range(len(requests))]

    def _run(
        self, requests: Sequence[InferenceRequest], rows: Sequence[dict[str, Any]] | None = None
    ) -> list[InferenceReply]:
        """
        Args:
            rows: what the handler is given; None: what the requests say.
        """
        mark = self.metrics.mark()
        outcome = self._attempt(requests, rows)
        if isinstance(outcome, list):
            return outcome
        if len(requests) == 1 or not self._isolate:
            return [outcome] * len(requests)
        logger.warning("running the %d rows of the failed batch again, each alone", len(requests))
        self.metrics.rewind(mark)
        replies: list[InferenceReply] = []
        for index, request in enumerate(requests):
            alone = self._attempt([request], None if rows is None else [rows[index]])
            replies.extend(alone if isinstance(alone, list) else [alone])
        return replies

    def take_metrics(self) -> list[MetricUpdate]:
        """What the handler has recorded since the last call, also while it loaded or in threads of its own."""
        return self.metrics.take_updates()

    def call(self, requests: Sequence[InferenceRequest], rows: Sequence[dict[str, Any]]) -> list[Any]:
        """The handler's own results for a batch, one a row and not yet made bytes: what a local call returns.

        Args:
            requests: what the context and the metrics know of each row.
            rows: what the handler is given for each.

        Raises:
            WrongResults: it returned something else than a list of as many results.
            Exception: whatever it raised.
        """
        self.context.begin_batch(requests)
        self.metrics.begin_batch(requests)
        started_at = perf_counter()
        results = self._entry(rows, self.context)
        elapsed_ms = (perf_counter() - started_at) * 1000.0
        if not isinstance(results, list):
            raise WrongResults(NOT_A_LIST, f"handler returned {type(results).__name__}, not a list")
        if len(results) != len(requests):
            raise WrongResults(WRONG_LENGTH, f"handler returned {len(results)} answers to {len(requests)} rows")
        self._prediction_time.add_or_update(round(elapsed_ms, 2), self._dimensions, self.metrics.request_id())
        return results

    def _attempt(
        self, requests: Sequence[InferenceRequest], rows: Sequence[dict[str, Any]] | None
    ) -> list[InferenceReply] | InferenceReply:
        """One call of the handler: the replies, or the one that all rows get because it failed as a whole."""
        try:
            if rows is None:
                results = self.call(requests, make_rows(requests, self._decode, views=self._views))
            else:  # copies, as the handler may take something out of them and be called again
                results = self.call(requests, [copy.copy(row) for row in rows])
        except PredictionException as error:
            logger.warning("handler rejected the request: %s", error)
            return reply_for(error)
        except WrongResults as error:
            logger.warning("%s", error.message)
            return failed(error.sentence)
        except Exception as error:  # the border to user code: whatever it raises costs these rows, not the worker
            logger.warning("handler failed on a batch of %d", len(requests), exc_info=True)
            return reply_for(error)
        processors = self.context.touched_processors()
        if processors is None:
            if rows is not None:
                return [self._tensor_reply(result, row) for result, row in zip(results, rows, strict=True)]
            return [self._reply(result) for result in results]
        if len(processors) != len(requests):
            logger.warning("handler replaced the %d request processors by %d", len(requests), len(processors))
            return failed(WRONG_LENGTH)
        if rows is not None:
            return [self._tensor_reply(*each) for each in zip(results, rows, processors, strict=True)]
        return [self._reply(result, processor) for result, processor in zip(results, processors, strict=True)]

    def _reply(self, result: Any, processor: RequestProcessor | None = None) -> InferenceReply:
        if isinstance(result, Exception):  # a row's own failure, beside answers to others
            logger.warning("handler failed on a row: %s", result, exc_info=result)
            return reply_for(result)
        try:
            kind = type(result)
            body = result if kind is bytes or kind is bytearray else response_body(result)
            if len(body) > self._max_response_bytes:
                return self._too_large(len(body))
            return InferenceReply(body) if processor is None else processor.reply(body)
        except Exception as error:  # the border to user code: what a result's own methods raise costs its row
            logger.warning("an element that the handler returned is no answer: %s", error)
            return reply_for(error) if is_out_of_memory(error) else failed(NOT_SERIALIZABLE)

    def _open_inference(self) -> OpenInference:
        if self._exchange is None:
            # It needs numpy, and most handlers start faster without.
            from flambeau.runtime.tensors.exchange import OpenInference

            described = (self.context.manifest or {}).get("model") or {}
            version = str(described.get("modelVersion", ""))
            self._exchange = OpenInference(self.context.model_name, version, self._signature)
        return self._exchange

    def _tensor_reply(
        self, result: Any, row: dict[str, Any], processor: RequestProcessor | None = None
    ) -> InferenceReply:
        """The same for a row of the Open Inference Protocol."""
        if isinstance(result, Exception) or not isinstance(row, TensorRow):
            return self._reply(result, processor)
        try:
            body, headers = self._open_inference().answer(result, row)
        except BadRequest as error:
            return unusable(error.message)
        except Exception as error:  # the border to user code, as above
            logger.warning("what the handler returned is not the protocol's answer: %s", error)
            return reply_for(error) if is_out_of_memory(error) else failed(NOT_SERIALIZABLE)
        if len(body) > self._max_response_bytes:
            return self._too_large(len(body))
        if processor is None:
            return InferenceReply(body, headers=headers)
        for name, value in headers:
            processor.add_response_property(name, value)
        return processor.reply(body)

    def _too_large(self, size: int) -> InferenceReply:
        message = f"Response of {size} bytes is over the limit of {self._max_response_bytes} bytes (max_response_size)"
        logger.warning(message)
        return failed(message)


def _signature_of(context: Context) -> Signature | None:
    """What the model's YAML declares; None also where that cannot be used, of which the server has warned."""
    declared = context.model_yaml_config.get("signature")
    try:
        return None if declared is None else parse_signature(declared)
    except ValueError:
        return None
