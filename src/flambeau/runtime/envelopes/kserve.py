"""The envelope ``kserve``: version 1 of KServe's protocol, ``{"instances": […]}``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.runtime.envelopes.base import BaseEnvelope
from flambeau.runtime.envelopes.documents import by_request, document_of, list_in


class KServeEnvelope(BaseEnvelope):
    """Handlers get the instances of all requests as one list, and answer each."""

    _counts: Sequence[int] = ()

    def parse_input(self, data: Sequence[dict[str, Any]]) -> list[Any]:
        """
        Raises:
            PredictionException: a request has no instances; the client gets 400.
        """
        requests = [list_in(document_of(row), "instances") for row in data]
        self._counts = [len(instances) for instances in requests]
        return [instance for instances in requests for instance in instances]

    def format_output(self, data: Sequence[Any]) -> list[dict[str, Any]]:
        """Per request ``{"predictions": […]}``, or ``{"explanations": […]}`` where those were asked for."""
        key = "explanations" if self.context.get_request_header(0, "explain") == "True" else "predictions"
        return [{key: results} for results in by_request(data, self._counts)]
