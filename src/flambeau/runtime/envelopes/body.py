"""The envelope ``body``: handlers get the values of the rows instead of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.runtime.envelopes.base import BaseEnvelope


class BodyEnvelope(BaseEnvelope):
    """Rows to what is under their ``data`` or ``body``; answers stay as they are."""

    def parse_input(self, data: Sequence[dict[str, Any]]) -> list[Any]:
        return [row.get("data") or row.get("body") for row in data]

    def format_output(self, data: Any) -> Any:
        return data
