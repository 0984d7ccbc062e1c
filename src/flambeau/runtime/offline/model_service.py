"""Base classes of handlers that were written for MXNet Model Server, TorchServe's ancestor."""

from __future__ import annotations

import ast
import json
from abc import abstractmethod
from pathlib import Path
from typing import Any

from flambeau.errors import InvalidModel


class ModelService:
    """Answers the first row of a batch; what is in it the archive's signature says.

    The signature is a JSON file that the manifest names under ``Model``, ``Signature``, with ``input_type``, a content
    type, and ``inputs``, of which the first one's ``data_name`` is the name of the row's value.
    """

    def __init__(
        self, model_name: str, model_dir: str, manifest: dict[str, Any] | None, gpu: int | None = None
    ) -> None:
        self.ctx: Any = None
        self._context: Any = None
        self._signature: dict[str, Any] = {}

    def initialize(self, context: Any) -> None:
        """Read the signature.

        Raises:
            InvalidModel: there is none.
        """
        self._context = context
        named = ((context.manifest or {}).get("Model") or {}).get("Signature")
        path = Path(context.system_properties["model_dir"]) / str(named)
        if named is None or not path.is_file():
            raise InvalidModel("Signature file is not found.")
        self._signature = json.loads(path.read_bytes())

    @abstractmethod
    def inference(self, data: list[Any]) -> Any:
        """The input, in a list, to the answer."""

    @abstractmethod
    def ping(self) -> Any:
        """Whether the model is well."""

    def signature(self) -> dict[str, Any]:
        return self._signature

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """Answer a batch of one row."""
        row = data[0]
        names = (self._signature["inputs"][0]["data_name"], "body", "data")
        value = next((row[name] for name in names if row.get(name) is not None), None)
        if self._signature["input_type"] == "application/json" and isinstance(value, (bytes, bytearray)):
            value = ast.literal_eval(value.decode())
        answer = self.inference([value])
        return answer if isinstance(answer, list) else [answer]


class SingleNodeService(ModelService):
    """Three stages, of which only :meth:`_inference` must be written."""

    def inference(self, data: list[Any]) -> Any:
        return self._postprocess(self._inference(self._preprocess(data)))

    @abstractmethod
    def _inference(self, data: Any) -> Any:
        """What :meth:`_preprocess` returned to the model's output."""

    def _preprocess(self, data: list[Any]) -> Any:
        return data

    def _postprocess(self, data: Any) -> Any:
        return data
