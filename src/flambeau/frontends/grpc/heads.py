"""What the headers around a call say: the client's, read; the server's, written.

The server's header blocks use none of HPACK's tables but the static one, so that a response is made of constants.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from flambeau.frontends.grpc.header_blocks import Headers, MalformedHead
from flambeau.frontends.grpc.status import Status

MAX_TEXT_BYTES = 4096
"""Of an error's text as it is sent: clients refuse headers of more than 8 KiB, and would show that error instead."""

_PSEUDO_HEADERS = frozenset((b":method", b":scheme", b":path", b":authority"))
_OF_CONNECTIONS = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))
_GRPC = re.compile(rb"application/grpc(?:[+;].*)?$", re.IGNORECASE)
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNIT_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_MAX_TIMEOUT_S = 30 * 24 * 3600.0
"""A longer one never comes to pass, and loops count in milliseconds that end somewhere."""
_UNSAFE = re.compile(rb"[^\x20-\x24\x26-\x7e]")
_CUT = "…".encode()


@dataclass(frozen=True, slots=True)
class CallHead:
    """The header of one request. Shared by all calls that sent the same."""

    http_method: bytes
    path: bytes
    """``/package.Service/Method``."""
    content_type: bytes
    authorization: bytes | None
    request_id: bytes | None
    encoding: str
    """How compressed messages are; ``identity`` where none are."""
    timeout_s: float | None
    has_bad_timeout: bool = False

    @property
    def is_grpc(self) -> bool:
        """Whether it asks for a call; gRPC-Web, for one, is another protocol."""
        return self.http_method == b"POST" and _GRPC.match(self.content_type) is not None


def read_head(headers: Headers) -> CallHead:
    """What the headers of a request mean.

    Args:
        headers: names and values, decoded, in the order sent.

    Raises:
        MalformedHead: HTTP/2 does not allow them.
    """
    pseudo: dict[bytes, bytes] = {}
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        if name[:1] == b":":
            if fields or name in pseudo or name not in _PSEUDO_HEADERS:
                raise MalformedHead
            pseudo[name] = value
        elif name in _OF_CONNECTIONS or name != name.lower() or (name == b"te" and value != b"trailers"):
            raise MalformedHead
        else:
            fields[name] = value
    if not (pseudo.get(b":method") and pseudo.get(b":scheme") and pseudo.get(b":path")):
        raise MalformedHead
    timeout = fields.get(b"grpc-timeout")
    parsed = None if timeout is None else _TIMEOUT.fullmatch(timeout)
    return CallHead(
        http_method=pseudo[b":method"],
        path=pseudo[b":path"],
        content_type=fields.get(b"content-type", b""),
        authorization=fields.get(b"authorization"),
        request_id=fields.get(b"x-request-id"),
        encoding=fields.get(b"grpc-encoding", b"identity").decode("latin-1"),
        timeout_s=None if parsed is None else min(int(parsed[1]) * _UNIT_S[parsed[2]], _MAX_TIMEOUT_S),
        has_bad_timeout=timeout is not None and parsed is None,
    )


def _literal(name: bytes, value: bytes) -> bytes:
    """One field, not indexed, not compressed. Names are short."""
    return b"\x00" + bytes((len(name),)) + name + _length(len(value)) + value


def _length(value: int) -> bytes:
    """HPACK's integer with a prefix of seven bits."""
    if value < 127:
        return bytes((value,))
    value -= 127
    encoded = [127]
    while value >= 128:
        encoded.append(value % 128 + 128)
        value //= 128
    return bytes((*encoded, value))


_STATUS_200 = b"\x88"
RESPONSE_HEAD = (
    _STATUS_200
    + _literal(b"content-type", b"application/grpc")
    + _literal(b"grpc-accept-encoding", b"identity,deflate,gzip")
)
"""The header block before the first message."""

OK_TRAILERS = _literal(b"grpc-status", b"0")
"""The trailers of a call that went well."""

UNSUPPORTED_MEDIA_TYPE = _literal(b":status", b"415")
"""The whole response to what is not gRPC."""


def trailers(status: Status, text: str) -> bytes:
    """The header block that ends a call.

    Args:
        text: for the client; cut where it is longer than ``MAX_TEXT_BYTES``.
    """
    if status is Status.OK:
        return OK_TRAILERS
    ending = _literal(b"grpc-status", b"%d" % status)
    return ending + _literal(b"grpc-message", _percent_encoded(text)) if text else ending


def _percent_encoded(text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    encoded = _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], raw)
    if len(encoded) <= MAX_TEXT_BYTES:
        return encoded
    kept = raw[: MAX_TEXT_BYTES // 3 - len(_CUT)].decode("utf-8", "ignore").encode() + _CUT  # 3: nothing grows more
    return _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], kept)
