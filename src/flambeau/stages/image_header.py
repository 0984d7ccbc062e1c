"""What a JPEG or PNG file says of itself before its pixels: enough to refuse it before any memory is taken."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum

from flambeau.errors import BadRequest

UPRIGHT = 1
"""The EXIF orientation of an image that is to be shown as it is stored."""

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
PNG_START = b"\x89PNG\r\n\x1a\n"
EXIF_START = b"Exif\0\0"
ORIENTATION_TAG, SHORT = 0x0112, 3
START_OF_SCAN, APP1 = 0xDA, 0xE1
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The JPEG markers that start a frame. The three left out in between define tables or are reserved."""
ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""The JPEG markers that no length follows."""


class ImageFormat(Enum):
    JPEG = "JPEG"
    PNG = "PNG"


@dataclass(frozen=True)
class ImageHeader:
    """Size in pixels as stored, before any turning."""

    format: ImageFormat
    width: int
    height: int
    orientation: int = UPRIGHT
    """EXIF's number: 1 to 8; 1 where none is given."""


def read_header(data: bytes | bytearray) -> ImageHeader:
    """
    Raises:
        BadRequest: it is not a JPEG or PNG file, is damaged in its head, or ends too early.
    """
    if not data:
        raise BadRequest("the image is empty")
    if data.startswith(JPEG_START):
        return _read_jpeg(data)
    if data.startswith(PNG_START):
        return _read_png(data)
    raise BadRequest("the data is not a JPEG or PNG image")


def _read_jpeg(data: bytes | bytearray) -> ImageHeader:
    size: tuple[int, int] | None = None
    orientation = UPRIGHT
    position = len(JPEG_START)
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            raise BadRequest("the JPEG image is damaged: a segment does not start with a marker")
        marker = data[position + 1]
        if marker == 0xFF:  # any number of these may stand in front of a marker
            position += 1
            continue
        if marker in ALONE:
            position += 2
            continue
        segment = position + 4
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker in FRAMES and segment + 5 <= len(data):
            height, width = struct.unpack_from(">HH", data, segment + 1)
            size = width, height
        elif marker == APP1 and data.startswith(EXIF_START, segment):
            orientation = _read_orientation(bytes(data[segment + len(EXIF_START) : position + 2 + length]))
        elif marker == START_OF_SCAN:
            if size is None:
                raise BadRequest("the JPEG image is damaged: its pixels come before its size")
            if data.rfind(JPEG_END, segment) < 0:
                break
            return _checked(ImageHeader(ImageFormat.JPEG, *size, orientation))
        position += 2 + length
    raise BadRequest("the JPEG image is truncated: its end is missing")


def _read_png(data: bytes | bytearray) -> ImageHeader:
    start = len(PNG_START)
    if len(data) < start + 25 or data[start + 4 : start + 8] != b"IHDR":
        raise BadRequest("the PNG image is damaged: it has no header")
    width, height = struct.unpack_from(">II", data, start + 8)
    orientation = UPRIGHT
    position = start
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        content = position + 8
        if kind == b"eXIf":
            orientation = _read_orientation(bytes(data[content : content + length]))
        elif kind == b"IDAT":
            if data.rfind(b"IEND", content) < 0:
                break
            return _checked(ImageHeader(ImageFormat.PNG, width, height, orientation))
        position = content + length + 4  # the checksum
    raise BadRequest("the PNG image is truncated: its end is missing")


def _checked(header: ImageHeader) -> ImageHeader:
    if not header.width or not header.height:
        raise BadRequest(f"the {header.format.value} image has no pixels: it is {header.width}x{header.height}")
    return header


def _read_orientation(tiff: bytes) -> int:
    """The orientation that a block of EXIF gives. A block that is damaged gives none: the pixels may be well."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return UPRIGHT
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, directory)
        for entry in range(entries):
            tag, kind, count, value = struct.unpack_from(order + "HHIH", tiff, directory + 2 + 12 * entry)
            if (tag, kind, count) == (ORIENTATION_TAG, SHORT, 1):
                return value if 1 <= value <= 8 else UPRIGHT
    except struct.error:
        pass
    return UPRIGHT
