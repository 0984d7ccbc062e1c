"""The protocol for handlers written for its JSON: tensors that came as bytes become lists in the document."""

from __future__ import annotations

from typing import Any

from flambeau.request import Payload
from flambeau.runtime.tensors.datatypes import BYTES, Array
from flambeau.runtime.tensors.messages import BINARY_SIZE, InputTensor
from flambeau.runtime.tensors.requests import parse, tensors_of


def read_document(header: Payload, binary: Payload) -> dict[str, Any]:
    """What the JSON would be if its tensors stood in it: ``data`` is one flat list.

    Texts of ``BYTES`` tensors are ``str`` where they are UTF-8, else ``bytes``.

    Raises:
        BadRequest: as ``requests.read_request``.
    """
    request = parse(header)
    tensors = tensors_of(request, binary)
    document: dict[str, Any] = {"inputs": [_input(tensor, tensors[tensor.name]) for tensor in request.inputs]}
    if request.id is not None:
        document["id"] = request.id
    if request.parameters:
        document["parameters"] = request.parameters
    if request.outputs:
        document["outputs"] = [
            {"name": output.name, **({"parameters": output.parameters} if output.parameters else {})}
            for output in request.outputs
        ]
    return document


def _input(tensor: InputTensor, array: Array) -> dict[str, Any]:
    data = array.ravel().tolist()
    if tensor.datatype == BYTES:
        data = [_text(item) for item in data]
    described = {"name": tensor.name, "shape": tensor.shape, "datatype": tensor.datatype, "data": data}
    parameters = {key: value for key, value in (tensor.parameters or {}).items() if key != BINARY_SIZE}
    return {**described, "parameters": parameters} if parameters else described


def _text(item: bytes) -> str | bytes:
    try:
        return item.decode()
    except UnicodeDecodeError:
        return item
