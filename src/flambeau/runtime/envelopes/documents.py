"""A row's JSON document, and the results of several rows told apart again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from flambeau.runtime.failures import PredictionException
from flambeau.runtime.rows import parse_json

BAD_REQUEST = 400


def document_of(row: dict[str, Any]) -> dict[str, Any]:
    """The JSON object of a row: under ``data`` or ``body``, decoded or not, else the row itself.

    Raises:
        PredictionException: it is none; the client gets 400.
    """
    value = row.get("data") or row.get("body") or row
    if isinstance(value, (bytes, bytearray, memoryview, str)):
        try:
            value = json.loads(value) if isinstance(value, str) else parse_json(bytearray(value))
        except (ValueError, RecursionError) as error:
            raise PredictionException(f"The request is not JSON: {error}", BAD_REQUEST) from error
    if not isinstance(value, dict):
        raise PredictionException("The request is not a JSON object", BAD_REQUEST)
    return value


def list_in(document: dict[str, Any], key: str) -> list[Any]:
    """A list that a request must have.

    Raises:
        PredictionException: it is missing, or no list; the client gets 400.
    """
    value = document.get(key)
    if not isinstance(value, list):
        raise PredictionException(f"The request has no list {key!r}", BAD_REQUEST)
    return value


def by_request(results: Sequence[Any], counts: Sequence[int]) -> list[Sequence[Any]]:
    """The results of each request.

    Args:
        counts: how many inputs each request had, in order.

    Raises:
        ValueError: several requests, and not one result for each input; each request is then tried alone.
    """
    if len(counts) == 1:
        return [results]
    if len(results) != sum(counts):
        raise ValueError(f"{len(results)} results for {sum(counts)} inputs of {len(counts)} requests")
    parts = []
    start = 0
    for count in counts:
        parts.append(results[start : start + count])
        start += count
    return parts
