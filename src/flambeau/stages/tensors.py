"""Images to tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.stages.images import Kind, Layout, array_of, kind_of, stack_arrays
from flambeau.stages.normalize import MAX_UINT8
from flambeau.stages.requirements import require
from flambeau.stages.stage import BatchStage


class ToTensor(BatchStage):
    """Arrays and PIL images ``[height, width, channels]`` to tensors ``[channels, height, width]``, as in torchvision.

    ``uint8`` becomes ``float32`` from 0 to 1; other types keep type and values. Tensors are only moved to the device.
    Images of one shape cross to the device together, as the bytes that they are, and share one block of memory there.
    """

    def __init__(self, device: str = "cpu", *, scale: bool = True) -> None:
        """
        Args:
            device: where the tensors are to be.
            scale: False leaves ``uint8`` as it is, for models that scale by themselves.

        Raises:
            ModuleNotFoundError: torch is not installed.
            RuntimeError: there is no such device.
        """
        self._torch = require("torch")
        self.device = self._torch.device(device)
        self.scale = scale

    def prepare(self, row: Any) -> tuple[Kind, Any]:
        kind = kind_of(row)
        if kind.layout is not Layout.PIL:
            return kind, row
        array = array_of(row)
        return kind_of(array), array

    def many(self, kind: Kind, values: list[Any]) -> Sequence[Any]:
        if kind.layout is Layout.TENSOR:
            return [tensor.to(self.device) for tensor in values]
        pixels = stack_arrays(values).reshape(len(values), *kind.size, kind.channels)
        torch = self._torch
        batch = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2)
        if self.scale and batch.dtype is torch.uint8:
            batch = batch.to(torch.float32, memory_format=torch.contiguous_format).div_(MAX_UINT8)
        return list(batch.contiguous().unbind())
