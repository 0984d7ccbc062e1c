"""Images to the range of values that a model was trained with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.errors import BadRequest
from flambeau.stages.images import Kind, Layout, array_of, kind_of, stack_arrays
from flambeau.stages.requirements import require
from flambeau.stages.stage import BatchStage

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_UINT8 = 255.0


class Normalize(BatchStage):
    """``(image - mean) / std``, channel by channel; images of one shape in one go.

    Values of ``uint8`` count as 0 to 1 in steps of 1/255 and become ``float32``; those of floating point are taken as
    they are and keep their type. Arrays and tensors stay what they are; a PIL image becomes an array. The results of
    one batch share one block of memory.
    """

    def __init__(
        self, mean: float | Sequence[float] = IMAGENET_MEAN, std: float | Sequence[float] = IMAGENET_STD
    ) -> None:
        """
        Args:
            mean: a number per channel, or one for all.
            std: the same; none of them 0.

        Raises:
            ValueError: mean and std are not of one length, or a deviation is 0.
            ModuleNotFoundError: numpy is not installed.
        """
        self.mean = _as_tuple(mean)
        self.std = _as_tuple(std)
        if 0 in self.std:
            raise ValueError("std has a 0 in it: there is nothing to divide by")
        if len({len(self.mean), len(self.std)} - {1}) > 1:
            raise ValueError(f"mean has {len(self.mean)} channels, std has {len(self.std)}")
        self._np = require("numpy")

    def prepare(self, row: Any) -> tuple[Kind, Any]:
        kind = kind_of(row)
        if kind.layout is Layout.PIL:
            row = array_of(row)
            kind = kind_of(row)
        if not (kind.is_float or kind.is_uint8):
            raise BadRequest(f"images of uint8 or floating point can be normalised, not of {kind.values}")
        wanted = max(len(self.mean), len(self.std))
        if wanted not in (1, kind.channels):
            raise BadRequest(f"the image has {kind.channels} channels; mean and std are for {wanted}")
        return kind, row

    def many(self, kind: Kind, values: list[Any]) -> Sequence[Any]:
        # x / unit - mean, divided by std, as one multiplication and one subtraction
        unit = 1.0 if kind.is_float else MAX_UINT8
        np = self._np
        factor = np.broadcast_to(1 / (unit * np.array(self.std)), kind.channels)
        shift = np.broadcast_to(np.array(self.mean) / np.array(self.std), kind.channels)
        if kind.layout is Layout.ARRAY:
            return self._normalize_arrays(kind, values, factor, shift)
        return self._normalize_tensors(kind, values, factor, shift)

    def _normalize_arrays(self, kind: Kind, values: list[Any], factor: Any, shift: Any) -> list[Any]:
        np = self._np
        dtype = kind.values if kind.is_float else np.dtype(np.float32)
        height, width = kind.size
        lines = stack_arrays(values).reshape(
            len(values), height, -1
        )  # long rows: three channels alone are five times slower
        normalized = np.multiply(lines, np.tile(factor, width).astype(dtype), dtype=dtype)
        normalized -= np.tile(shift, width).astype(dtype)
        return list(normalized.reshape(len(values), *kind.shape))

    def _normalize_tensors(self, kind: Kind, values: list[Any], factor: Any, shift: Any) -> list[Any]:
        torch = require("torch")
        dtype = kind.values if kind.is_float else torch.float32
        per_channel = (-1, 1, 1) if len(kind.shape) > 2 else (1, 1)
        batch = torch.stack(values).to(dtype)  # the stack is a copy, so it may be changed
        batch *= torch.tensor(factor, dtype=dtype, device=kind.device).reshape(per_channel)
        batch -= torch.tensor(shift, dtype=dtype, device=kind.device).reshape(per_channel)
        return list(batch.unbind())


def _as_tuple(value: float | Sequence[float]) -> tuple[float, ...]:
    return (float(value),) if isinstance(value, (int, float)) else tuple(map(float, value))
