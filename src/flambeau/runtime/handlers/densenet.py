"""The handler of TorchServe's first releases: serialized tensors in, one serialized tensor out."""

from __future__ import annotations

import io
import pickle
from time import perf_counter
from typing import Any

import torch

from flambeau.runtime.failures import PredictionException
from flambeau.runtime.handlers.base import BaseHandler
from flambeau.runtime.handlers.inputs import BAD_REQUEST, row_value


class DenseNetHandler(BaseHandler):
    """For models of tensors ``[B, …]``. Its one answer is the whole output, so the batch size must be 1."""

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """Stack what ``torch.save`` wrote for each row, call the model.

        Raises:
            PredictionException: a row is no tensor; the client gets 400.
        """
        started_at = perf_counter()
        self.context = context
        output = self.inference(torch.stack([_tensor_of(row_value(row)) for row in data]))
        context.metrics.add_time("HandlerTime", round((perf_counter() - started_at) * 1000, 2), None, "ms")
        return [output]


def _tensor_of(value: Any) -> torch.Tensor:
    try:
        tensor = torch.load(io.BytesIO(value), weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, TypeError, ValueError) as error:
        raise PredictionException(f"The input is not a tensor as torch.save writes it: {error}", BAD_REQUEST) from error
    if not isinstance(tensor, torch.Tensor):
        raise PredictionException(f"The input is a {type(tensor).__name__}, not a tensor", BAD_REQUEST)
    return tensor
