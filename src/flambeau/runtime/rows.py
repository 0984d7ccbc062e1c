"""Requests to the row dicts that handlers are given."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

import msgspec

from flambeau.request import InferenceRequest

logger = logging.getLogger(__name__)

JSON = "application/json"
TEXT = "text"

_decode_json = msgspec.json.Decoder().decode


def make_rows(
    requests: Sequence[InferenceRequest], decode: bool = True, *, views: bool = False
) -> list[dict[str, Any]]:
    """One dict per request, from parameter name to value; of a repeated name, the last value.

    Args:
        decode: whether JSON and text are decoded by their content type; otherwise every value is a ``bytearray``.
        views: whether values are to be as they came, views of shared memory among them.
    """
    if views:
        return [{name: value for name, _, value in request.parameters} for request in requests]
    rows = []
    for request in requests:
        row: dict[str, Any] = {}
        for name, content_type, value in request.parameters:
            raw = value if type(value) is bytearray else bytearray(value)  # type: ignore[arg-type]
            if decode and (content_type == JSON or content_type.startswith(TEXT)):
                row[name] = decode_value(content_type, raw)
            else:
                row[name] = raw
        rows.append(row)
    return rows


def decode_value(content_type: str, raw: bytearray) -> Any:
    """A parameter by its content type.

    Returns:
        What the JSON says for exactly ``application/json``, a ``str`` for ``text…``, else ``raw`` itself, as also
        where the value is not what its type claims.
    """
    if content_type == JSON:
        try:
            return parse_json(raw)
        except (ValueError, RecursionError) as error:
            logger.warning("body is not the JSON that its content type claims, passing it on as bytes: %s", error)
    elif content_type.startswith(TEXT):
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            logger.warning("body is not the UTF-8 text that its content type claims, passing it on as bytes: %s", error)
    return raw


def parse_json(data: bytearray) -> Any:
    """What ``json.loads`` returns, several times faster on what is strictly JSON.

    Raises:
        ValueError: ``json.loads`` takes it no more than msgspec does.
    """
    try:
        return _decode_json(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return json.loads(data)  # NaN, infinities, UTF-16, lone surrogates
