"""The envelope ``kservev2``: the Open Inference Protocol's JSON, as TorchServe reads and writes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flambeau.runtime.envelopes.base import BaseEnvelope
from flambeau.runtime.envelopes.documents import BAD_REQUEST, by_request, document_of, list_in
from flambeau.runtime.failures import PredictionException

_DATATYPES = {"bool": "BOOL", "float16": "FP16", "float32": "FP32", "float64": "FP64"} | {
    f"{sign}int{bits}": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
"""By numpy's name. Everything else is BYTES."""


class KServev2Envelope(BaseEnvelope):
    """Handlers get the inputs of all requests as one list, and answer each.

    An input is a dict with ``name``, ``shape``, ``datatype`` and ``data``: nested lists of that shape, for BYTES the
    first element alone. While the handler runs, the context has ``input_names``, and ``input_request_id`` where the
    (first) request has an id.
    """

    _ids: Sequence[str | None] = ()
    _names: Sequence[Sequence[str]] = ()

    def parse_input(self, data: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """
        Raises:
            PredictionException: a request has no inputs, or data that does not make its shape; the client gets 400.
        """
        documents = [document_of(row) for row in data]
        requests = [[_input(tensor) for tensor in list_in(document, "inputs")] for document in documents]
        self._ids = [_id_of(document) for document in documents]
        self._names = [[tensor["name"] for tensor in inputs] for inputs in requests]
        self.context.input_names = [name for names in self._names for name in names]
        if self._ids[0]:
            self.context.input_request_id = self._ids[0]
        return [tensor for inputs in requests for tensor in inputs]

    def format_output(self, data: Sequence[Any]) -> list[dict[str, Any]]:
        """Per request a response whose outputs have the names of its inputs, each flattened."""
        vars(self.context).pop("input_names", None)
        vars(self.context).pop("input_request_id", None)
        described = (self.context.manifest or {}).get("model") or {}
        results = by_request(data, [len(names) for names in self._names])
        return [
            {
                "id": request_id or self.context.get_request_id(index),
                "model_name": described.get("modelName"),
                "model_version": described.get("modelVersion"),
                "outputs": [_output(names, number, result) for number, result in enumerate(outputs)],
            }
            for index, (request_id, names, outputs) in enumerate(zip(self._ids, self._names, results, strict=True))
        ]


def _id_of(document: dict[str, Any]) -> str | None:
    text = str(document.get("id") or "")
    return text if text.strip() else None


def _input(tensor: Any) -> dict[str, Any]:
    missing = [
        key for key in ("name", "shape", "datatype", "data") if not isinstance(tensor, dict) or key not in tensor
    ]
    if missing:
        raise PredictionException(f"An input lacks {', '.join(missing)}", BAD_REQUEST)
    data = tensor["data"]
    try:
        shaped = data[0] if tensor["datatype"] == "BYTES" else np.array(data).reshape(tensor["shape"]).tolist()
    except (ValueError, TypeError, LookupError) as error:
        raise PredictionException(
            f"The data of input {tensor['name']!r} does not make its shape {tensor['shape']}: {error}", BAD_REQUEST
        ) from error
    return {**tensor, "data": shaped}


def _output(names: Sequence[str], number: int, result: Any) -> dict[str, Any]:
    flat = np.array(result).flatten()
    return {
        "name": names[number] if number < len(names) else f"output-{number}",
        "datatype": _DATATYPES.get(str(flat.dtype), "BYTES"),
        "data": flat.tolist(),
        "shape": list(flat.shape),
    }
