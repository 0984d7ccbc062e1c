"""A request of the Open Inference Protocol to the row that a handler gets, every claim in it checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import msgspec
import numpy as np

from flambeau.errors import BadRequest
from flambeau.request import Payload
from flambeau.runtime.tensors.datatypes import BYTES, HELD, Array, split_texts, view
from flambeau.runtime.tensors.json_data import read_data
from flambeau.runtime.tensors.messages import (
    BINARY_OUTPUT,
    BINARY_OUTPUTS,
    BINARY_SIZE,
    NO_DATA,
    InferRequest,
    InputTensor,
    WantedOutput,
)
from flambeau.runtime.tensors.row import TensorRow
from flambeau.signature import ELEMENT_BYTES, MAX_DIMENSIONS, Signature, TensorSpec

_MAX_ELEMENTS = 1 << 40
"""Of a tensor, without its sizes that are 0: more than a request can have, and less than numpy can count."""

_decode = msgspec.json.Decoder(InferRequest).decode


def read_request(header: Payload, binary: Payload, signature: Signature) -> TensorRow:
    """The row of one request.

    Args:
        header: its JSON.
        binary: what follows the JSON; empty where nothing does.

    Raises:
        BadRequest: it is not the protocol's JSON; types, shapes and bytes do not agree; it is not what the signature
            asks for. The text names the tensor.
    """
    request = parse(header)
    parameters = request.parameters or {}
    row = TensorRow(
        tensors_of(request, binary),
        id=request.id or "",
        parameters=parameters,
        outputs=_wanted(request.outputs, parameters, signature),
        is_binary=_flag(parameters, BINARY_OUTPUTS, False),
    )
    if signature.inputs:
        _check(request.inputs, {spec.name: spec for spec in signature.inputs})
    return row


def parse(header: Payload) -> InferRequest:
    """The JSON of a request, of which no claim is checked yet. Raises BadRequest: it is not that."""
    try:
        return _decode(header)
    except msgspec.ValidationError as error:
        raise BadRequest(f"The request is not one of the Open Inference Protocol: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = "" if len(header) else " It is empty."
        raise BadRequest(f"The request is not JSON: {error}.{hint} NaN and infinities can be sent as bytes.") from None


def tensors_of(request: InferRequest, binary: Payload) -> dict[str, Array]:
    """The arrays of a request by name, in its order. Raises BadRequest as :func:`read_request` does."""
    data = memoryview(binary)
    tensors: dict[str, Array] = {}
    start = 0
    for tensor in request.inputs:
        name = tensor.name
        if name in tensors:
            raise BadRequest(f"Input {name!r} is there twice.")
        _check_claims(tensor)
        size = _binary_size(tensor)
        if size is None:
            tensors[name] = _from_json(tensor)
            continue
        if size > len(data) - start:
            raise BadRequest(
                f"Input {name!r} claims {size} bytes behind the JSON, of which {len(data) - start} are left."
            )
        tensors[name] = _from_bytes(tensor, data, start, size)
        start += size
    if start != len(data):
        raise BadRequest(f"{len(data) - start} bytes behind the JSON belong to no input.")
    return tensors


def _check_claims(tensor: InputTensor) -> None:
    if tensor.datatype not in ELEMENT_BYTES:
        raise BadRequest(f"Input {tensor.name!r} has the unknown datatype {tensor.datatype!r}.")
    if any(size < 0 for size in tensor.shape):
        raise BadRequest(f"Input {tensor.name!r} has a negative size in its shape {tensor.shape}.")
    if len(tensor.shape) > MAX_DIMENSIONS:
        raise BadRequest(f"Input {tensor.name!r} has more than {MAX_DIMENSIONS} dimensions.")
    if prod(max(size, 1) for size in tensor.shape) > _MAX_ELEMENTS:
        raise BadRequest(f"Input {tensor.name!r} has the shape {tensor.shape}, which is too large.")
    if tensor.parameters and "shared_memory_region" in tensor.parameters:
        raise BadRequest(f"Input {tensor.name!r} is in shared memory, which this server does not look at.")


def _binary_size(tensor: InputTensor) -> int | None:
    size = (tensor.parameters or {}).get(BINARY_SIZE)
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise BadRequest(f"Input {tensor.name!r}: {BINARY_SIZE} is not a number of bytes.")
    if tensor.data != NO_DATA:
        raise BadRequest(f"Input {tensor.name!r} has data in JSON and {BINARY_SIZE} as well.")
    return size


def _from_json(tensor: InputTensor) -> Array:
    if tensor.data == NO_DATA:
        raise BadRequest(f"Input {tensor.name!r} has neither data nor {BINARY_SIZE}.")
    return read_data(tensor.data, tensor.name, tensor.datatype, tensor.shape)


def _from_bytes(tensor: InputTensor, data: memoryview, start: int, size: int) -> Array:
    count = prod(tensor.shape)
    if tensor.datatype == BYTES:
        try:
            return split_texts(data[start : start + size], count).reshape(tensor.shape)
        except ValueError as error:
            raise BadRequest(f"Input {tensor.name!r} of shape {tensor.shape}: {error}.") from None
    wanted = count * (ELEMENT_BYTES[tensor.datatype] or 0)
    if size != wanted:
        raise BadRequest(
            f"Input {tensor.name!r} has {size} bytes; {tensor.datatype} of shape {tensor.shape} has {wanted}."
        )
    if not size:
        return np.empty(tensor.shape, HELD[tensor.datatype])
    return view(data, tensor.datatype, start, size).reshape(tensor.shape)


def _wanted(
    outputs: Sequence[WantedOutput] | None, parameters: Mapping[str, Any], signature: Signature
) -> dict[str, bool] | None:
    if not outputs:
        return None
    is_binary = _flag(parameters, BINARY_OUTPUTS, False)
    known = [spec.name for spec in signature.outputs]
    wanted = {}
    for output in outputs:
        of_output = output.parameters or {}
        if known and output.name not in known:
            raise BadRequest(f"There is no output {output.name!r}; there are {', '.join(known)}.")
        for unknown in ("classification", "shared_memory_region"):
            if of_output.get(unknown):
                raise BadRequest(f"Output {output.name!r}: {unknown} is not supported.")
        wanted[output.name] = _flag(of_output, BINARY_OUTPUT, is_binary)
    return wanted


def _flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise BadRequest(f"Parameter {name} is neither true nor false.")
    return value


def _check(inputs: Sequence[InputTensor], specs: Mapping[str, TensorSpec]) -> None:
    """That the inputs are those of the signature."""
    for tensor in inputs:
        spec = specs.get(tensor.name)
        if spec is None:
            raise BadRequest(f"There is no input {tensor.name!r}; there are {', '.join(specs)}.")
        if tensor.datatype != spec.datatype:
            raise BadRequest(f"Input {tensor.name!r} is {tensor.datatype}, the model takes {spec.datatype}.")
        if not spec.allows(tensor.shape):
            raise BadRequest(f"Input {tensor.name!r} has the shape {tensor.shape}, the model takes {list(spec.shape)}.")
    given = {tensor.name for tensor in inputs}
    missing = [name for name, spec in specs.items() if name not in given and not spec.optional]
    if missing:
        raise BadRequest(f"Input {missing[0]!r} is missing.")
