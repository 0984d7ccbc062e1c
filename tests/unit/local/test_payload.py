from __future__ import annotations

import pickle
import threading
from decimal import Decimal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flambeau.errors import CallTimedOut, HandlerFailed, WrongResults
from flambeau.local.payload import ALIGNMENT, Parts, Raised, RemoteTraceback, decode, encode, encode_error
from flambeau.request import Gathered
from flambeau.wire.codec import SEGMENT_MIN_BYTES

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


def crossed(value: object) -> object:
    """What the other end makes of a value, in memory of its own."""
    return decode(bytearray(bytes(encode(value))))


class TwoArguments(Exception):
    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name


class Stubborn(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


@given(PLAIN)
def test_plain_values_cross_as_they_are(value):
    assert crossed(value) == value
    assert type(crossed(value)) is type(value)


@pytest.mark.parametrize("size", [0, SEGMENT_MIN_BYTES - 1, SEGMENT_MIN_BYTES, 100_001])
def test_bytes_of_any_size_cross_as_bytes(size):
    value = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert crossed(value) == value
    assert decode(memoryview(bytes(encode(value)))) == value


NUMBERS = hnp.boolean_dtypes() | hnp.integer_dtypes() | hnp.floating_dtypes() | hnp.complex_number_dtypes()


@given(hnp.arrays(NUMBERS, hnp.array_shapes(min_dims=0, max_side=40)))
def test_arrays_cross_with_type_and_shape(array):
    again = crossed(array)
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(10_000, dtype=torch.float32).reshape(100, 100),
        torch.arange(10_000, dtype=torch.float32).reshape(100, 100).T,
        torch.zeros(0, 3),
        torch.tensor(1.5),
        torch.ones(5000, dtype=torch.bfloat16),
        torch.ones(5000, dtype=torch.bool),
        torch.ones(5000, dtype=torch.complex64).conj(),
        torch.eye(50).to_sparse(),
    ],
    ids=["plain", "transposed", "empty", "scalar", "bfloat16", "bool", "conjugate", "sparse"],
)
def test_tensors_cross_with_type_and_shape(tensor):
    again = crossed({"x": tensor})["x"]
    assert again.dtype == tensor.dtype
    assert again.shape == tensor.shape
    assert torch.equal(again.to_dense(), tensor.to_dense())


@pytest.mark.parametrize("array", [np.arange(50_000.0), torch.arange(50_000.0)], ids=["numpy", "torch"])
def test_large_arrays_are_neither_copied_on_the_way_out_nor_on_the_way_in(array):
    payload = encode({"array": array, "name": "x"})
    assert isinstance(payload, Gathered)
    assert len(payload) % ALIGNMENT == 0
    array[7] = -1.0
    memory = bytearray(bytes(payload))
    again = decode(memory)["array"]
    assert again[7] == -1.0
    before = bytes(memory)
    again[8] = -2.0
    assert bytes(memory) != before


def test_an_array_of_memory_that_may_not_be_written_to_is_a_writable_copy():
    again = decode(bytes(encode(np.arange(50_000.0))))
    again[0] = 5.0
    assert again[0] == 5.0


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad", 3),
        FileNotFoundError(2, "No such file", "x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        CallTimedOut("model 'm'", 1.0),
        WrongResults("sentence", "detail"),
        TwoArguments("a", "b"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_arrive_as_what_they_were_with_the_place_where_they_were_raised(error):
    try:
        raise error
    except Exception as raised:
        payload = encode_error(raised)
    outcome = decode(payload)
    assert isinstance(outcome, Raised)
    assert type(outcome.error) is type(error)
    assert outcome.error.args == error.args
    assert vars(outcome.error).items() >= vars(error).items()
    assert isinstance(outcome.error.__cause__, RemoteTraceback)
    assert "raise error" in str(outcome.error.__cause__)


def test_an_error_that_does_not_pickle_is_told_in_words():
    outcome = decode(encode_error(Stubborn("no way")))
    assert type(outcome.error) is HandlerFailed
    assert "Stubborn: no way" in str(outcome.error)


def test_an_error_of_a_class_that_is_not_known_here_is_told_in_words(monkeypatch):
    payload = encode_error(TwoArguments("a", "b"))
    monkeypatch.delitem(globals(), "TwoArguments")
    outcome = decode(payload)
    assert type(outcome.error) is HandlerFailed
    assert "TwoArguments: a: b" in str(outcome.error)


def test_parts_keep_what_was_raised_after_them():
    parts = crossed(Parts([1, Decimal(2)], KeyError("x")))
    assert parts.values == [1, Decimal(2)]
    assert type(parts.error) is KeyError
    assert isinstance(parts.in_a_list(), Raised)
    assert crossed(Parts([1], None)).in_a_list() == [1]


def test_what_does_not_pickle_raises_where_it_is_encoded():
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        encode(lambda: None)
