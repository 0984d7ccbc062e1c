"""Values in a line: their type, shape and size, and of small ones what they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MAX_ITEMS = 6
"""Of a mapping or a mixed list; the others are counted."""
_MAX_DEPTH = 3
_MAX_CHARACTERS = 40


def outline(value: Any, depth: int = _MAX_DEPTH) -> str:
    """What a value is: ``Tensor float32 [1, 3, 224, 224] cpu, 602112 bytes``, ``list[2] of dict{body: bytearray[9]}``.

    Never raises: a value that cannot say what it is gets the name of its type.
    """
    try:
        return _outline(value, depth)
    except Exception:  # user code: its attributes may raise anything
        return type(value).__name__


def _outline(value: Any, depth: int) -> str:
    kind = type(value).__name__
    if value is None or isinstance(value, (bool, int, float, complex)):
        shown = f"{value:.6g}" if isinstance(value, float) else str(value)
        return "None" if value is None else f"{kind} {_cut(shown)}"
    if isinstance(value, str):
        return f"{kind}[{len(value)}] {_cut(repr(value))}"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"{kind}[{len(value)}]"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return _array(value, kind)
    if isinstance(value, Mapping):
        return _mapping(value, kind, depth)
    if isinstance(value, (list, tuple, set, frozenset)):
        return _items(list(value), kind, depth)
    if isinstance(getattr(value, "mode", None), str) and isinstance(getattr(value, "size", None), tuple):  # an image
        width, height = value.size
        return f"{kind} {value.mode} {width}x{height}"
    return kind


def _array(value: Any, kind: str) -> str:
    """Tensors and arrays."""
    dtype = str(value.dtype).removeprefix("torch.")
    shape = ", ".join(map(str, value.shape))
    device = f" {value.device}" if hasattr(value, "device") else ""
    return f"{kind} {dtype} [{shape}]{device}, {value.nbytes} bytes"


def _mapping(value: Mapping[Any, Any], kind: str, depth: int) -> str:
    if depth == 0:
        return f"{kind}[{len(value)}]"
    shown = [f"{_key(key)}: {outline(value[key], depth - 1)}" for key in list(value)[:_MAX_ITEMS]]
    return f"{kind}{{{_joined(shown, len(value))}}}"


def _key(key: Any) -> str:
    text = str(key)
    return _cut(text if text.isprintable() else repr(text))


def _items(items: list[Any], kind: str, depth: int) -> str:
    if not items or depth == 0:
        return f"{kind}[{len(items)}]"
    shown = [outline(item, depth - 1) for item in items[:_MAX_ITEMS]]
    if len(set(shown)) == 1:
        return f"{kind}[{len(items)}] of {shown[0]}"
    kinds = {type(item).__name__ for item in items}
    if kinds <= {"int", "float", "str"} and len(items) > _MAX_ITEMS:
        return f"{kind}[{len(items)}] of {' and '.join(sorted(kinds))}"
    return f"{kind}[{len(items)}]({_joined(shown, len(items))})"


def _joined(shown: list[str], count: int) -> str:
    more = [f"{count - len(shown)} more"] if count > len(shown) else []
    return ", ".join([*shown, *more])


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else f"{text[: _MAX_CHARACTERS - 1]}…"
