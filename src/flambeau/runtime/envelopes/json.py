"""The envelope ``json``: TensorFlow Serving's JSON, ``{"instances": […]}`` and ``{"predictions": […]}``."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from flambeau.runtime.envelopes.base import BaseEnvelope
from flambeau.runtime.envelopes.documents import BAD_REQUEST, by_request, document_of, list_in
from flambeau.runtime.failures import PredictionException


class JSONEnvelope(BaseEnvelope):
    """Handlers get the instances of all requests as one list, and answer each."""

    _counts: Sequence[int] = ()

    def parse_input(self, data: Sequence[dict[str, Any]]) -> list[Any]:
        """Instances, their base64 (``{"b64": text}``, in place of an instance or of one of its columns) decoded.

        Raises:
            PredictionException: a request has no instances; the client gets 400.
        """
        requests = [list_in(document_of(row), "instances") for row in data]
        self._counts = [len(instances) for instances in requests]
        return [_decoded(instance) for instances in requests for instance in instances]

    def format_output(self, data: Sequence[Any]) -> list[str]:
        """Per request the text of its ``{"predictions": […]}``."""
        return [json.dumps({"predictions": results}) for results in by_request(data, self._counts)]


def _decoded(instance: Any) -> Any:
    if not isinstance(instance, dict):
        return instance
    if _is_base64(instance):
        return _from_base64(instance["b64"])
    return {column: _from_base64(value["b64"]) if _is_base64(value) else value for column, value in instance.items()}


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["b64"]


def _from_base64(text: Any) -> bytes:
    try:
        return base64.b64decode(text)
    except (binascii.Error, TypeError, ValueError) as error:
        raise PredictionException(f"b64 is not base64: {error}", BAD_REQUEST) from error
