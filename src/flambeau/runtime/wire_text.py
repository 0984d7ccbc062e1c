"""Text from handlers made fit for the wire."""

from __future__ import annotations


def wire_text(value: object) -> str:
    """``str(value)`` with question marks for lone surrogates, which UTF-8 cannot carry."""
    text = str(value)
    return text if text.isascii() else text.encode(errors="replace").decode()
