import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from infer_requests import binary_tensor, json_request, json_tensor

from flambeau.errors import BadRequest
from flambeau.runtime.tensors.datatypes import HELD, STORED, object_array
from flambeau.runtime.tensors.requests import read_request
from flambeau.signature import ELEMENT_BYTES, Signature, TensorSpec

ANY = Signature()
X = Signature(
    inputs=(TensorSpec("x", "FP32", (-1, 3)), TensorSpec("k", "INT32", (), optional=True)),
    outputs=(TensorSpec("y", "FP32", (-1,)),),
)
NUMBERS = sorted(set(STORED) - {"BF16"})


def read(header, binary=b"", signature=ANY):
    return read_request(header, bytearray(binary), signature)


# --- what is read -------------------------------------------------------------------------------------------------


@given(st.data())
def test_a_binary_tensor_is_the_array_that_was_sent(data):
    datatype = data.draw(st.sampled_from(NUMBERS))
    array = data.draw(arrays.arrays(STORED[datatype], arrays.array_shapes(min_dims=0, max_dims=4, min_side=0)))
    header = json_request(binary_tensor(array.nbytes, datatype, array.shape))
    got = read(header, array.tobytes())["x"]
    assert (got.dtype, got.shape) == (array.dtype, array.shape)
    assert got.tobytes() == array.tobytes()


@given(st.data())
def test_a_tensor_in_json_is_the_array_that_was_sent_flat_or_nested(data):
    datatype = data.draw(st.sampled_from(NUMBERS))
    shape = data.draw(arrays.array_shapes(max_dims=3, max_side=3))
    kind = STORED[datatype].kind
    elements = {"allow_nan": False, "allow_infinity": False} if kind == "f" else {}
    array = data.draw(arrays.arrays(STORED[datatype], shape, elements=elements))
    for listed in (array.ravel().tolist(), array.tolist()):
        got = read(json_request(json_tensor(listed, datatype, array.shape)))["x"]
        assert (got.dtype, got.shape) == (array.dtype, array.shape)
        assert got.tobytes() == array.tobytes()


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_texts_are_read_as_they_were_sent(texts):
    data = b"".join(struct.pack("<I", len(text)) + text for text in texts)
    row = read(json_request(binary_tensor(len(data), "BYTES", [len(texts)])), data)
    assert row["x"].tolist() == texts
    assert row["x"].dtype == object


def test_texts_in_json_are_bytes():
    row = read(json_request(json_tensor(["a", "é"], "BYTES", [2, 1])))
    assert row["x"].tolist() == [[b"a"], ["é".encode()]]


def test_bf16_is_read_as_float32():
    data = struct.pack("<3H", 0x3F80, 0xC000, 0x7FC0)
    (row,) = [read(json_request(binary_tensor(6, "BF16")), data)["x"]]
    assert row.dtype == np.float32
    assert row[:2].tolist() == [1.0, -2.0]
    assert np.isnan(row[2])
    assert read(json_request(json_tensor([1, 2.5, -3], "BF16")))["x"].tolist() == [1.0, 2.5, -3.0]


def test_an_array_looks_at_the_bytes_that_came_and_may_be_written_to():
    binary = bytearray(24)
    row = read_request(json_request(binary_tensor(12), binary_tensor(12, name="y")), binary, ANY)
    row["y"][0] = 1.0
    assert binary == bytes(12) + struct.pack("<f", 1.0) + bytes(8)


def test_an_array_that_the_processor_could_not_read_in_place_is_a_copy():
    binary = b"\x01" + struct.pack("<3f", 1, 2, 3)
    row = read(json_request(binary_tensor(1, "BOOL", [1], "flag"), binary_tensor(12)), binary)
    assert row["x"].flags.aligned
    assert row["x"].tolist() == [1, 2, 3]


def test_nan_and_infinity_come_through_as_bytes():
    row = read(json_request(binary_tensor(12)), struct.pack("<3f", float("nan"), float("inf"), float("-inf")))
    assert np.isnan(row["x"][0])
    assert row["x"][1:].tolist() == [float("inf"), float("-inf")]


def test_a_row_has_the_id_and_the_parameters_of_its_request():
    row = read(json_request(json_tensor([1, 2, 3]), id="42", parameters={"beams": 4, "name": "a", "deep": False}))
    assert list(row) == ["x"]
    assert row.id == "42"
    assert row.parameters == {"beams": 4, "name": "a", "deep": False}
    plain = read(json_request(json_tensor([1, 2, 3])))
    assert (plain.id, plain.parameters, plain.outputs, plain.is_binary) == ("", {}, None, False)


def test_outputs_are_wanted_as_json_or_as_bytes():
    outputs = [{"name": "a"}, {"name": "b", "parameters": {"binary_data": False}}]
    row = read(json_request(json_tensor([1, 2, 3]), outputs=outputs, parameters={"binary_data_output": True}))
    assert row.outputs == {"a": True, "b": False}
    assert row.is_binary


