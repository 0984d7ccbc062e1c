"""A request's body as the fields of the handler's row: raw, multipart or urlencoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from flambeau.frontends.http.errors import malformed
from flambeau.frontends.http.urlencoded import MAX_FIELDS, decode_pairs

Field = tuple[str, str, bytes]
"""Name, media type (empty where the client gave none), value."""

MAX_PART_HEADERS = 16
MAX_PART_HEADER_BYTES = 8 * 1024
"""Of one header line of a part: room for a long file name."""


def parameters(content_type: bytes | None, body: bytes, query: Sequence[tuple[str, bytes]] = ()) -> list[Field]:
    """The fields that the handler will see.

    Args:
        content_type: of the request; None where it has none.
        query: the route's fields (see ``PredictRoute.query``); a field of the body wins over one of the same name.

    Returns:
        One field ``body`` for a raw body, present even if it is empty; else one for each name of the form, where the
        last of several with the same name counts. Media types come without parameters such as ``charset``.

    Raises:
        BadRequest: the form cannot be read, is cut short, or is over a limit.
    """
    media_type = _media_type(content_type) if content_type else ""
    essence = media_type.lower()
    if essence == "multipart/form-data":
        fields = _multipart(content_type or b"", body)
    elif essence == "application/x-www-form-urlencoded":
        # As in TorchServe, a bare token is no field: a body of JSON, sent with curl's default type, has none.
        fields = [(name, "", value) for name, value in decode_pairs(body, keep_bare=False)]
    elif query:
        fields = [("body", media_type, body)]
    else:
        return [("body", media_type, body)]
    last_of_each = {name: (name, "", value) for name, value in query}
    for named in fields:
        last_of_each[named[0]] = named
    return list(last_of_each.values())


def _media_type(content_type: bytes) -> str:
    return content_type.partition(b";")[0].strip().decode("latin-1")


def _multipart(content_type: bytes, body: bytes) -> list[Field]:
    boundary = _options(content_type).get(b"boundary")
    if not boundary:
        raise malformed("The multipart content type has no boundary.")
    # Counted beforehand, because the parser is slow at what only begins like a delimiter: a body full of those would
    # keep the event loop from everybody else for seconds.
    if body.count(b"--" + boundary) > MAX_FIELDS + 1:
        raise malformed(f"There are more than {MAX_FIELDS} parts.")
    form = _Form()
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": form.begin_part,
                "on_header_field": form.take_header_name,
                "on_header_value": form.take_header_value,
                "on_header_end": form.end_header,
                "on_part_data": form.take_data,
                "on_part_end": form.end_part,
                "on_end": form.end,
            },
            max_header_count=MAX_PART_HEADERS,
            max_header_size=MAX_PART_HEADER_BYTES,
        )
        parser.write(body)
    except FormParserError as error:
        raise malformed(f"The multipart body cannot be read: {error}.") from None
    if not form.is_complete:
        raise malformed("The multipart body is cut short.")
    return form.fields


@dataclass(slots=True)
class _Part:
    """What has been read of one part."""

    name: str | None = None
    media_type: str = ""
    pieces: list[bytes] = field(default_factory=list)


class _Form:
    """Takes what the multipart parser finds, piece by piece."""

    def __init__(self) -> None:
        self.fields: list[Field] = []
        self.is_complete = False
        self._part = _Part()
        self._header_name = b""
        self._header_value = b""

    def begin_part(self) -> None:
        self._part = _Part()

    def take_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def take_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def end_header(self) -> None:
        header = self._header_name.lower()
        if header == b"content-disposition":
            name = _options(self._header_value).get(b"name")
            self._part.name = None if name is None else name.decode(errors="replace")
        elif header == b"content-type":
            self._part.media_type = _media_type(self._header_value)
        self._header_name = b""
        self._header_value = b""

    def take_data(self, data: bytes, start: int, end: int) -> None:
        self._part.pieces.append(data[start:end])

    def end_part(self) -> None:
        part = self._part
        if part.name is None:
            raise malformed("A part of the multipart body has no name.")
        self.fields.append((part.name, part.media_type, b"".join(part.pieces)))

    def end(self) -> None:
        self.is_complete = True


def _options(header: bytes) -> dict[bytes, bytes]:
    _, options = parse_options_header(header)
    return {name.lower(): value for name, value in options.items()}
