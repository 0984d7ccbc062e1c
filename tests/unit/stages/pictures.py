"""Image files for the tests, made here so that what is in them is known."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 43, 65


def gradient(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Smooth, so that JPEG keeps it nearly as it is; no symmetry; different in each channel."""
    rows, columns = np.mgrid[0:height, 0:width]
    channels = rows * 255 // height, columns * 255 // width, (rows + columns) * 200 // (height + width)
    return np.stack(channels, axis=-1).astype(np.uint8)


def encoded(image: Image.Image | np.ndarray, file_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, file_format, **options)
    return file.getvalue()


def jpeg(image: Image.Image | np.ndarray | None = None, **options: Any) -> bytes:
    return encoded(gradient() if image is None else image, "JPEG", **{"quality": 95, **options})


def png(image: Image.Image | np.ndarray | None = None, **options: Any) -> bytes:
    return encoded(gradient() if image is None else image, "PNG", **options)


def with_orientation(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


GREY, RGB, GREY_ALPHA, RGBA = 0, 2, 4, 6
"""Colour types of PNG."""


def raw_png(
    values: np.ndarray,
    color: int,
    *,
    size: tuple[int, int] | None = None,
    filter_type: int = 0,
    length: int | None = None,
) -> bytes:
    """A PNG file written by hand: 16 bits, which Pillow does not write in colour, and damage with right checksums.

    Args:
        values: ``uint8`` or ``uint16``, one line a row.
        size: height and width for the header, if not those of the values.
        filter_type: of each line; those above 4 do not exist.
        length: compressed bytes to keep.
    """
    depth = values.dtype.itemsize * 8
    height, width = size or values.shape[:2]
    lines = b"".join(bytes([filter_type]) + line.astype(line.dtype.newbyteorder(">")).tobytes() for line in values)
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    pixels = zlib.compress(lines)[:length]
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
