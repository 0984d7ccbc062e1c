"""Image files to pixels."""

from __future__ import annotations

from typing import Any

from flambeau.errors import BadRequest
from flambeau.stages.decoders import load_decoders
from flambeau.stages.image_header import UPRIGHT, read_header
from flambeau.stages.requirements import require
from flambeau.stages.stage import RowStage

MAX_PIXELS = 89_478_485
"""A quarter of a gibibyte of pixels at three bytes: what Pillow warns of, too."""


class DecodeImage(RowStage):
    """JPEG and PNG files to ``uint8 [height, width, 3]`` arrays: contiguous, writable, nobody else's.

    Arrays, because that is what most libraries give without a copy, and what :class:`ToTensor` takes without one. Grey,
    CMYK, palette and 16-bit images become RGB of 8 bits; transparency is dropped. Damage in the middle of a JPEG's
    pixels that leaves its structure whole cannot be seen, by any library: it gives a picture with damage in it.
    """

    def __init__(
        self,
        color: str = "rgb",
        backend: str | None = None,
        *,
        max_pixels: int = MAX_PIXELS,
        exif_orientation: bool = True,
    ) -> None:
        """
        Args:
            color: order of the channels, ``"rgb"`` or ``"bgr"``.
            backend: ``"simplejpeg"``, ``"torchvision"``, ``"opencv"`` or ``"pillow"``; None: the fastest of those
                installed. For a format that the one named does not decode (the first two decode JPEG only), it is the
                fastest of the others.
            max_pixels: larger images are refused by what their header says, before any memory is taken.
            exif_orientation: turn photographs the way the camera was held, as viewers do. False: as the pixels are
                stored, as torchvision and TorchServe's image handlers leave them.

        Raises:
            ValueError: an option has no such value.
            ImportError: the backend named is not installed, or none is.
        """
        if color not in ("rgb", "bgr"):
            raise ValueError(f"color is 'rgb' or 'bgr', not {color!r}")
        self.blue_first = color == "bgr"
        self.max_pixels = max_pixels
        self.exif_orientation = exif_orientation
        self._decoders = load_decoders(backend)
        self._np = require("numpy")

    def one(self, row: Any) -> Any:
        """
        Raises:
            BadRequest: the row is not the bytes of an image that can be decoded.
        """
        data = _bytes_of(row)
        header = read_header(data)
        if header.width * header.height > self.max_pixels:
            raise BadRequest(
                f"the image is too large: {header.width}x{header.height} is more than {self.max_pixels} pixels"
            )
        decode = self._decoders.get(header.format)
        if decode is None:
            raise BadRequest(f"{header.format.value} images need Pillow or OpenCV: pip install pillow")
        try:
            pixels = decode(data, self.blue_first)
        except Exception as error:  # each library has errors of its own, some with paths in their text
            raise BadRequest(f"the {header.format.value} image is damaged and cannot be decoded") from error
        if header.orientation == UPRIGHT or not self.exif_orientation:
            return pixels
        return self._np.ascontiguousarray(_upright(self._np, pixels, header.orientation))


def _bytes_of(row: Any) -> bytes | bytearray:
    if isinstance(row, (bytes, bytearray)):
        return row
    try:
        return bytes(memoryview(row))
    except TypeError:
        raise BadRequest(f"the bytes of an image file are expected, not {type(row).__name__}") from None


def _upright(np: Any, pixels: Any, orientation: int) -> Any:
    """A view of the pixels as they are to be seen. 5 to 8 are lying on their side."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = np.flip(pixels, 0)
    if orientation in (2, 3, 6, 7):
        pixels = np.flip(pixels, 1)
    return pixels
