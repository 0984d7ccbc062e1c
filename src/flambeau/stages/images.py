"""What counts as an image, and how it lies in memory.

- a numpy array is ``[height, width, channels]`` or ``[height, width]``;
- a tensor is ``[…, height, width]``, as in torchvision;
- a PIL image is a PIL image.

Nothing is imported to find out which one a row is: who made it has imported its library.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import Enum, auto
from typing import Any, NamedTuple

from flambeau.errors import BadRequest
from flambeau.stages.requirements import require


class Layout(Enum):
    """The three things that an image may be."""

    ARRAY = auto()
    TENSOR = auto()
    PIL = auto()


class Kind(NamedTuple):
    """Images of one kind can be stacked."""

    layout: Layout
    shape: tuple[int, ...]
    """For a PIL image: height and width."""
    values: Any
    """The ``dtype`` of an array or tensor, the mode of a PIL image."""
    device: Any
    """A tensor's; None for the others."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        height, width = self.shape[-2:] if self.layout is Layout.TENSOR else self.shape[:2]
        return height, width

    @property
    def channels(self) -> int:
        """1 where the image has no dimension for them. Not for PIL images."""
        if len(self.shape) == 2:
            return 1
        return self.shape[-3 if self.layout is Layout.TENSOR else -1]

    @property
    def is_float(self) -> bool:
        """Whether values are floating-point numbers. Not for PIL images."""
        return bool(self.values.is_floating_point if self.layout is Layout.TENSOR else self.values.kind == "f")

    @property
    def is_uint8(self) -> bool:
        return str(self.values).rpartition(".")[2] == "uint8"


def kind_of(image: Any) -> Kind:
    """
    Raises:
        BadRequest: the row is not an image, or one without pixels.
    """
    if is_made_by("numpy", "ndarray", image):
        if image.ndim not in (2, 3):
            raise BadRequest(f"an image array is [height, width, channels], not one of shape {image.shape}")
        kind = Kind(Layout.ARRAY, image.shape, image.dtype, None)
    elif is_made_by("torch", "Tensor", image):
        if image.ndim < 2:
            raise BadRequest(f"an image tensor is [channels, height, width], not one of shape {tuple(image.shape)}")
        kind = Kind(Layout.TENSOR, tuple(image.shape), image.dtype, image.device)
    elif is_made_by("PIL.Image", "Image", image):
        kind = Kind(Layout.PIL, (image.height, image.width), image.mode, None)
    else:
        raise BadRequest(f"an image is an array, a tensor or a PIL image, not {type(image).__name__}")
    if 0 in kind.shape:
        raise BadRequest(f"the image has no pixels: its shape is {kind.shape}")
    return kind


def is_made_by(module: str, name: str, value: Any) -> bool:
    """Whether a value is of a library's class; False, without importing it, where nobody has imported the library."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))


def stack_arrays(arrays: list[Any]) -> Any:
    """Arrays of one kind as one that torch can share memory with. A single one is copied only where it cannot be."""
    if len(arrays) == 1:
        array = arrays[0]
        # mirrored, an array of a single row still counts as contiguous; torch looks at the stride
        if array.flags.c_contiguous and array.flags.writeable and min(array.strides) >= 0:
            # array[None] would have a stride of 0, for which torch takes a way twice as slow
            return array.reshape(1, *array.shape)
    return require("numpy").stack(arrays)


def array_of(image: Any) -> Any:
    """A PIL image as an array of its own; grey stays grey, what is neither grey nor RGB becomes RGB."""
    return require("numpy").array(image if image.mode in ("L", "RGB") else image.convert("RGB"))


def as_pair(size: int | Sequence[int], option: str) -> tuple[int, int]:
    """A size as ``(height, width)``; one number is both.

    Raises:
        ValueError: it is neither one nor two positive whole numbers.
    """
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(value, int) and value > 0 for value in pair):
        raise ValueError(f"{option} is a positive whole number or a pair (height, width) of them, not {size!r}")
    return pair
