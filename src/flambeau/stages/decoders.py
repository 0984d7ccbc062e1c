"""The libraries that can turn a JPEG or PNG file into pixels, and which of them is taken.

All give the same: ``uint8 [height, width, 3]``, contiguous, writable, in no memory but its own. The order is fixed, not
measured anew on each machine: three of the four run the same libjpeg-turbo and are close to each other, so measuring
would cost more than it could win. ``python -m benchmarks.decode`` measures it; docs/stages.md has the figures.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from flambeau.errors import BadRequest
from flambeau.stages.image_header import ImageFormat
from flambeau.stages.requirements import pip_name, require

Decode = Callable[[bytes | bytearray, bool], Any]
"""A file, and whether blue is to come first, to its pixels. Raises whatever the library raises."""


class Decoder(NamedTuple):
    """A library that decodes."""

    package: str
    formats: frozenset[ImageFormat]
    load: Callable[[], Decode]


def _simplejpeg() -> Decode:
    simplejpeg = require("simplejpeg")

    def decode(data: bytes | bytearray, blue_first: bool) -> Any:
        # not strict: what libjpeg only warns of is no error in the other libraries either
        return simplejpeg.decode_jpeg(data, "BGR" if blue_first else "RGB", strict=False)

    return decode


def _torchvision() -> Decode:
    torch = require("torch")
    rgb = require("torchvision.io").ImageReadMode.RGB.value
    np = require("numpy")
    if not hasattr(torch.ops.image, "decode_jpeg"):
        raise ModuleNotFoundError("this torchvision does not decode images", name="torchvision")
    decode_jpeg = torch.ops.image.decode_jpeg  # the function around it warns, at each call, that it will go one day

    def decode(data: bytes | bytearray, blue_first: bool) -> Any:
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)  # warns of memory that is read-only
        pixels = decode_jpeg(encoded, rgb).permute(1, 2, 0).numpy()
        return np.ascontiguousarray(pixels[..., ::-1] if blue_first else pixels)

    return decode


def _opencv() -> Decode:
    cv2 = require("cv2")
    np = require("numpy")
    red_first = getattr(cv2, "IMREAD_COLOR_RGB", None)  # since 4.11

    def decode(data: bytes | bytearray, blue_first: bool) -> Any:
        flags = cv2.IMREAD_COLOR if blue_first or red_first is None else red_first
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is None:
            raise BadRequest("the image is damaged")
        return pixels if blue_first or red_first is not None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)

    return decode


def _pillow() -> Decode:
    pil_image = require("PIL.Image")
    np = require("numpy")

    def decode(data: bytes | bytearray, blue_first: bool) -> Any:
        with pil_image.open(io.BytesIO(data), formats=[member.value for member in ImageFormat]) as image:
            if image.mode.startswith("I"):  # 16 bits of grey, which convert() would clip instead of scaling
                grey = np.asarray(image)
                return np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=-1)
            image.info.pop("transparency", None)  # convert() warns that it cannot keep it
            pixels = np.array(image if image.mode == "RGB" else image.convert("RGB"))
        return np.ascontiguousarray(pixels[..., ::-1]) if blue_first else pixels

    return decode


DECODERS: dict[str, Decoder] = {
    "simplejpeg": Decoder("simplejpeg", frozenset({ImageFormat.JPEG}), _simplejpeg),
    "torchvision": Decoder("torchvision", frozenset({ImageFormat.JPEG}), _torchvision),
    "opencv": Decoder("cv2", frozenset(ImageFormat), _opencv),
    "pillow": Decoder("PIL", frozenset(ImageFormat), _pillow),
}
"""Fastest first. torchvision can decode PNG too, but a damaged file ends its process (seen in 0.29), so it may not."""


def load_decoders(backend: str | None) -> dict[ImageFormat, Decode]:
    """The decoder for each format: the one named where it knows the format, else the fastest that can be imported.

    A format that nothing installed knows is left out.

    Raises:
        ValueError: there is no backend of this name.
        ImportError: the backend named cannot be imported, or none can.
    """
    if backend is not None and backend not in DECODERS:
        raise ValueError(f"there is no backend {backend!r}; there are {', '.join(DECODERS)}")
    chosen: dict[ImageFormat, Decode] = {}
    for name in sorted(DECODERS, key=lambda name: name != backend):
        decoder = DECODERS[name]
        wanted = decoder.formats - chosen.keys()
        if not wanted:
            continue
        try:
            decode = decoder.load()
        except ImportError:  # not installed, or without a system library that it needs
            if name == backend:
                raise
            continue
        chosen.update(dict.fromkeys(wanted, decode))
    if not chosen:
        packages = ", ".join(pip_name(decoder.package) for decoder in DECODERS.values())
        raise ModuleNotFoundError(
            f"nothing that decodes images is installed in {sys.executable}; install one of {packages}"
        )
    return chosen
