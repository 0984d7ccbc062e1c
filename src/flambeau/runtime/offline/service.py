"""A handler's entry point with its context, answering batches in TorchServe's own protocol."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flambeau.errors import WrongResults
from flambeau.request import InferenceRequest, RowError
from flambeau.runtime.context import TORCHSERVE_VERSION, Context, RequestProcessor
from flambeau.runtime.entry_point import EntryPoint
from flambeau.runtime.failures import PREDICTION_FAILED, reply_for
from flambeau.runtime.loader import read_settings
from flambeau.runtime.metrics import MetricsCache
from flambeau.runtime.offline.messages import create_predict_response
from flambeau.runtime.offline.printed_metrics import PrintingMetricsCache
from flambeau.runtime.service import LoadedHandler

logger = logging.getLogger(__name__)

PREDICTION_METRIC = "PredictionTime"

_STATUS: dict[int, int] = {RowError.FAILED: 503, RowError.OUT_OF_MEMORY: 507}
"""Of rows without an answer, unless the handler chose one itself."""

Message = dict[str, Any]
"""A request as TorchServe's protocol has it: ``requestId``, ``headers`` and ``parameters``."""


class Service:
    """Answers batches, one at a time."""

    def __init__(
        self,
        model_name: str,
        model_dir: str,
        manifest: dict[str, Any] | None,
        entry_point: EntryPoint,
        gpu: int | None,
        batch_size: int | None,
        limit_max_image_pixels: bool = True,
        metrics_cache: MetricsCache | None = None,
    ) -> None:
        """
        Args:
            entry_point: called with the row dicts and :attr:`context`; it is not initialised here.
            metrics_cache: None for one that logs what is recorded.
        """
        metrics = PrintingMetricsCache() if metrics_cache is None else metrics_cache
        metrics.model_name = model_name
        described = (manifest or {}).get("model") or {}
        self._context = Context(
            model_name,
            model_dir,
            manifest,
            batch_size or 1,
            gpu,
            TORCHSERVE_VERSION,
            limit_max_image_pixels,
            metrics,
            read_settings(Path(model_dir), described.get("configFile")),
        )
        self._handler = LoadedHandler(entry_point, self._context, metrics)

    @property
    def context(self) -> Context:
        return self._context

    @staticmethod
    def retrieve_data_for_inference(
        batch: Sequence[Message] | None,
    ) -> tuple[list[RequestProcessor], list[dict[str, Any]], dict[int, str]]:
        """A batch's headers, rows and request ids.

        Raises:
            ValueError: there is no batch.
        """
        if batch is None:
            raise ValueError("Received invalid inputs")
        requests = [_request_of(message) for message in batch]
        ids = {index: request.request_id for index, request in enumerate(requests)}
        return [RequestProcessor.of(request) for request in requests], [_row_of(message) for message in batch], ids

    def set_cl_socket(self, cl_socket: Any) -> None:
        """Where the context says that the worker's connection is."""
        self._context.cl_socket = cl_socket

    def predict(self, batch: Sequence[Message]) -> bytearray | None:
        """Answer a batch; what the handler raises is in the answer.

        Returns:
            The message for the frontend; None in processes of a rank other than 0.
        """
        requests = [_request_of(message) for message in batch]
        ids = {index: request.request_id for index, request in enumerate(requests)}
        try:
            results = self._handler.call(requests, [_row_of(message) for message in batch])
        except WrongResults as error:
            logger.warning("model: %s, %s", self._context.model_name, error.message)
            return create_predict_response(None, ids, error.sentence, 503)
        except Exception as error:  # the border to user code: whatever it raises is its rows' answer
            logger.warning(PREDICTION_FAILED, exc_info=True)
            reply = reply_for(error)
            status = _STATUS.get(reply.error, reply.status)
            return create_predict_response(None, ids, bytes(reply.body).decode(), status)
        return create_predict_response(results, ids, "Prediction success", 200, context=self._context)


def _request_of(message: Message) -> InferenceRequest:
    """What context and metrics know of a row; its values stay where they are."""
    headers = [(bytes(header["name"]), bytes(header["value"])) for header in message.get("headers") or ()]
    parameters = [(item["name"], item["contentType"], bytearray()) for item in message["parameters"]]
    return InferenceRequest(bytes(message["requestId"]).decode(), headers, parameters)


def _row_of(message: Message) -> dict[str, Any]:
    return {item["name"]: item["value"] for item in message["parameters"]}
