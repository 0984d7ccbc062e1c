"""Python values to what crosses from process to process, and back.

The first byte tells how a value is written:

* ``0x80``: a pickle, which begins with it.
* ``B``: the rest is a ``bytes``.
* ``L``: a large ``bytes``, so that it need not be copied to get its mark in front: one byte says how many bytes of
  padding follow it.
* ``G``: a pickle whose arrays lie beside it, each at a multiple of ``ALIGNMENT``: see ``_HEADER``.
* ``R``: a pickle of what was raised in place of a result.

Everything large is a multiple of ``ALIGNMENT`` long, so whatever travels in shared memory lies aligned there, and
arrays made of it are views of that memory.
"""

from __future__ import annotations

import io
import pickle
import struct
import sys
import traceback
from copyreg import dispatch_table
from typing import Any

from flambeau.errors import HandlerFailed
from flambeau.request import Gathered, Payload
from flambeau.wire.codec import SEGMENT_MIN_BYTES

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector."""

BESIDE_FROM_BYTES = 2048
"""An array that takes less is copied into the pickle."""

_PROTOCOL = 5
_PICKLE = 0x80
_BYTES, _LARGE_BYTES, _GATHERED, _RAISED = b"BLGR"
_HEADER = struct.Struct("<B3xIQ")
"""Mark, number of arrays, length of the pickle; then the length of each array in 8 bytes, then the pickle."""
_SIZE = struct.Struct("<Q")
_PLAIN = frozenset((type(None), bool, int, float, str))


class RemoteTraceback(Exception):
    """Where in the worker an exception was raised: the ``__cause__`` of what the caller is given."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class Raised:
    """What came in place of a result."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class Parts:
    """What a generator gave in place of one result."""

    __slots__ = ("error", "values")

    def __init__(self, values: list[Any], error: Exception | None) -> None:
        self.values = values
        self.error = error
        """What it raised then."""

    def in_a_list(self) -> list[Any] | Raised:
        """What a call returns that is no stream."""
        return self.values if self.error is None else Raised(self.error)

    def __reduce__(self) -> Any:
        return _remake_parts, (self.values, None if self.error is None else encode_error(self.error))


def encode(value: Any) -> Payload | Gathered:
    """A value as it travels. Its arrays are not copied: they must not change until it has been answered.

    Raises:
        Exception: whatever pickling it raises.
    """
    if type(value) is bytes:
        if len(value) < SEGMENT_MIN_BYTES:
            return b"B" + value
        padding = -(2 + len(value)) % ALIGNMENT
        return Gathered([bytes((_LARGE_BYTES, padding)), value, bytes(padding)])
    if type(value) in _PLAIN:
        plain: bytes = pickle.dumps(value, _PROTOCOL)
        return plain
    beside: list[memoryview] = []
    stream = _pickled(value, beside)
    if not beside:
        return stream
    sizes = [len(buffer) for buffer in beside]
    header = _HEADER.pack(_GATHERED, len(beside), len(stream)) + b"".join(map(_SIZE.pack, sizes)) + stream
    buffers: list[Payload] = [_padded(header)]
    for buffer in beside:
        buffers.append(buffer)
        if padding := -len(buffer) % ALIGNMENT:
            buffers.append(bytes(padding))
    gathered = Gathered(buffers)
    return gathered if len(gathered) >= SEGMENT_MIN_BYTES else bytes(gathered)


def decode(payload: Payload) -> Any:
    """The value, or :class:`Raised`. Its arrays are views of the payload, unless that is read-only.

    Raises:
        Exception: whatever unpickling it raises.
    """
    mark = payload[0]
    if mark == _PICKLE:
        return pickle.loads(payload)
    view = memoryview(payload)
    if mark == _BYTES:
        return bytes(view[1:])
    if mark == _LARGE_BYTES:
        return bytes(view[2 : len(view) - view[1]])
    if mark == _RAISED:
        return Raised(_revived(view[1:]))
    if view.readonly:
        view = memoryview(bytearray(view))
    _, count, stream_bytes = _HEADER.unpack_from(view)
    start = _HEADER.size + count * _SIZE.size
    end = start + stream_bytes
    beside = []
    place = _next_aligned(end)
    for index in range(count):
        (size,) = _SIZE.unpack_from(view, _HEADER.size + index * _SIZE.size)
        beside.append(view[place : place + size])
        place = _next_aligned(place + size)
    return pickle.loads(view[start:end], buffers=beside)


def encode_error(error: Exception) -> bytes:
    """What a handler raised, as it travels: itself where it can, and where it was raised."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    summary = traceback.format_exception_only(type(error), error)[-1].strip()
    return b"R" + pickle.dumps((_pickled_error(error), summary, text), _PROTOCOL)


def _pickled_error(error: Exception) -> bytes | None:
    """None: it cannot be pickled, or what comes back is something else."""
    for reduced in (error, _Reduced(error)):
        try:
            data = pickle.dumps(reduced, _PROTOCOL)
            again = pickle.loads(data)
        except Exception:  # the border to user code: its pickling may raise anything
            continue
        if type(again) is type(error) and again.args == error.args:
            return data
    return None


class _Reduced:
    """An exception that is made again without its ``__init__``, which may want other arguments than those it keeps."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __reduce__(self) -> Any:
        return _remake_error, (type(self._error), self._error.args, self._error.__dict__)


def _remake_error(kind: type[Exception], arguments: tuple[Any, ...], state: dict[str, Any]) -> Exception:
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    error.__dict__.update(state)
    return error


def _remake_parts(values: list[Any], error: bytes | None) -> Parts:
    return Parts(values, None if error is None else decode(error).error)


def _revived(data: memoryview) -> Exception:
    pickled, summary, text = pickle.loads(data)
    error: Exception | None = None
    if pickled is not None:
        try:
            error = pickle.loads(pickled)
        except Exception:  # its class may be known to the worker alone
            pass
    if error is None:
        error = HandlerFailed(summary)
    error.__cause__ = RemoteTraceback(text)
    return error


def _pickled(value: Any, beside: list[memoryview]) -> bytes:
    def put_beside(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if len(raw) < BESIDE_FROM_BYTES:
            return True
        beside.append(raw)
        return False

    stream = io.BytesIO()
    pickler = pickle.Pickler(stream, _PROTOCOL, buffer_callback=put_beside)
    torch = sys.modules.get("torch")
    if torch is not None:  # who has a tensor has imported it
        pickler.dispatch_table = {**dispatch_table, torch.Tensor: _reduce_tensor}
    pickler.dump(value)
    return stream.getvalue()


def _reduce_tensor(tensor: Any) -> Any:
    """Plain tensors of the CPU as their bytes; of all others, what torch makes of them."""
    import torch

    if (
        tensor.device.type != "cpu"
        or tensor.layout is not torch.strided
        or tensor.requires_grad
        or tensor.is_quantized
        or tensor.is_conj()
        or tensor.is_neg()
    ):
        return tensor.__reduce_ex__(_PROTOCOL)
    raw = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return _make_tensor, (pickle.PickleBuffer(raw), tensor.dtype, tuple(tensor.shape))


def _make_tensor(buffer: Any, dtype: Any, shape: tuple[int, ...]) -> Any:
    import torch

    if 0 in shape:
        return torch.empty(shape, dtype=dtype)
    view = memoryview(buffer)
    return torch.frombuffer(bytearray(view) if view.readonly else view, dtype=dtype).reshape(shape)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % ALIGNMENT)


def _next_aligned(place: int) -> int:
    return place + -place % ALIGNMENT