def test_unknown_members_are_passed_over():
    assert list(read(json_request(json_tensor([1, 2, 3], new=1), later={}))) == ["x"]


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (b"", "is not JSON: .* It is empty"),
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[]", r"Expected `object`, got `array`"),
        (b"{}", "missing required field `inputs`"),
        (b'{"inputs": 1}', r"got `int` - at `\$.inputs`"),
        (b'{"inputs": [[]]}', r"\$.inputs\[0\]"),
        (b"[" * 100_000, "is not JSON|not one of the"),
        (json_request({"name": "x", "shape": [1], "data": [1]}), "missing required field `datatype`"),
        (json_request(json_tensor([1, 2, 3], shape=["3"])), r"at `\$.inputs\[0\].shape\[0\]`"),
        (json_request(json_tensor([1, 2, 3], shape=[1.5])), r"at `\$.inputs\[0\].shape\[0\]`"),
        (json_request(json_tensor([1, 2, 3]), id=7), r"at `\$.id`"),
        (json_request(json_tensor([1, 2, 3]), parameters=[]), r"at `\$.parameters`"),
        (json_request(json_tensor([1, 2, 3]), outputs=["y"]), r"at `\$.outputs\[0\]`"),
    ],
)
def test_what_is_not_the_protocols_json_is_refused(header, problem):
    with pytest.raises(BadRequest, match=problem):
        read(header)


@pytest.mark.parametrize(
    ("tensor", "problem"),
    [
        (json_tensor([1, 2, 3], "FLOAT"), "Input 'x' has the unknown datatype 'FLOAT'"),
        (json_tensor([1, 2, 3], ""), "unknown datatype ''"),
        (json_tensor([1, 2, 3], shape=[-3]), "negative size in its shape"),
        (json_tensor([1, 2, 3], shape=[-1, -3]), "negative size in its shape"),
        (json_tensor([1, 2, 3], shape=[1] * 33), "more than 32 dimensions"),
        (json_tensor([1, 2, 3], shape=[2]), r"are 3 elements; its shape \[2\] has 2"),
        (json_tensor([1, 2, 3], shape=[2**62, 2**62]), "too large"),
        (json_tensor([], shape=[0, 2**63]), "too large"),
        (json_tensor([[1, 2], [3]]), None),
        (json_tensor([[1, 2], 3]), "not FP32: .*"),
        (json_tensor([]), "are 0 elements"),
        (json_tensor(None), "not FP32"),
        (json_tensor("abc"), "not FP32"),
        (json_tensor(["1", 2, 3]), r"not FP32: Expected `float`, got `str` - at `\$\[0\]`"),
        (json_tensor([True, 2, 3]), "not FP32"),
        (json_tensor([1.5, 2, 3], "INT8"), "not INT8"),
        (json_tensor([1, 128, 3], "INT8"), r"not INT8: .*<= 127.*\$\[1\]"),
        (json_tensor([1, -1, 3], "UINT16"), "not UINT16: .*>= 0"),
        (json_tensor([1, -1, 3], "UINT64"), "not UINT64"),
        (json_tensor([1, 2**63, 3], "INT64"), "INT64"),
        (json_tensor([0, 1, 0], "BOOL"), "not BOOL"),
        (json_tensor([1, 2, 3], "BYTES"), "not BYTES"),
        (json_tensor([1e300, 2, 3]), "out of the range of FP32"),
        (json_tensor([70000, 2, 3], "FP16"), "out of the range of FP16"),
        ({"name": "x", "datatype": "FP32", "shape": [3]}, "neither data nor binary_data_size"),
        (json_tensor([1, 2, 3], parameters={"shared_memory_region": "r"}), "shared memory"),
        (json_tensor([1, 2, 3], parameters={"binary_data_size": 12}), "data in JSON and binary_data_size as well"),
    ],
)
def test_json_that_its_type_and_shape_do_not_fit_is_refused(tensor, problem):
    if problem is None:  # uneven lists with as many elements as the shape has are taken as one list
        assert read(json_request(tensor))["x"].tolist() == [1, 2, 3]
        return
    with pytest.raises(BadRequest, match=problem):
        read(json_request(tensor))


def test_a_number_too_large_for_its_type_is_refused():
    with pytest.raises(BadRequest, match="out of the range of UINT64"):
        read(b'{"inputs": [{"name": "x", "datatype": "UINT64", "shape": [1], "data": [18446744073709551616]}]}')


def test_nan_in_json_is_refused_and_the_way_round_it_said():
    header = json.dumps({"inputs": [json_tensor([float("nan"), 1.0, 2.0])]}).encode()
    with pytest.raises(BadRequest, match=r"not JSON.*NaN and infinities can be sent as bytes"):
        read(header)


