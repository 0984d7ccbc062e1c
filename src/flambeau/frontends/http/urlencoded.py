"""``a=1&b=2``: query strings and urlencoded forms, with values as the bytes that they are."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from flambeau.frontends.http.errors import malformed

MAX_FIELDS = 1024
"""Fields of one form. A row has a handful; each field costs many times its bytes, which a client must not multiply."""


def decode_pairs(encoded: bytes, *, keep_bare: bool) -> list[tuple[str, bytes]]:
    """Names and values in order. What is not UTF-8 in a name is replaced; an incomplete escape stays as it is.

    Args:
        keep_bare: whether a token without ``=`` is a field with an empty value, or none.

    Raises:
        BadRequest: there are more than :data:`MAX_FIELDS`.
    """
    tokens = encoded.split(b"&", MAX_FIELDS)
    if len(tokens) > MAX_FIELDS:
        raise malformed(f"There are more than {MAX_FIELDS} fields.")
    pairs = []
    for token in tokens:
        name, equals, value = token.partition(b"=")
        if equals or (token and keep_bare):
            pairs.append((_decode(name).decode(errors="replace"), _decode(value)))
    return pairs


def _decode(encoded: bytes) -> bytes:
    return unquote_to_bytes(encoded.replace(b"+", b" "))
