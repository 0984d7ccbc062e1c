"""Tensors of the Open Inference Protocol: gRPC's messages to the JSON that handlers know, and back. Pure."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec

from flambeau.errors import InternalError
from flambeau.frontends.grpc.protos.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from flambeau.request import Payload

FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
"""By data type. ``BYTES`` is text in JSON, and treated by itself."""

BYTES = "BYTES"


class OutputTensor(msgspec.Struct):
    """One output of an answer."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] = []
    parameters: dict[str, Any] = {}


class InferAnswer(msgspec.Struct):
    """What a handler answered."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str = ""


_decode = msgspec.json.Decoder(InferAnswer).decode


def request_json(request: ModelInferRequest) -> bytes:
    """What the handler gets: id, model and inputs. Parameters, wanted outputs and raw contents are not passed on."""
    inputs = []
    for tensor in request.inputs:
        described: dict[str, object] = {
            "name": tensor.name,
            "shape": list(tensor.shape),
            "datatype": tensor.datatype,
        }
        if tensor.datatype == BYTES:
            described["data"] = [base64.b64encode(value).decode() for value in tensor.contents.bytes_contents]
        elif tensor.datatype in FIELDS:
            described["data"] = list(getattr(tensor.contents, FIELDS[tensor.datatype]))
        inputs.append(described)
    return msgspec.json.encode({"id": request.id, "model_name": request.model_name, "inputs": inputs})


def response_message(body: Payload) -> ModelInferResponse:
    """What the handler answered: a JSON object with ``id``, ``model_name``, ``model_version`` and ``outputs``.

    Raises:
        InternalError: it is something else.
    """
    answer = decode_answer(body)
    try:
        response = ModelInferResponse(id=answer.id, model_name=answer.model_name, model_version=answer.model_version)
        for output in answer.outputs:
            tensor = response.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
            if output.datatype == BYTES:
                tensor.contents.bytes_contents.extend(msgspec.json.encode(value) for value in output.data)
            elif output.datatype in FIELDS:
                getattr(tensor.contents, FIELDS[output.datatype]).extend(output.data)
    except (ValueError, TypeError) as error:
        raise _not_an_answer(error) from None
    return response


def decode_answer(body: Payload) -> InferAnswer:
    """The JSON of an answer. Raises InternalError: it is something else."""
    try:
        try:
            return _decode(body)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:  # NaN and infinities are Python's JSON, not the standard's
            return msgspec.convert(json.loads(bytes(body)), InferAnswer)
    except (ValueError, RecursionError) as error:  # msgspec's own are ValueErrors
        raise _not_an_answer(error) from None


def _not_an_answer(error: Exception) -> InternalError:
    return InternalError(f"The handler's answer is not one of the Open Inference Protocol: {error}")
