"""Parts of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flambeau.errors import BadRequest
from flambeau.stages.images import Kind, Layout, as_pair, kind_of
from flambeau.stages.requirements import require
from flambeau.stages.stage import RowStage

Box = tuple[int, int, int, int]
"""Left, top, right, bottom: in pixels, the last two not included."""


class CenterCrop(RowStage):
    """The middle of an image, as torchvision cuts it; an image that is smaller gets a black border.

    Arrays and tensors are cut without a copy: the result shares the image's memory.
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        """
        Args:
            size: ``(height, width)`` of the part; one number is both.

        Raises:
            ValueError: the size is not of this form.
        """
        self.size = as_pair(size, "size")

    def one(self, row: Any) -> Any:
        kind = kind_of(row)
        height, width = kind.size
        top, bottom = _middle(height, self.size[0])
        left, right = _middle(width, self.size[1])
        if kind.layout is Layout.PIL:  # Pillow fills what is outside with black by itself
            return row.crop((left, top, right, bottom))
        inside = _cut(row, kind, (max(left, 0), max(top, 0), min(right, width), min(bottom, height)))
        border = ((max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0)))
        return inside if not any(map(any, border)) else _with_border(inside, kind, border)


class Crop(RowStage):
    """The part of an image that a box says, such as what a detector found.

    A row is a mapping with the image and the box; the result is the part alone. Arrays and tensors are cut without a
    copy: the result shares the image's memory.
    """

    def __init__(self, image: str = "data", box: str = "box") -> None:
        """
        Args:
            image: key of the image in the row.
            box: key of the box: left, top, right, bottom in pixels, the last two not included. Fractions are cut off;
                what lies outside of the image is left out.
        """
        self.image = image
        self.box = box

    def one(self, row: Any) -> Any:
        """
        Raises:
            BadRequest: the row is no such mapping, or nothing of the image is inside the box.
        """
        if not isinstance(row, Mapping) or self.image not in row or self.box not in row:
            raise BadRequest(f"a mapping with {self.image!r} and {self.box!r} is expected")
        image = row[self.image]
        kind = kind_of(image)
        height, width = kind.size
        try:
            left, top, right, bottom = map(int, row[self.box])
        except (TypeError, ValueError, OverflowError):
            raise BadRequest("a box is four numbers: left, top, right, bottom") from None
        inside = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        if inside[0] >= inside[2] or inside[1] >= inside[3]:
            raise BadRequest(
                f"nothing of the image ({width}x{height}) is inside the box {left}, {top}, {right}, {bottom}"
            )
        return image.crop(inside) if kind.layout is Layout.PIL else _cut(image, kind, inside)


def _middle(length: int, part: int) -> tuple[int, int]:
    """Where the middle part of a length begins and ends; before 0 and after the length if the part is longer."""
    start = round((length - part) / 2) if part <= length else -((part - length) // 2)
    return start, start + part


def _cut(image: Any, kind: Kind, box: Box) -> Any:
    left, top, right, bottom = box
    if kind.layout is Layout.ARRAY:
        return image[top:bottom, left:right]
    return image[..., top:bottom, left:right]


def _with_border(image: Any, kind: Kind, border: tuple[tuple[int, int], tuple[int, int]]) -> Any:
    if kind.layout is Layout.ARRAY:
        return require("numpy").pad(image, (*border, *((0, 0),) * (image.ndim - 2)))
    (top, bottom), (left, right) = border
    return require("torch.nn.functional").pad(image, (left, right, top, bottom))
