"""JSON as the server writes it in its own replies: two spaces deep, keys in order, one line feed at the end."""

from __future__ import annotations

import msgspec
from starlette.responses import Response


def pretty(value: object) -> bytes:
    """Encode structs, mappings, sequences and scalars; ``UNSET`` fields of structs are left out."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


class PrettyJsonResponse(Response):
    """A reply with a JSON body."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return pretty(content)


def status_response(message: str, status: int = 200) -> Response:
    """``{"status": message}``: how a call that is accepted or done, and ``/ping``, are answered."""
    return PrettyJsonResponse({"status": message}, status)
