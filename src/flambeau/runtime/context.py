"""What a handler is told about its model and its batch, and what it may say about its answers.

Both classes keep TorchServe's names and arguments. Everything about a batch is made when it is first asked for: most
handlers read no header and set no status, and then cost nothing here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from flambeau.request import Gathered, InferenceReply, InferenceRequest
from flambeau.runtime.wire_text import wire_text

TORCHSERVE_VERSION = "0.12.0"
"""The release whose behaviour handlers may count on: ``ts.__version__`` and the property ``server_version``."""

CONTENT_TYPE = "content-type"


class RequestProcessor:
    """One row's request headers, and the status and headers of its answer."""

    __slots__ = ("_phrase", "_request", "_request_headers", "_response_headers", "_status")

    def __init__(self, request_header: Mapping[str, Any]) -> None:
        self._request: InferenceRequest | None = None
        self._request_headers: dict[str, Any] | None = dict(request_header)
        self._response_headers: dict[str, str] = {}
        self._status = 200
        self._phrase: str | None = None

    @classmethod
    def of(cls, request: InferenceRequest) -> RequestProcessor:
        """The processor of a row, whose headers are decoded when they are first read."""
        processor = cls({})
        processor._request = request
        processor._request_headers = None
        return processor

    def get_request_property(self, key: str) -> Any:
        """The value of a header, looked up in the client's letter case; None where there is none."""
        return self.get_request_properties().get(key)

    def get_request_properties(self) -> dict[str, Any]:
        """All headers; of a repeated one, the last value. Field names map to ``{"content-type": …}``."""
        headers = self._request_headers
        if headers is None:
            headers = self._request_headers = _headers_of(self._request) if self._request else {}
        return headers

    def report_status(self, code: int, reason_phrase: str | None = None) -> None:
        self._status = code
        self._phrase = reason_phrase

    def get_response_status_code(self) -> int:
        return self._status

    def get_response_status_phrase(self) -> str | None:
        return self._phrase

    def add_response_property(self, key: str, value: str) -> None:
        self._response_headers[key] = value

    def get_response_headers(self) -> dict[str, str]:
        return self._response_headers

    def get_response_header(self, key: str) -> str | None:
        return self._response_headers.get(key)

    def reply(self, body: bytes | bytearray | Gathered) -> InferenceReply:
        """The row's answer with this body.

        Raises:
            TypeError, ValueError: the handler set a status that is no number of three digits.
        """
        status = int(self._status)
        if not 100 <= status <= 999:
            raise ValueError(f"response status {status} is not a number of three digits")
        headers = [(wire_text(key), wire_text(value)) for key, value in self._response_headers.items()]
        return InferenceReply(body, status, wire_text(self._phrase or ""), headers)


class Context:
    """What ``initialize`` and ``handle`` are given. One object lives as long as the handler does.

    Handlers keep their own state on it too, by custom in ``context.cache``.
    """

    def __init__(
        self,
        model_name: str,
        model_dir: str,
        manifest: dict[str, Any] | None,
        batch_size: int,
        gpu: int | None,
        mms_version: str,
        limit_max_image_pixels: bool = True,
        metrics: Any = None,
        model_yaml_config: dict[str, Any] | None = None,
    ) -> None:
        self.model_name = model_name
        self.manifest = manifest
        self.model_yaml_config: dict[str, Any] = {} if model_yaml_config is None else model_yaml_config
        self.metrics = metrics
        self.cl_socket = None
        self.stopping_criteria: list[Any] | None = None
        self.header_key_sequence_id = os.environ.get("TS_REQUEST_SEQUENCE_ID", "ts_request_sequence_id")
        self.header_key_sequence_start = os.environ.get("TS_REQUEST_SEQUENCE_START", "ts_request_sequence_start")
        self.header_key_sequence_end = os.environ.get("TS_REQUEST_SEQUENCE_END", "ts_request_sequence_end")
        self._system_properties = {
            "model_dir": model_dir,
            "gpu_id": gpu,
            "batch_size": batch_size,
            "server_name": "MMS",
            "server_version": mms_version,
            "limit_max_image_pixels": limit_max_image_pixels,
        }
        self._rows: Sequence[InferenceRequest] | None = None
        self._request_ids: dict[int, str] | None = None
        self._processors: list[RequestProcessor] | None = None

    def begin_batch(self, rows: Sequence[InferenceRequest]) -> None:
        """Turn to another batch; what was said about the last one is forgotten."""
        self._rows = rows
        self._request_ids = None
        self._processors = None

    def touched_processors(self) -> list[RequestProcessor] | None:
        """The batch's processors, or None if the handler has used none, so that every answer is a plain 200."""
        return self._processors

    @property
    def system_properties(self) -> dict[str, Any]:
        return self._system_properties

    @property
    def request_ids(self) -> dict[int, str] | None:
        """Request id by index; None before the first batch."""
        if self._request_ids is None and self._rows is not None:
            self._request_ids = {index: row.request_id for index, row in enumerate(self._rows)}
        return self._request_ids

    @request_ids.setter
    def request_ids(self, ids: dict[int, str] | None) -> None:
        self._request_ids = ids

    @property
    def request_processor(self) -> list[RequestProcessor] | None:
        """One per row; None before the first batch."""
        if self._processors is None and self._rows is not None:
            self._processors = [RequestProcessor.of(row) for row in self._rows]
        return self._processors

    @request_processor.setter
    def request_processor(self, processors: list[RequestProcessor] | None) -> None:
        self._processors = processors

    def get_request_id(self, idx: int = 0) -> str | None:
        return (self.request_ids or {}).get(idx)

    def get_request_header(self, idx: int, key: str) -> Any:
        return self._processor(idx).get_request_property(key)

    def get_all_request_header(self, idx: int) -> dict[str, Any]:
        return self._processor(idx).get_request_properties()

    def get_sequence_id(self, idx: int) -> Any:
        return self.get_request_header(idx, self.header_key_sequence_id)

    def set_response_content_type(self, idx: int, value: str) -> None:
        self.set_response_header(idx, CONTENT_TYPE, value)

    def get_response_content_type(self, idx: int) -> str | None:
        return self._processor(idx).get_response_header(CONTENT_TYPE)

    def set_response_header(self, idx: int, key: str, value: str) -> None:
        self._processor(idx).add_response_property(key, value)

    def get_response_headers(self, idx: int) -> dict[str, str]:
        return self._processor(idx).get_response_headers()

    def set_response_status(self, code: int = 200, phrase: str = "", idx: int = 0) -> None:
        self._processor(idx).report_status(code, phrase)

    def set_all_response_status(self, code: int = 200, phrase: str = "") -> None:
        for processor in self.request_processor or ():
            processor.report_status(code, phrase)

    def get_response_status(self, idx: int) -> tuple[int, str | None]:
        processor = self._processor(idx)
        return processor.get_response_status_code(), processor.get_response_status_phrase()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Context) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    def _processor(self, idx: int) -> RequestProcessor:
        processors = self.request_processor
        if processors is None:  # before the first batch, or in a program that drives the handler itself
            return RequestProcessor({})
        return processors[idx]


def _headers_of(request: InferenceRequest) -> dict[str, Any]:
    headers: dict[str, Any] = {name: {CONTENT_TYPE: content_type} for name, content_type, _ in request.parameters}
    for name, value in request.headers:
        headers[_text(name)] = _text(value)
    return headers


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")  # any byte is a letter there, as HTTP once defined
