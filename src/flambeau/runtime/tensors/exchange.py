"""Requests and answers of the Open Inference Protocol, between the wire and a handler."""

from __future__ import annotations

from typing import Any, NamedTuple

from flambeau.errors import BadRequest
from flambeau.request import Gathered, InferenceRequest, Payload
from flambeau.runtime.tensors.documents import read_document
from flambeau.runtime.tensors.messages import HEADER_LENGTH
from flambeau.runtime.tensors.requests import read_request
from flambeau.runtime.tensors.responses import ModelName, write_response
from flambeau.runtime.tensors.row import TensorRow
from flambeau.signature import Signature

BODY, BINARY = "body", "binary"
"""Parameters of a request: its JSON, and what follows it."""

_JSON = (("content-type", "application/json"),)


class Answer(NamedTuple):
    """A row's answer on the wire."""

    body: bytes | Gathered
    headers: tuple[tuple[str, str], ...]


class OpenInference:
    """One model's side of the protocol."""

    def __init__(self, model_name: str, model_version: str, signature: Signature | None) -> None:
        """
        Args:
            signature: None where the handler takes and gives the protocol's JSON, not arrays.
        """
        self._model = ModelName(model_name, model_version)
        self._signature = signature

    def read(self, request: InferenceRequest) -> dict[str, Any] | None:
        """What the handler is given; None: the row of any other request.

        Raises:
            BadRequest: it cannot be read, or is not what the signature asks for.
        """
        values: dict[str, Payload] = {name: value for name, _, value in request.parameters}  # type: ignore[misc]
        if self._signature is None:
            return {BODY: read_document(values[BODY], values[BINARY])} if BINARY in values else None
        if BODY not in values:
            raise BadRequest("The request is a form; send it as application/json.")
        return read_request(values[BODY], values.get(BINARY, b""), self._signature)

    def answer(self, result: Any, row: TensorRow) -> Answer:
        """What the client gets for a result. Raises what ``responses.write_response`` does."""
        body, header_bytes = write_response(result, row, self._model, self._signature or Signature())
        if header_bytes is None:
            return Answer(body, _JSON)
        return Answer(body, (("content-type", "application/octet-stream"), (HEADER_LENGTH, str(header_bytes))))
