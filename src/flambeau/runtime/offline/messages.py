"""TorchServe's own protocol between its frontend and a worker, for programs that read or make its messages.

Flambeau's workers speak another (``flambeau.wire``). Numbers are big-endian int32; texts and bytes are preceded by
their length; -1 instead of a length ends a list.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from flambeau.runtime.failures import NOT_SERIALIZABLE
from flambeau.runtime.results import response_body
from flambeau.runtime.rows import decode_value

LOAD = b"L"
PREDICT = b"I"
END_OF_LIST = -1
STREAM_NEXT = "ts_stream_next"

_INTEGER = struct.Struct("!i")


class Receiver(Protocol):
    """A blocking socket."""

    def recv(self, size: int, /) -> bytes: ...


def create_predict_response(
    ret: Sequence[Any] | None,
    req_id_map: Mapping[int, str],
    message: str,
    code: int,
    context: Any = None,
    ts_stream_next: bool = False,
) -> bytearray | None:
    """The answers to a batch as one message.

    Args:
        ret: one result per row; None: every row failed.
        req_id_map: request id by index.
        message: of the whole batch, as is ``code``.
        context: has the status and headers of each row's answer; None: all have ``code`` and no headers.
        ts_stream_next: whether more answers to these rows are to follow.

    Returns:
        None in processes of a rank other than 0, which answer nobody.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return None
    written = bytearray(_integer(code) + _text(message))
    for index, request_id in req_id_map.items():
        written += _text(request_id)
        if context is None:
            written += _text("") + _integer(code) + _text("") + _integer(0)
        else:
            _say_whether_more_follows(context, index, ret, ts_stream_next)
            status, phrase = context.get_response_status(index)
            written += _text(context.get_response_content_type(index) or "")
            written += _integer(200 if status is None else status) + _text(phrase or "")
            written += encode_response_headers(context.get_response_headers(index))
        try:
            body = b"error" if ret is None else response_body(ret[index])
        except (TypeError, ValueError, RecursionError):
            return create_predict_response(None, req_id_map, NOT_SERIALIZABLE, 503)
        written += _integer(len(body)) + bytes(body)
    return written + _integer(END_OF_LIST)


def create_load_model_response(code: int, message: str) -> bytearray:
    """The answer to a load."""
    return bytearray(_integer(code) + _text(message) + _integer(END_OF_LIST))


def encode_response_headers(resp_hdr_map: Mapping[str, str]) -> bytearray:
    """Headers, preceded by their number."""
    written = bytearray(_integer(len(resp_hdr_map)))
    for name, value in resp_hdr_map.items():
        written += _text(name) + _text(value)
    return written


def retrieve_msg(conn: Receiver) -> tuple[bytes, Any]:
    """Wait for the frontend's next message.

    Returns:
        ``b"L"`` and the load as a dict, or ``b"I"`` and a batch as a list of dicts with ``requestId``, ``headers`` and
        ``parameters``.

    Raises:
        ValueError: it is another message.
        SystemExit: the frontend has closed its end.
    """
    command = bytes(_receive(conn, 1))
    if command == LOAD:
        return command, _receive_load(conn)
    if command == PREDICT:
        return command, list(iter(lambda: _receive_request(conn), None))
    raise ValueError(f"Invalid command: {command!r}")


def _say_whether_more_follows(context: Any, index: int, ret: Sequence[Any] | None, ts_stream_next: bool) -> None:
    if ts_stream_next:
        context.set_response_header(index, STREAM_NEXT, "true")
    elif context.stopping_criteria and ret is not None:
        stops = context.stopping_criteria[index](ret[index])
        if stops is not None:
            context.set_response_header(index, STREAM_NEXT, "false" if stops else "true")
    elif context.get_response_headers(index).get(STREAM_NEXT) == "true":
        context.set_response_header(index, STREAM_NEXT, "false")


def _receive_load(conn: Receiver) -> dict[str, Any]:
    load: dict[str, Any] = {"modelName": _receive_sized(conn), "modelPath": _receive_sized(conn)}
    load["batchSize"] = _receive_integer(conn)
    load["handler"] = _receive_sized(conn)
    gpu_id = _receive_integer(conn)
    if gpu_id >= 0:
        load["gpu"] = gpu_id
    load["envelope"] = _receive_sized(conn)
    load["limitMaxImagePixels"] = _receive(conn, 1) != b"\0"
    return load


def _receive_request(conn: Receiver) -> dict[str, Any] | None:
    request_id = _receive_item(conn)
    if request_id is None:
        return None
    return {
        "requestId": request_id,
        "headers": list(iter(lambda: _receive_header(conn), None)),
        "parameters": list(iter(lambda: _receive_parameter(conn), None)),
    }


def _receive_header(conn: Receiver) -> dict[str, bytearray] | None:
    name = _receive_item(conn)
    return None if name is None else {"name": name, "value": _receive_sized(conn)}


def _receive_parameter(conn: Receiver) -> dict[str, Any] | None:
    name = _receive_item(conn)
    if name is None:
        return None
    content_type = _receive_sized(conn).decode()
    value: Any = _receive_sized(conn)
    if os.environ.get("TS_DECODE_INPUT_REQUEST", "true") == "true":
        value = decode_value(content_type, value)
    return {"name": name.decode(), "contentType": content_type, "value": value}


def _receive_item(conn: Receiver) -> bytearray | None:
    """An item of a list; None at the list's end."""
    size = _receive_integer(conn)
    return None if size == END_OF_LIST else _receive(conn, size)


def _receive_sized(conn: Receiver) -> bytearray:
    return _receive(conn, _receive_integer(conn))


def _receive_integer(conn: Receiver) -> int:
    number: int = _INTEGER.unpack(_receive(conn, _INTEGER.size))[0]
    return number


def _receive(conn: Receiver, size: int) -> bytearray:
    received = bytearray()
    while len(received) < size:
        part = conn.recv(size - len(received))
        if not part:
            raise SystemExit(0)
        received += part
    return received


def _integer(number: int) -> bytes:
    return _INTEGER.pack(number)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _integer(len(encoded)) + encoded
