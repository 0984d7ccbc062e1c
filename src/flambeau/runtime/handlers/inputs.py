"""What a handler takes out of a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flambeau.runtime.failures import PredictionException

BAD_REQUEST = 400


def row_value(row: Any) -> Any:
    """A row's input: what is under ``data``, else what is under ``body``.

    A row that is no mapping is the input itself: service envelopes hand such rows on.

    Raises:
        PredictionException: a mapping has neither; the client gets 400.
    """
    if not isinstance(row, Mapping):
        return row
    value = row.get("data")
    if value is None:
        value = row.get("body")
    if value is None:
        fields = ", ".join(map(str, row)) or "none"
        raise PredictionException(f"The input must be in the body or in a field 'data'; fields: {fields}", BAD_REQUEST)
    return value


def class_number(target: Any) -> int:
    """The class that an explanation is asked for, as it came: a number, or its digits as text or bytes.

    Raises:
        PredictionException: it is neither; the client gets 400.
    """
    try:
        return int(bytes(target) if isinstance(target, (bytearray, memoryview)) else target)
    except (TypeError, ValueError):
        raise PredictionException(f"target {target!r} is not the number of a class", BAD_REQUEST) from None
