"""Images to another size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.errors import BadRequest
from flambeau.stages.images import Kind, Layout, as_pair, kind_of, stack_arrays
from flambeau.stages.requirements import require
from flambeau.stages.stage import BatchStage

MODES = {"nearest": "nearest-exact", "bilinear": "bilinear", "bicubic": "bicubic"}
"""By Pillow's name: what torch calls the same sampling."""


class Resize(BatchStage):
    """Arrays, tensors and PIL images to a size; each stays what it is, ``uint8`` or floating point.

    torch does the arrays and tensors, those of one shape together. With ``antialias`` its results are Pillow's, give or
    take one level in 256; ``"bicubic"`` may differ more where it overshoots, at hard edges.
    """

    def __init__(self, size: int | Sequence[int], interpolation: str = "bilinear", *, antialias: bool = True) -> None:
        """
        Args:
            size: ``(height, width)``, or one number for the shorter side; the other follows from the image.
            interpolation: ``"nearest"``, ``"bilinear"`` or ``"bicubic"``.
            antialias: average over all pixels that fall into one when an image shrinks, as Pillow and torchvision do.
                False: look at the nearest ones only, as OpenCV's ``INTER_LINEAR`` does. PIL images are always averaged,
                ``"nearest"`` never is.

        Raises:
            ValueError: an option has no such value.
            ModuleNotFoundError: torch is not installed.
        """
        if interpolation not in MODES:
            raise ValueError(f"interpolation is one of {', '.join(MODES)}, not {interpolation!r}")
        self.shorter_side = size if isinstance(size, int) else None
        self.size = as_pair(size, "size")
        self.interpolation = interpolation
        self._interpolate = require("torch.nn.functional").interpolate
        self._from_numpy = require("torch").from_numpy
        self._sampling: dict[str, Any] = {"mode": MODES[interpolation]}
        if interpolation != "nearest":
            self._sampling.update(antialias=antialias, align_corners=False)

    def prepare(self, row: Any) -> tuple[Kind, Any]:
        kind = kind_of(row)
        if kind.layout is not Layout.PIL and not (kind.is_float or kind.is_uint8):
            raise BadRequest(f"images of uint8 or floating point can be resized, not of {kind.values}")
        return kind, row.contiguous() if kind.layout is Layout.TENSOR else row

    def many(self, kind: Kind, values: list[Any]) -> Sequence[Any]:
        size = self._size_for(*kind.size)
        if size == kind.size:
            return values
        if kind.layout is Layout.PIL:
            resample = require("PIL.Image").Resampling[self.interpolation.upper()]
            return [image.resize(size[::-1], resample) for image in values]
        if kind.layout is Layout.ARRAY:
            return self._resize_arrays(kind, values, size)
        return self._resize_tensors(kind, values, size)

    def _size_for(self, height: int, width: int) -> tuple[int, int]:
        if self.shorter_side is None:
            return self.size
        shorter = min(height, width)
        return self.shorter_side * height // shorter, self.shorter_side * width // shorter

    def _resize_arrays(self, kind: Kind, values: list[Any], size: tuple[int, int]) -> list[Any]:
        batch = stack_arrays(values).reshape(len(values), *kind.size, kind.channels)
        resized = self._interpolate(self._from_numpy(batch).permute(0, 3, 1, 2), size=size, **self._sampling)
        pixels = resized.permute(0, 2, 3, 1).contiguous().numpy()
        return list(pixels.reshape(len(values), *size, *kind.shape[2:]))

    def _resize_tensors(self, kind: Kind, values: list[Any], size: tuple[int, int]) -> list[Any]:
        batch = require("torch").stack(values).reshape(-1, kind.channels, *kind.size)
        resized = self._interpolate(batch, size=size, **self._sampling)
        return list(resized.reshape(len(values), *kind.shape[:-2], *size).unbind())
