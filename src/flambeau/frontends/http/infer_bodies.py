"""Requests of the Open Inference Protocol: a body is JSON, or JSON with the bytes of tensors behind it.

Nothing here looks into the JSON; the worker does that, where its handler is. The two parts travel as two values, so
that the bytes of tensors begin where the processor likes to read them.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from flambeau.errors import BadRequest, PayloadTooLarge
from flambeau.request import Payload

_JSON = "application/json"
_BYTES = "application/octet-stream"

_WINDOW_BITS = {b"gzip": zlib.MAX_WBITS | 16, b"deflate": zlib.MAX_WBITS}


def infer_fields(
    headers: Mapping[bytes, bytes], media_type: str, body: Payload, max_bytes: int
) -> tuple[tuple[str, str, Payload], ...]:
    """The fields of a request: ``body``, its JSON, and ``binary``, where bytes follow that.

    Args:
        headers: those of the request that say how it is made, by name in small letters.
        media_type: of the body as a whole.
        max_bytes: of a body that is compressed, when it no longer is.

    Raises:
        BadRequest: the headers do not fit the body.
        PayloadTooLarge
    """
    encoding = headers.get(b"content-encoding")
    if encoding is not None:
        body = _decoded(body, encoding.strip().lower(), max_bytes)
    length = headers.get(b"inference-header-content-length")
    if length is None:
        return (("body", media_type, body),)
    if not length.isdigit() or len(length) > len(str(max_bytes)) or int(length) > len(body):
        text = length[:32].decode("latin-1")
        raise BadRequest(f"Inference-Header-Content-Length is {text!r}; the body has {len(body)} bytes.")
    view = memoryview(body)
    return (("body", _JSON, view[: int(length)]), ("binary", _BYTES, view[int(length) :]))


def _decoded(body: Payload, encoding: bytes, max_bytes: int) -> Payload:
    if encoding in (b"", b"identity"):
        return body
    if encoding not in _WINDOW_BITS:
        raise BadRequest(f"Content-Encoding {encoding[:32].decode('latin-1')!r} is neither gzip nor deflate.")
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        plain = inflater.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise BadRequest(f"The body is not {encoding.decode()}: {error}") from None
    if len(plain) > max_bytes:
        raise PayloadTooLarge(f"Body of more than {max_bytes} bytes (max_request_size).")
    if not inflater.eof:
        raise BadRequest(f"The body is not {encoding.decode()}: it ends too early")
    return plain