@pytest.mark.parametrize(
    ("tensors", "binary", "problem"),
    [
        ([binary_tensor(12)], b"", "claims 12 bytes behind the JSON, of which 0 are left"),
        ([binary_tensor(2**31)], bytes(12), "claims 2147483648 bytes behind the JSON, of which 12 are left"),
        ([binary_tensor(2**80)], bytes(12), "claims"),
        ([binary_tensor(8)], bytes(12), r"has 8 bytes; FP32 of shape \[3\] has 12"),
        ([binary_tensor(12, "FP64")], bytes(12), r"has 12 bytes; FP64 of shape \[3\] has 24"),
        ([binary_tensor(12, shape=[2**31])], bytes(12), "has 12 bytes; .* has 8589934592"),
        ([binary_tensor(12, shape=[2**31, 2**31])], bytes(12), "too large"),
        ([binary_tensor(-1)], bytes(12), "not a number of bytes"),
        ([binary_tensor("12")], bytes(12), "not a number of bytes"),
        ([binary_tensor(True)], bytes(12), "not a number of bytes"),
        ([binary_tensor(12)], bytes(13), "1 bytes behind the JSON belong to no input"),
        ([json_tensor([1, 2, 3])], bytes(13), "13 bytes behind the JSON belong to no input"),
        ([binary_tensor(12), binary_tensor(12, name="y")], bytes(20), "Input 'y' claims 12 bytes .* 8 are left"),
        ([binary_tensor(4), binary_tensor(4)], bytes(8), "has 4 bytes|there twice"),
        ([binary_tensor(12), binary_tensor(12)], bytes(24), "Input 'x' is there twice"),
        ([binary_tensor(3, "BYTES", [1])], bytes(3), "element 0 is cut short"),
        ([binary_tensor(5, "BYTES", [1])], b"\xff\xff\xff\x7fa", "element 0 claims 2147483647 bytes of 1"),
        ([binary_tensor(4, "BYTES", [2])], bytes(4), "1 elements and 0 further bytes instead of 2"),
        ([binary_tensor(8, "BYTES", [1])], bytes(8), "1 elements and 4 further bytes instead of 1"),
        ([binary_tensor(0, "BYTES", [2**40])], b"", "0 elements"),
    ],
)
def test_bytes_that_their_claims_do_not_fit_are_refused(tensors, binary, problem):
    with pytest.raises(BadRequest, match=problem):
        read(json_request(*tensors), binary)


@pytest.mark.parametrize(
    ("tensors", "members", "problem"),
    [
        ([], {}, "Input 'x' is missing"),
        ([json_tensor([1], name="k", datatype="INT32", shape=[])], {}, "Input 'x' is missing"),
        ([json_tensor([1, 2, 3], name="z")], {}, "There is no input 'z'; there are x, k"),
        ([json_tensor([1, 2, 3], "FP64", [1, 3])], {}, "Input 'x' is FP64, the model takes FP32"),
        ([json_tensor([1, 2, 3], shape=[3])], {}, r"Input 'x' has the shape \[3\], the model takes \[-1, 3\]"),
        ([json_tensor([1, 2, 3], shape=[1, 3])], {"outputs": [{"name": "q"}]}, "There is no output 'q'; there are y"),
    ],
)
def test_what_the_signature_does_not_ask_for_is_refused(tensors, members, problem):
    with pytest.raises(BadRequest, match=problem):
        read(json_request(*tensors, **members), signature=X)


def test_what_the_signature_asks_for_is_taken_with_optional_inputs_or_without():
    x = json_tensor([1, 2, 3, 4, 5, 6], shape=[2, 3])
    assert list(read(json_request(x), signature=X)) == ["x"]
    k = json_tensor([4], "INT32", [], "k")
    assert read(json_request(k, x), signature=X)["k"].tolist() == 4


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"outputs": [{"name": "y", "parameters": {"classification": 3}}]}, "classification is not supported"),
        ({"outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}]}, "shared_memory_region is not"),
        ({"outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, "binary_data is neither true nor false"),
        ({"parameters": {"binary_data_output": "yes"}}, "binary_data_output is neither true nor false"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(members, problem):
    with pytest.raises(BadRequest, match=problem):
        read(json_request(json_tensor([1, 2, 3]), **members))


SIZES = st.one_of(st.integers(-2, 5), st.sampled_from([2**31, 2**63, -(2**40)]))
HEADERS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["x", "y", ""]),
        "datatype": st.sampled_from([*ELEMENT_BYTES, "FP8", ""]),
        "shape": st.lists(SIZES, max_size=4),
    },
    optional={
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.one_of(SIZES, st.none(), st.text())}),
        "data": st.recursive(
            st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.text()),
            lambda inner: st.lists(inner, max_size=4),
            max_leaves=8,
        ),
    },
)


@given(st.lists(HEADERS, max_size=3), st.binary(max_size=40), st.sampled_from([ANY, X]))
def test_whatever_the_headers_claim_the_answer_is_a_row_or_a_refusal(tensors, binary, signature):
    try:
        row = read(json.dumps({"inputs": tensors}).encode(), binary, signature)
    except BadRequest:
        return
    for tensor in tensors:
        array = row[tensor["name"]]
        assert list(array.shape) == tensor["shape"]
        assert array.dtype == HELD[tensor["datatype"]]


def test_arrays_of_objects_hold_lists_as_they_are():
    assert object_array([[1], [2]]).tolist() == [[1], [2]]
    assert object_array([[1], [2]]).shape == (2,)
