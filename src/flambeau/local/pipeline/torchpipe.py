"""What torchpipe's files say, in our words."""

from __future__ import annotations

import re
from typing import Any

IDENTITY = "Identity"
"""Torchpipe's backend that hands its row on, and its default."""

NOT_SUPPORTED = {
    "jump": "let a stage call the other pipeline, or link its stages into this one",
    "split": "let a stage return a list, and the next one take it",
    "merge": "let a stage return a list, and the next one take it",
    "Interpreter::backend": "rows are scheduled in one way only",
    "PipelineV3::backend": "rows are scheduled in one way only",
    "model::cache": "what is loaded decides where it caches",
}
"""Keys of torchpipe's that have no counterpart, and what to do instead."""

_INSTEAD = {
    "DecodeTensor": "DecodeImage, then ToTensor",
    "ResizeTensor": "Resize",
    "cvtColorMat": "DecodeImage with options {color: rgb} or {color: bgr}",
    "cvtColorTensor": "DecodeImage with options {color: rgb} or {color: bgr}",
    "Mat2Tensor": "ToTensor",
    "SyncTensor": "nothing: a stage has finished when it returns",
    "TensorrtTensor": "an archive, a model folder or module:function",
}
"""Backends that have no equal of their name, and what does the same."""

_CONSTANTS = {"TASK_DATA_KEY": "data", "TASK_RESULT_KEY": "result"}
_RUNS_ALWAYS = ("continue", "run", "swap")
_MAP = re.compile(r"\s*(?P<stage>[^\[\],]*?)\s*\[(?P<pairs>[^\[\]]*)\]\s*(?:,|$)")
_LEADING_NUMBER = re.compile(r"\s*([0-9]+)\s*(?:x[0-9x]+)?\s*")


def parse_backend(value: Any) -> str:
    """
    Raises:
        ValueError: it is no text, puts several backends together, or has another name here.
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be text")
    if "[" in value:
        raise ValueError("puts backends together, which is not supported: write one stage for each")
    name = value.strip()
    if name in _INSTEAD:
        raise ValueError(f"is torchpipe's and not supported: write {_INSTEAD[name]}")
    return name


def parse_map(text: str) -> dict[str, tuple[str, str | None]]:
    """``a[result:data],b[box:box]`` to ``{"data": ("a", None), "box": ("b", "box")}``.

    Returns:
        By field of the row: the stage (empty for the only one before it) and the key of what it returned, None for all
        of it.

    Raises:
        ValueError: it is not written like this, or gives a field twice.
    """
    fields: dict[str, tuple[str, str | None]] = {}
    at = 0
    while at < len(text):
        part = _MAP.match(text, at)
        if part is None:
            raise ValueError("must be written as stage[result:data], with more of them after a comma")
        for pair in part["pairs"].split(","):
            key, colon, field = (_CONSTANTS.get(word.strip(), word.strip()) for word in pair.partition(":"))
            if not (key and colon and field):
                raise ValueError(f"{pair.strip()!r} must be written as result:data")
            if field in fields:
                raise ValueError(f"gives {field!r} twice")
            fields[field] = (part["stage"], None if key == "result" else key)
        at = part.end()
    return fields


def parse_filter(value: Any) -> None:
    """
    Raises:
        ValueError: it is not one of those that always run the stage.
    """
    if not isinstance(value, str) or value.lower() not in _RUNS_ALWAYS:
        raise ValueError("is not supported; say when the stage runs with 'when'")


def parse_batch_limit(value: Any) -> int:
    """``max``: ``4``, ``"4"`` and ``"4x3x224x224"`` are batches of four.

    Raises:
        ValueError: it is none of these.
    """
    match = _LEADING_NUMBER.fullmatch(str(value)) if type(value) in (int, str) else None
    if match is None or int(match[1]) < 1:
        raise ValueError("must be a number of rows, or one shape that begins with it")
    return int(match[1])


def parse_batch_minimum(value: Any) -> None:
    """``min``.

    Raises:
        ValueError: it is not 1.
    """
    if parse_batch_limit(value) != 1:
        raise ValueError("is not supported: a batch may always be of one row")
