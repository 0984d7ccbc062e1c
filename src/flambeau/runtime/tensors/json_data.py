"""The elements of a tensor in JSON: numbers, booleans or texts, in one list or in one list a dimension."""

from __future__ import annotations

import re
from functools import lru_cache
from math import prod
from typing import Annotated, Any

import msgspec
import numpy as np

from flambeau.errors import BadRequest
from flambeau.runtime.tensors.datatypes import BYTES, HELD, Array, object_array
from flambeau.signature import MAX_DIMENSIONS

_LISTS = re.compile(rb"\s*((?:\[\s*)*)")


def read_data(data: msgspec.Raw, name: str, datatype: str, shape: list[int]) -> Array:
    """A tensor of this type and shape.

    Raises:
        BadRequest: an element is of another type or out of range, or they are too many or too few.
    """
    depth = _LISTS.match(data).group(1).count(b"[")  # type: ignore[union-attr]
    if depth > MAX_DIMENSIONS:
        raise BadRequest(f"The data of input {name!r} are nested more than {MAX_DIMENSIONS} deep.")
    try:
        elements = _decoder(datatype, max(depth, 1)).decode(data)
        for _ in range(depth - 1):
            elements = [item for items in elements for item in items]
        if len(elements) != prod(shape):
            raise BadRequest(
                f"The data of input {name!r} are {len(elements)} elements; its shape {shape} has {prod(shape)}."
            )
        if datatype == BYTES:
            return object_array([text.encode() for text in elements]).reshape(shape)
        with np.errstate(over="raise"):
            return np.array(elements, HELD[datatype]).reshape(shape)
    except msgspec.ValidationError as error:
        raise BadRequest(f"The data of input {name!r} are not {datatype}: {error}") from None
    except (OverflowError, FloatingPointError):
        raise BadRequest(f"The data of input {name!r} are out of the range of {datatype}.") from None


@lru_cache(maxsize=256)
def _decoder(datatype: str, depth: int) -> msgspec.json.Decoder[Any]:
    kind: Any = _element(datatype)
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)


def _element(datatype: str) -> Any:
    """The type of one element as JSON has it. Bounds that JSON's decoder cannot hold are left to numpy."""
    if datatype == BYTES:
        return str
    if datatype == "BOOL":
        return bool
    if datatype.startswith(("FP", "BF")):
        return float
    bounds = np.iinfo(HELD[datatype])
    low = msgspec.Meta(ge=int(bounds.min))
    if datatype == "UINT64":
        return Annotated[int, low]
    return Annotated[int, low, msgspec.Meta(le=int(bounds.max))]
