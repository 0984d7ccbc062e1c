"""The protocol's JSON, for handlers that get arrays: request and response, with tensors as JSON or behind it."""

from __future__ import annotations

from typing import Any

import msgspec

NO_DATA = msgspec.Raw()


class InputTensor(msgspec.Struct):
    """One tensor of a request."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, Any] | None = None
    data: msgspec.Raw = NO_DATA
    """Its elements as JSON; :data:`NO_DATA` where they follow the JSON as bytes."""


class WantedOutput(msgspec.Struct):
    """One tensor that a client wants back."""

    name: str
    parameters: dict[str, Any] | None = None


class InferRequest(msgspec.Struct):
    """What stands in the JSON of a request."""

    inputs: list[InputTensor]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[WantedOutput] | None = None


BINARY_SIZE = "binary_data_size"
"""Parameter of a tensor whose elements follow the JSON: their length in bytes."""

BINARY_OUTPUT = "binary_data"
"""Parameter of a wanted output: whether it is to come as bytes."""

BINARY_OUTPUTS = "binary_data_output"
"""Parameter of a request: the same for outputs that do not say."""

HEADER_LENGTH = "Inference-Header-Content-Length"
"""Header of a message with bytes behind its JSON: the length of the JSON."""
