"""Tensors of the Open Inference Protocol as bytes: gRPC's messages to what travels to the worker, and back. Pure.

Bytes are the same everywhere: in ``raw_input_contents``, behind the JSON of a body over HTTP, on the way to the worker.
So a message with raw contents becomes JSON that describes them, and the bytes as they came.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from flambeau.errors import BadRequest, InternalError
from flambeau.frontends.grpc.protos.open_inference_pb2 import (
    InferParameter,
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
)
from flambeau.frontends.grpc.tensors import BYTES, FIELDS, decode_answer, response_message
from flambeau.request import InferenceReply, Payload, RequestValue

_CODES = {
    "BOOL": "?",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
"""Of ``struct``. ``BYTES`` and ``BF16`` have none."""

_LENGTH = struct.Struct("<I")

_HEADER_LENGTH = "inference-header-content-length"


def raw_fields(request: ModelInferRequest) -> list[tuple[str, str, RequestValue]]:
    """The fields of a request whose tensors are to travel as bytes.

    Raises:
        BadRequest: it does not have one raw content for each input, or typed contents are not of their input's type.
    """
    contents: Sequence[Payload]
    if request.raw_input_contents:
        contents = request.raw_input_contents
        if len(contents) != len(request.inputs):
            raise BadRequest(f"There are {len(request.inputs)} inputs and raw contents of {len(contents)}.")
        for tensor in request.inputs:
            if tensor.HasField("contents"):
                raise BadRequest(f"Input {tensor.name!r} has contents of its own beside the raw contents.")
    else:
        contents = [_packed(tensor) for tensor in request.inputs]
    inputs: list[dict[str, Any]] = [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
            "parameters": _parameters(tensor.parameters) | {"binary_data_size": len(data)},
        }
        for tensor, data in zip(request.inputs, contents, strict=True)
    ]
    described: dict[str, Any] = {
        "id": request.id,
        "inputs": inputs,
        "parameters": _parameters(request.parameters) | {"binary_data_output": True},
    }
    if request.outputs:
        described["outputs"] = [
            {"name": output.name, "parameters": _parameters(output.parameters)} for output in request.outputs
        ]
    header = msgspec.json.encode(described)
    binary: RequestValue = contents[0] if len(contents) == 1 else b"".join(contents)
    return [("body", "application/json", header), ("binary", "application/octet-stream", binary)]


def raw_response(reply: InferenceReply) -> ModelInferResponse:
    """An answer with raw contents, whichever form the handler gave it.

    Raises:
        InternalError: it is no answer of the protocol.
    """
    header, binary = _split(reply)
    answer = decode_answer(header)
    response = ModelInferResponse(id=answer.id, model_name=answer.model_name, model_version=answer.model_version)
    start = 0
    for output in answer.outputs:
        response.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
        size = output.parameters.get("binary_data_size")
        if size is None:
            try:
                response.raw_output_contents.append(pack(output.datatype, _flat(output.data)))
            except (struct.error, TypeError, ValueError, OverflowError) as error:
                raise InternalError(f"The handler's output {output.name!r} is not {output.datatype}: {error}") from None
        else:
            response.raw_output_contents.append(bytes(binary[start : start + size]))
            start += size
    return response


def typed_response(reply: InferenceReply) -> ModelInferResponse:
    """The same with contents of their types, as they came; raw where one is of a type that has no field.

    Raises:
        InternalError: it is no answer of the protocol.
    """
    header, _ = _split(reply)
    if header is reply.body:
        return response_message(header)
    response = raw_response(reply)
    if all(output.datatype in FIELDS or output.datatype == BYTES for output in response.outputs):
        for output, data in zip(response.outputs, response.raw_output_contents, strict=True):
            _unpack(output.datatype, data, output.contents)
        del response.raw_output_contents[:]
    return response


def _split(reply: InferenceReply) -> tuple[Payload, memoryview]:
    """The JSON of an answer and what follows it; an answer that is JSON as a whole comes back as it is."""
    body: Payload = reply.body  # type: ignore[assignment]
    for name, value in reply.headers:
        if name.lower() == _HEADER_LENGTH:
            view = memoryview(body)
            return view[: int(value)], view[int(value) :]
    return body, memoryview(b"")


def _parameters(parameters: Mapping[str, InferParameter]) -> dict[str, Any]:
    chosen = ((name, value, value.WhichOneof("parameter_choice")) for name, value in parameters.items())
    return {name: getattr(value, choice) for name, value, choice in chosen if choice}


def _packed(tensor: ModelInferRequest.InferInputTensor) -> bytes:
    datatype = tensor.datatype
    if datatype == BYTES:
        return pack(BYTES, tensor.contents.bytes_contents)
    if datatype not in FIELDS:
        raise BadRequest(f"Input {tensor.name!r}: {datatype!r} must come as raw contents, if it is a datatype at all.")
    try:
        return pack(datatype, getattr(tensor.contents, FIELDS[datatype]))
    except struct.error as error:
        raise BadRequest(f"The contents of input {tensor.name!r} are not {datatype}: {error}") from None


def pack(datatype: str, elements: Iterable[Any]) -> bytes:
    """Elements as the bytes of a tensor. Raises struct.error, TypeError, ValueError, OverflowError."""
    if datatype == BYTES:
        parts: list[bytes] = []
        for element in elements:
            data = element.encode() if isinstance(element, str) else element
            if not isinstance(data, bytes):
                raise TypeError(f"{type(data).__name__} is no text")
            parts += (_LENGTH.pack(len(data)), data)
        return b"".join(parts)
    if datatype == "BF16":
        return b"".join(struct.pack("<f", element)[2:] for element in elements)
    values = list(elements)
    code = _CODES.get(datatype)
    if code is None:
        raise ValueError(f"there is no datatype {datatype!r}")
    return struct.pack(f"<{len(values)}{code}", *values)


def _unpack(datatype: str, data: bytes, contents: InferTensorContents) -> None:
    if datatype == BYTES:
        start = 0
        while start < len(data):
            (length,) = _LENGTH.unpack_from(data, start)
            start += _LENGTH.size
            contents.bytes_contents.append(data[start : start + length])
            start += length
        return
    code = _CODES[datatype]
    count = len(data) // struct.calcsize(f"<{code}")
    getattr(contents, FIELDS[datatype]).extend(struct.unpack(f"<{count}{code}", data))


def _flat(data: object) -> list[Any]:
    if not isinstance(data, list):
        return [data]
    return [element for item in data for element in _flat(item)]
