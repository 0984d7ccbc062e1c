from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.runtime.results import indented_json, response_body


@pytest.mark.parametrize("value", [b"\x00\xff", bytearray(b"\x00\xff")])
def test_bytes_are_passed_on_as_they_are(value):
    assert response_body(value) is value


def test_text_is_utf8_without_quotes():
    assert response_body("grün") == "grün".encode()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, b"null"),
        (True, b"true"),
        ({"a": 1}, b'{\n  "a": 1\n}'),
        ([1, 2], b"[\n  1,\n  2\n]"),
        ([], b"[]"),
        ({"x": {}}, b'{\n  "x": {}\n}'),
        (float("nan"), b"NaN"),
        ([float("inf")], b"[\n  Infinity\n]"),
        ("\ud800x"[1:], b"x"),
        ({"é": "\ud800"}, b'{\n  "\\u00e9": "\\ud800"\n}'),
    ],
)
def test_anything_else_is_indented_ascii_json(value, expected):
    assert response_body(value) == expected


@pytest.mark.parametrize("value", [{1, 2}, object(), [object()], {(1, 2): 3}, "\ud800"])
def test_what_json_cannot_say_is_an_error(value):
    with pytest.raises((TypeError, ValueError)):
        response_body(value)


def test_a_list_that_holds_itself_is_an_error():
    value = []
    value.append(value)
    with pytest.raises(ValueError):
        response_body(value)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


@given(values)
def test_json_is_written_as_by_the_standard_library(value):
    assert indented_json(value) == json.dumps(value, indent=2)


def test_a_tensor_is_what_torch_save_writes():
    import torch

    tensor = torch.arange(6).reshape(2, 3)
    assert torch.equal(torch.load(io.BytesIO(response_body(tensor))), tensor)
