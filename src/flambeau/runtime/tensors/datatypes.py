"""The protocol's data types and numpy's, and arrays to bytes and back."""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from flambeau.request import Payload

Array = npt.NDArray[Any]

BYTES = "BYTES"
BF16 = "BF16"

STORED = {
    "BOOL": np.dtype("?"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    BF16: np.dtype("<u2"),
} | {
    f"{sign}INT{bits}": np.dtype(f"<{kind}{bits // 8}")
    for sign, kind in (("", "i"), ("U", "u"))
    for bits in (8, 16, 32, 64)
}
"""What the elements are in the bytes of a tensor. ``BYTES`` has no fixed size, and is treated by itself."""

HELD = STORED | {BF16: np.dtype("<f4"), BYTES: np.dtype("O")}
"""What handlers are given. numpy knows no ``BF16``: each of its values is one of ``float32``, too."""

_NAMES = {(dtype.kind, dtype.itemsize): name for name, dtype in STORED.items() if name != BF16}
_LENGTH = struct.Struct("<I")


def view(data: Payload, datatype: str, start: int, size: int) -> Array:
    """Elements that stand in a buffer, where they are; copied only where the processor could not read them there.

    Args:
        data: writable, for the array to be so.
        datatype: any but ``BYTES``.
        start, size: in bytes; ``size`` is a multiple of the element's.

    Returns:
        One dimension.
    """
    dtype = STORED[datatype]
    elements: Array = np.frombuffer(data, dtype, size // dtype.itemsize, start)
    if datatype == BF16:
        return widened(elements)
    return elements if elements.flags.aligned else elements.copy()


def widened(elements: Array) -> Array:
    """``BF16`` as it is stored to ``float32``, which has room for all of its values."""
    return (elements.astype("<u4") << 16).view("<f4")


def split_texts(data: memoryview, count: int) -> Array:
    """The elements of a ``BYTES`` tensor: each is its length in 4 bytes, little-endian, and then itself.

    Returns:
        ``bytes`` objects in one dimension, of which there are ``count``.

    Raises:
        ValueError: the data hold another number of elements.
    """
    texts: list[bytes] = []
    start, end = 0, len(data)
    while start < end and len(texts) < count:
        if end - start < _LENGTH.size:
            raise ValueError(f"element {len(texts)} is cut short")
        (length,) = _LENGTH.unpack_from(data, start)
        start += _LENGTH.size
        if length > end - start:
            raise ValueError(f"element {len(texts)} claims {length} bytes of {end - start}")
        texts.append(bytes(data[start : start + length]))
        start += length
    if start != end or len(texts) != count:
        raise ValueError(f"{len(texts)} elements and {end - start} further bytes instead of {count} elements")
    return object_array(texts)


def object_array(items: Sequence[object]) -> Array:
    """Python objects in one dimension, even where they are sequences themselves."""
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def join_texts(array: Array) -> bytes:
    """A ``BYTES`` tensor as :func:`split_texts` reads it. Raises TypeError: an element is neither bytes nor text."""
    parts: list[bytes] = []
    for item in array.ravel().tolist():
        data = as_bytes(item)
        parts += (_LENGTH.pack(len(data)), data)
    return b"".join(parts)


def as_bytes(item: object) -> bytes:
    """One element of a ``BYTES`` tensor. Raises TypeError: it is neither bytes nor text."""
    if isinstance(item, str):
        return item.encode()
    if isinstance(item, (bytes, bytearray, memoryview)):
        return bytes(item)
    raise TypeError(f"{type(item).__name__} is not one of the protocol's data types")


def to_array(value: Any, datatype: str | None) -> tuple[str, Array]:
    """What a handler gave for one output.

    Args:
        value: an array, a torch tensor on any device, a number, bytes, a text, or lists of those.
        datatype: what it is to be; None: whatever it is.

    Returns:
        The data type, and the elements as they are stored: in C order, little-endian; of ``BYTES`` objects.

    Raises:
        TypeError, ValueError, OverflowError: it is not a tensor of that type.
    """
    torch = sys.modules.get("torch")  # who returns a tensor has imported it
    if torch is not None and isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        if value.dtype == torch.bfloat16:
            return _as(datatype, BF16, value.contiguous().view(torch.int16).numpy().view("<u2"))
        value = value.numpy()
    elif not isinstance(value, (np.ndarray, np.generic)):
        return _from_python(value, datatype)
    array = np.asarray(value)
    if array.dtype.name == "bfloat16":  # that of the package ml_dtypes
        return _as(datatype, BF16, array.view("<u2"))
    if array.dtype.kind in "OSU":
        return _as(datatype, BYTES, array)
    name = _NAMES.get((array.dtype.kind, array.dtype.itemsize))
    if name is None:
        raise TypeError(f"{array.dtype} is not one of the protocol's data types")
    return _as(datatype, name, array)


def _from_python(value: Any, datatype: str | None) -> tuple[str, Array]:
    if isinstance(value, (str, bytes, bytearray, memoryview)):
        return _as(datatype, BYTES, object_array([value]))
    array = np.asarray(value)
    stored = STORED.get(datatype or "")
    if datatype and stored and (array.size == 0 or (array.dtype.kind in "iu" and stored.kind in "iu")):
        return datatype, np.asarray(value, stored)  # which raises OverflowError where one does not fit
    return to_array(array, datatype)


def _as(wanted: str | None, name: str, array: Array) -> tuple[str, Array]:
    """An array as the data type wanted, where that loses no more than precision."""
    if wanted is None or wanted == name:
        if name == BYTES:
            return name, array
        return name, np.asarray(array, STORED[name], order="C")
    if wanted == BF16 and array.dtype.kind == "f":
        return wanted, _rounded(array)
    has_numbers = BYTES not in (wanted, name) and BF16 not in (wanted, name)
    if has_numbers and np.can_cast(array.dtype, STORED[wanted], "same_kind"):
        return wanted, np.asarray(array, STORED[wanted], order="C")
    raise TypeError(f"it is {name}, and the model's signature says {wanted}")


def _rounded(array: Array) -> Array:
    """Floats to ``BF16``, each to the nearest, of two to the even one, as processors do."""
    bits = np.ascontiguousarray(array, "<f4").view("<u4")
    rounded: Array = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype("<u2")
    rounded[np.isnan(array)] = 0x7FC0
    return rounded
