"""Which model a request target means: every path that predicts or explains, as values. No I/O, no model is looked up.

The path is percent-decoded first and split then, empty segments at its end are dropped and others count, as in
TorchServe: ``/predictions/m/`` is ``/predictions/m``; ``//predictions/m`` is no route.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from flambeau.errors import BadRequest
from flambeau.frontends.http.errors import malformed
from flambeau.frontends.http.urlencoded import decode_pairs
from flambeau.request import EXPLAIN, PREDICT, ModelRef, Payload

_INCOMPLETE_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")

# Their second segment is never the action of a legacy ``/{model}/predict``.
_NOT_A_LEGACY_MODEL = frozenset({"ping", "predictions", "explanations", "api-description", "models", "v1", "v2"})


class PredictRoute(NamedTuple):
    """What the target of a prediction says."""

    model: ModelRef | None
    """None: ``/invocations`` without a ``model_name`` in the query; :func:`invoked_model` finds it."""
    injected: tuple[tuple[bytes, bytes], ...] = ()
    """Headers that the handler sees after the client's own."""
    query: tuple[tuple[str, bytes], ...] = ()
    """Pairs of the query string that become fields of the handler's row; only legacy routes have any."""
    is_open_inference: bool = False
    """Whether the body is a request of the Open Inference Protocol."""


def split_path(path: str) -> tuple[str, ...]:
    """Segments of a decoded path without the empty ones at its end; ``/`` has none.

    Paths that do not begin with ``/`` (``*``, a proxy's absolute form) have one segment that matches no route.
    """
    if not path.startswith("/"):
        return (path,)
    return tuple(path.rstrip("/").split("/")[1:])


def predict_route(target: bytes) -> PredictRoute | None:
    """What a request target means to the inference port; None if it does not predict or explain.

    Args:
        target: as it stands in the request line: path and query string, percent-encoded.

    Raises:
        BadRequest: the path has an incomplete percent escape or is not UTF-8, or the query has too many fields.
    """
    path, _, query = target.partition(b"?")
    return match_predict_route(split_path(_decode_path(path)), query)


def match_predict_route(segments: Sequence[str], query: bytes) -> PredictRoute | None:
    """The same as :func:`predict_route`, for a path that is split already.

    Raises:
        BadRequest: the query has too many fields.
    """
    match segments:
        case ["predictions", model, *rest]:
            return _versioned(model, rest, PREDICT)
        case ["explanations", model, *rest]:
            return _versioned(model, rest, EXPLAIN)
        case ["v1", "models", action] if action.endswith(":predict"):
            return PredictRoute(ModelRef(action.partition(":")[0]), (PREDICT,))
        case ["v1", "models", action] if action.endswith(":explain"):
            return PredictRoute(ModelRef(action.partition(":")[0]), (EXPLAIN,))
        case ["v2", "models", model, "infer"]:
            return PredictRoute(ModelRef(model), (PREDICT,), is_open_inference=True)
        case ["v2", "models", model, "versions", version, "infer"]:
            return PredictRoute(ModelRef(model, version), (PREDICT,), is_open_inference=True)
        case ["v2", "models", model, "explain"]:
            return PredictRoute(ModelRef(model), (EXPLAIN,))
        case ["invocations"]:
            fields = _query_fields(query)
            return PredictRoute(_named_in(fields), query=fields)
        case ["models", model, "invoke"]:
            return PredictRoute(ModelRef(model), query=_query_fields(query))
        case [first, *_] if first in _NOT_A_LEGACY_MODEL:
            return None
        case [model, "predict"]:
            return PredictRoute(ModelRef(model), query=_query_fields(query))
        case [model, version, "predict"]:
            return PredictRoute(ModelRef(model, version), query=_query_fields(query))
    return None


def workflow_route(target: bytes) -> str | None:
    """The workflow that a request target names; None if it names none.

    Args:
        target: as it stands in the request line.

    Raises:
        BadRequest: the path has an incomplete percent escape or is not UTF-8.
    """
    match split_path(_decode_path(target.partition(b"?")[0])):
        case [route, name, *_] if route.lower() == "wfpredict":
            return name
    return None


def invoked_model(sole_model: str | None, parameters: Sequence[tuple[str, str, Payload]]) -> ModelRef:
    """The model that ``/invocations`` means where the query names none.

    Args:
        sole_model: the only model loaded at start-up, if there is exactly one.
        parameters: the request's fields; ``model_name`` among them names the model.

    Raises:
        BadRequest: neither says which.
    """
    if sole_model is not None:
        return ModelRef(sole_model)
    for name, _, value in parameters:
        if name == "model_name":
            return ModelRef(bytes(value).decode(errors="replace"))
    raise BadRequest("Parameter model_name is required.")


def _versioned(model: str, rest: list[str], explain: tuple[bytes, bytes]) -> PredictRoute:
    version, url_path = (rest[0], "/".join(rest[1:])) if rest else (None, "")
    return PredictRoute(ModelRef(model, version), (explain, (b"url_path", url_path.encode())))


def _named_in(fields: tuple[tuple[str, bytes], ...]) -> ModelRef | None:
    named = dict(fields).get("model_name")
    return None if named is None else ModelRef(named.decode(errors="replace"))


def _decode_path(path: bytes) -> str:
    if b"%" in path:
        if _INCOMPLETE_ESCAPE.search(path):
            raise malformed("The path has an incomplete percent escape.")
        path = unquote_to_bytes(path)
    try:
        return path.decode()
    except UnicodeDecodeError:
        raise malformed("The path is not UTF-8.") from None


def _query_fields(query: bytes) -> tuple[tuple[str, bytes], ...]:
    return tuple(decode_pairs(query, keep_bare=True))
