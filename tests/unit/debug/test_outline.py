"""Values in a line."""

from __future__ import annotations

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from flambeau.debug.outline import outline


class Unhelpful:
    """Raises whatever it is asked."""

    def __getattribute__(self, name):
        if name == "__class__":
            return Unhelpful
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "bool True"),
        (3, "int 3"),
        (1 / 3, "float 0.333333"),
        ("hi", "str[2] 'hi'"),
        (b"abc", "bytes[3]"),
        (bytearray(9), "bytearray[9]"),
        (torch.zeros(1, 3, 4), "Tensor float32 [1, 3, 4] cpu, 48 bytes"),
        (torch.tensor(1), "Tensor int64 [] cpu, 8 bytes"),
        (Image.new("RGB", (640, 480)), "Image RGB 640x480"),
        ([], "list[0]"),
        ({}, "dict{}"),
        ([b"a", b"b"], "list[2] of bytes[1]"),
        ((1, "a"), "tuple[2](int 1, str[1] 'a')"),
        (list(range(100)), "list[100] of int"),
        ([{"body": bytearray(5)}], "list[1] of dict{body: bytearray[5]}"),
        (dict.fromkeys(range(8), 0), "dict{0: int 0, 1: int 0, 2: int 0, 3: int 0, 4: int 0, 5: int 0, 2 more}"),
    ],
)
def test_a_value_says_its_type_shape_and_size(value, text):
    assert outline(value) == text


def test_what_cannot_say_anything_is_named():
    assert outline(Unhelpful()) == "Unhelpful"
    assert outline([Unhelpful()]) == "list[1] of Unhelpful"


def test_an_array_says_where_it_is_as_far_as_it_knows():
    assert outline(numpy.zeros((2, 2), "uint8")).startswith("ndarray uint8 [2, 2]")


def test_what_is_long_is_cut():
    assert len(outline("x" * 10_000)) < 60
    assert len(outline(10**300)) < 60
    assert len(outline({"k" * 1000: 1})) < 80


def test_what_contains_itself_ends():
    loop: list[object] = []
    loop.append(loop)
    assert outline(loop) == "list[1] of list[1] of list[1] of list[1]"


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_every_value_is_one_line(value):
    assert "\n" not in outline(value)
