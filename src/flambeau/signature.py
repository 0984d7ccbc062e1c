"""The tensors that a model takes and gives, as its YAML file declares them under ``signature``.

A model with a signature speaks the Open Inference Protocol itself: its handler gets named arrays (see
``runtime.tensors``), and what clients send is checked before the handler sees it.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

ELEMENT_BYTES = {
    "BOOL": 1,
    "UINT8": 1,
    "UINT16": 2,
    "UINT32": 4,
    "UINT64": 8,
    "INT8": 1,
    "INT16": 2,
    "INT32": 4,
    "INT64": 8,
    "FP16": 2,
    "BF16": 2,
    "FP32": 4,
    "FP64": 8,
    "BYTES": None,
}
"""The protocol's data types and the size of one element; None: each element has its own."""

MAX_DIMENSIONS = 32
"""Of a tensor: what every release of numpy can hold."""

ANY = -1
"""In a shape: a dimension of any size."""


class TensorSpec(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One tensor."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    """Each 0 or more, or :data:`ANY`."""
    optional: bool = False
    """Whether requests may leave it out; only inputs may be."""

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a tensor needs a name")
        if self.datatype not in ELEMENT_BYTES:
            raise ValueError(f"tensor {self.name!r}: {self.datatype!r} is not one of {', '.join(ELEMENT_BYTES)}")
        if len(self.shape) > MAX_DIMENSIONS or any(size < ANY for size in self.shape):
            raise ValueError(f"tensor {self.name!r}: {list(self.shape)} is not a shape")

    def allows(self, shape: Iterable[int]) -> bool:
        """Whether a tensor of this shape may stand for it."""
        sizes = tuple(shape)
        return len(sizes) == len(self.shape) and all(
            wanted in (ANY, size) for wanted, size in zip(self.shape, sizes, strict=True)
        )


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model takes and gives. Without ``inputs`` it takes any tensors, without ``outputs`` it may give any."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    def __post_init__(self) -> None:
        for tensors in (self.inputs, self.outputs):
            names = [tensor.name for tensor in tensors]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"tensor {twice[0]!r} is there twice")
        if any(output.optional for output in self.outputs):
            raise ValueError("outputs cannot be optional")


def parse_signature(value: object) -> Signature:
    """What YAML says under ``signature``.

    Raises:
        ValueError: it is no signature; the text completes "the value …".
    """
    try:
        return msgspec.convert(value, Signature)
    except msgspec.ValidationError as error:
        raise ValueError(f"is no signature: {error}") from None
