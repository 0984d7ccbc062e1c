"""Batches of images for property tests, and what holds for every batch-aware stage."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image

SIZES = [(1, 1), (7, 5), (5, 7), (16, 9), (33, 64)]
CHANNELS = [(), (1,), (3,)]


@st.composite
def images(draw: st.DrawFn, channels: list[tuple[int, ...]] = CHANNELS) -> Any:
    """An image of one of few shapes, so that batches have rows alike; in any layout, type and place in memory."""
    seed = draw(st.integers(0, 3))
    shape = (*draw(st.sampled_from(SIZES)), *draw(st.sampled_from(channels)))
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    layout = draw(st.sampled_from(["array", "tensor", "PIL"]))
    if layout == "PIL":
        return Image.fromarray(values[..., 0] if values.shape[-1:] == (1,) else values)
    if draw(st.booleans()):
        values = (values / 255).astype(draw(st.sampled_from([np.float32, np.float64])))
    if draw(st.booleans()):
        values = values[::-1]
    if layout == "array":
        values.flags.writeable = draw(st.booleans())
        return values
    tensor = torch.from_numpy(values.copy())
    return tensor.permute(2, 0, 1) if tensor.ndim == 3 else tensor


def batches(channels: list[tuple[int, ...]] = CHANNELS) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.one_of(images(channels), st.sampled_from([None, "text", ValueError("before")])), max_size=8)


def assert_same_as_row_by_row(stage: Any, rows: list[Any]) -> None:
    """Each result is bit for bit what it would be if its row had come alone, and no row was changed."""
    before = [fingerprint(row) for row in rows]
    together = stage(rows)
    assert len(together) == len(rows)
    alone = [stage([row])[0] for row in rows]
    assert [fingerprint(result) for result in together] == [fingerprint(result) for result in alone]
    assert [fingerprint(row) for row in rows] == before


def fingerprint(value: Any) -> tuple[Any, ...]:
    if isinstance(value, Exception):
        return type(value), str(value)
    if isinstance(value, torch.Tensor):
        return "tensor", str(value.dtype), tuple(value.shape), value.numpy().tobytes()
    if isinstance(value, np.ndarray):
        return "array", str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, Image.Image):
        return "PIL", value.mode, value.size, value.tobytes()
    return type(value), repr(value)
