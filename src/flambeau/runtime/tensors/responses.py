"""What a handler returned for a row to a response of the Open Inference Protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np

from flambeau.errors import BadRequest
from flambeau.request import Gathered, Payload
from flambeau.runtime.tensors.datatypes import BF16, BYTES, Array, as_bytes, join_texts, to_array, widened
from flambeau.runtime.tensors.messages import BINARY_SIZE
from flambeau.runtime.tensors.row import TensorRow
from flambeau.signature import Signature
from flambeau.wire.codec import SEGMENT_MIN_BYTES

_encode = msgspec.json.Encoder().encode


class ModelName(NamedTuple):
    """What responses say of the model."""

    name: str
    version: str


class Response(NamedTuple):
    """The body, and the length of the JSON at its beginning; None: it is JSON as a whole."""

    body: bytes | Gathered
    header_bytes: int | None


def write_response(result: Any, row: TensorRow, model: ModelName, signature: Signature) -> Response:
    """
    Args:
        result: arrays, torch tensors or (lists of) numbers and texts: by name in a mapping, in the order of the
            signature's outputs in a tuple, or one alone.

    Raises:
        BadRequest: the client wants an output that there is not.
        TypeError, ValueError, OverflowError: the result is none of these, or not what the signature says.
    """
    results = _by_name(result, signature)
    specs = {spec.name: spec for spec in signature.outputs}
    outputs: list[dict[str, Any]] = []
    buffers: list[Payload] = []
    has_only_numbers = True
    for name, is_binary in _wanted(results, row):
        spec = specs.get(name)
        try:
            datatype, array = to_array(results[name], spec.datatype if spec else None)
        except (TypeError, ValueError, OverflowError) as error:
            raise type(error)(f"output {name!r}: {error}") from None
        if spec is not None and not spec.allows(array.shape):
            raise ValueError(f"output {name!r} has the shape {list(array.shape)}, not {list(spec.shape)}")
        output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        if is_binary:
            data: Payload = join_texts(array) if datatype == BYTES else _bytes_of(array)
            output["parameters"] = {BINARY_SIZE: len(data)}
            buffers.append(data)
        else:
            held = widened(array) if datatype == BF16 else array
            output["data"] = _json_data(held)
            has_only_numbers &= held.dtype.kind != "f" or bool(np.isfinite(held).all())
        outputs.append(output)
    described = {"model_name": model.name, "model_version": model.version, "outputs": outputs}
    if row.id:
        described["id"] = row.id
    # NaN and infinities are Python's JSON, as in all other answers; msgspec would write null.
    header = _encode(described) if has_only_numbers else json.dumps(described).encode()
    if not any(BINARY_SIZE in output.get("parameters", ()) for output in outputs):
        return Response(header, None)
    body = Gathered([header, *buffers])
    return Response(bytes(body) if len(body) < SEGMENT_MIN_BYTES else body, len(header))


def _by_name(result: Any, signature: Signature) -> Mapping[str, Any]:
    names = [spec.name for spec in signature.outputs]
    if isinstance(result, Mapping):
        missing = [name for name in names if name not in result]
        if missing:
            raise ValueError(f"the handler gave no output {missing[0]!r}")
        return {str(name): value for name, value in result.items()}
    values = result if isinstance(result, tuple) else (result,)
    names = names or [f"output_{number}" for number in range(len(values))]
    if len(values) != len(names):
        raise ValueError(f"the handler gave {len(values)} outputs, the signature has {len(names)}")
    return dict(zip(names, values, strict=True))


def _wanted(results: Mapping[str, Any], row: TensorRow) -> Iterator[tuple[str, bool]]:
    """Names of the outputs to send, in order, each with whether in binary form."""
    if row.outputs is None:
        for name in results:
            yield name, row.is_binary
        return
    for name, is_binary in row.outputs.items():
        if name not in results:
            raise BadRequest(f"There is no output {name!r}; there are {', '.join(results)}.")
        yield name, is_binary


def _bytes_of(array: Array) -> Payload:
    return array.reshape(-1).view("u1").data if array.size else b""


def _json_data(array: Array) -> list[Any]:
    elements: list[Any] = array.ravel().tolist()
    return [as_bytes(item).decode() for item in elements] if array.dtype.kind in "OSU" else elements
