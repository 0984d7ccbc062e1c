import json
import struct

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from infer_requests import binary_tensor, json_request

from flambeau.errors import BadRequest
from flambeau.request import Gathered
from flambeau.runtime.tensors.datatypes import STORED
from flambeau.runtime.tensors.requests import read_request
from flambeau.runtime.tensors.responses import ModelName, write_response
from flambeau.runtime.tensors.row import TensorRow
from flambeau.signature import Signature, TensorSpec

MODEL = ModelName("m", "1.0")
NUMBERS = sorted(set(STORED) - {"BF16"})


def write(result, signature=Signature(), **row):  # noqa: B008 - frozen
    response = write_response(result, TensorRow({}, **row), MODEL, signature)
    body = bytes(response.body)
    end = len(body) if response.header_bytes is None else response.header_bytes
    return json.loads(body[:end]), body[end:]


def in_json(result, signature=Signature()):  # noqa: B008 - frozen
    """The only output."""
    (output,) = write(result, signature)[0]["outputs"]
    return output


def giving(*outputs):
    return Signature(outputs=tuple(TensorSpec(*output) for output in outputs))


@given(st.data())
def test_what_is_written_as_bytes_is_read_as_it_was(data):
    datatype = data.draw(st.sampled_from(NUMBERS))
    array = data.draw(arrays.arrays(STORED[datatype], arrays.array_shapes(min_dims=0, max_dims=4, min_side=0)))
    if array.ndim > 1 and data.draw(st.booleans()):
        array = array.T
    header, binary = write({"x": array}, is_binary=True)
    (output,) = header["outputs"]
    assert (output["datatype"], output["shape"]) == (datatype, list(array.shape))
    again = read_request(json_request(output), bytearray(binary), Signature())["x"]
    assert again.tobytes() == array.tobytes()


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_texts_are_read_as_they_were_written(texts):
    header, binary = write({"x": np.array([*texts, b""], dtype=object)[: len(texts)]}, is_binary=True)
    (output,) = header["outputs"]
    assert read_request(json_request(output), bytearray(binary), Signature())["x"].tolist() == texts


def test_a_response_says_model_and_id():
    header, _ = write({"x": np.zeros(1)}, id="42")
    assert (header["model_name"], header["model_version"], header["id"]) == ("m", "1.0", "42")
    assert "id" not in write({"x": np.zeros(1)})[0]


@pytest.mark.parametrize(
    ("result", "datatype", "shape", "data"),
    [
        ([1, 2], "INT64", [2], [1, 2]),
        ([[0.5], [1]], "FP64", [2, 1], [0.5, 1.0]),
        (3, "INT64", [], [3]),
        (True, "BOOL", [], [True]),
        ("é", "BYTES", [1], ["é"]),
        (b"abc", "BYTES", [1], ["abc"]),
        (bytearray(b"abc"), "BYTES", [1], ["abc"]),
        (["a", b"b"], "BYTES", [2], ["a", "b"]),
        (np.array(["a", "bc"]), "BYTES", [2], ["a", "bc"]),
        (np.float16(1.5), "FP16", [], [1.5]),
        (np.array([1, 2], ">i4"), "INT32", [2], [1, 2]),
        (np.arange(4, dtype=np.uint8).reshape(2, 2).T, "UINT8", [2, 2], [0, 2, 1, 3]),
        (torch.tensor([[1.5, 2.5]], requires_grad=True), "FP32", [1, 2], [1.5, 2.5]),
        (torch.tensor([1.5, -2.0], dtype=torch.bfloat16), "BF16", [2], [1.5, -2.0]),
        (torch.tensor([[1, 2], [3, 4]], dtype=torch.int8).T, "INT8", [2, 2], [1, 3, 2, 4]),
        ([], "FP64", [0], []),
    ],
)
def test_what_a_handler_may_return_for_a_row(result, datatype, shape, data):
    assert in_json(result) == {"name": "output_0", "datatype": datatype, "shape": shape, "data": data}


def test_outputs_have_the_names_that_the_handler_the_signature_or_nobody_gave():
    assert [output["name"] for output in write({"b": [1], "a": [2]})[0]["outputs"]] == ["b", "a"]
    assert [output["name"] for output in write(([1], [2]))[0]["outputs"]] == ["output_0", "output_1"]
    two = giving(("p", "INT64", (-1,)), ("q", "INT64", (-1,)))
    assert [output["name"] for output in write(([1], [2]), two)[0]["outputs"]] == ["p", "q"]
    assert in_json([1], giving(("p", "INT64", (-1,))))["name"] == "p"


def test_json_and_bytes_stand_in_one_response_as_they_were_wanted():
    outputs = {"b": True, "a": False, "c": True}
    header, binary = write({"a": [1], "b": np.float32([2]), "c": np.int8([3]), "d": [4]}, outputs=outputs)
    assert [output["name"] for output in header["outputs"]] == ["b", "a", "c"]
    assert header["outputs"][1]["data"] == [1]
    assert [output.get("parameters") for output in header["outputs"]] == [
        {"binary_data_size": 4},
        None,
        {"binary_data_size": 1},
    ]
    assert binary == struct.pack("<fb", 2.0, 3)


def test_large_outputs_are_not_copied():
    array = np.zeros((3, 224, 224), np.float32)
    response = write_response({"x": array}, TensorRow({}, is_binary=True), MODEL, Signature())
    assert isinstance(response.body, Gathered)
    header, data = response.body.buffers
    assert len(header) == response.header_bytes
    assert np.shares_memory(np.frombuffer(data, np.float32), array)


def test_nan_and_infinity_are_pythons_json():
    assert str(in_json([float("nan"), float("-inf")])["data"]) == "[nan, -inf]"
    assert str(in_json(torch.tensor([float("inf")], dtype=torch.float16))["data"]) == "[inf]"


@pytest.mark.parametrize(
    ("datatype", "value", "data"),
    [
        ("FP32", [1, 2], [1.0, 2.0]),
        ("FP32", np.float64([1.5]), [1.5]),
        ("FP16", torch.tensor([1.5]), [1.5]),
        ("INT8", [1, -2], [1, -2]),
        ("UINT64", [2**64 - 1], [2**64 - 1]),
        ("INT64", [], []),
        ("BF16", [1.00390625, 3.0], [1.0, 3.0]),
        ("BF16", np.float32([1.01171875, float("nan")]), [1.015625, "nan"]),
        ("BYTES", "a", ["a"]),
        ("BOOL", [True], [True]),
    ],
)
def test_values_become_the_signatures_data_type(datatype, value, data):
    output = in_json(value, giving(("y", datatype, (-1,))))
    assert output["datatype"] == datatype
    assert [str(item) for item in output["data"]] == [str(item) for item in data]


def test_bf16_goes_out_as_its_two_bytes():
    _, binary = write({"x": torch.tensor([1.0, -2.0], dtype=torch.bfloat16)}, is_binary=True)
    assert binary == struct.pack("<2H", 0x3F80, 0xC000)


def test_bf16_of_the_package_that_knows_it_is_bf16():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    assert in_json(np.array([1.5], ml_dtypes.bfloat16)) == {
        "name": "output_0",
        "datatype": "BF16",
        "shape": [1],
        "data": [1.5],
    }


@pytest.mark.parametrize(
    ("result", "signature", "problem"),
    [
        (np.zeros(1, complex), Signature(), "output 'output_0': complex128 is not"),
        ({"a": np.datetime64("2020-01-01")}, Signature(), "output 'a': datetime64"),
        ([object()], Signature(), "object is not one of"),
        (None, Signature(), "NoneType is not"),
        ([[1], [2, 3]], Signature(), "output 'output_0'"),
        ([1.5], giving(("y", "INT64", (-1,))), "output 'y': it is FP64, and the model's signature says INT64"),
        ("a", giving(("y", "FP32", (-1,))), "it is BYTES"),
        ([1], giving(("y", "BYTES", (-1,))), "it is INT64"),
        ([300], giving(("y", "INT8", (-1,))), "output 'y'"),
        ([[1]], giving(("y", "INT64", (-1,))), r"output 'y' has the shape \[1, 1\], not \[-1\]"),
        ({"z": [1]}, giving(("y", "INT64", (-1,))), "no output 'y'"),
        (([1], [2]), giving(("y", "INT64", (-1,))), "gave 2 outputs, the signature has 1"),
    ],
)
def test_what_is_no_tensor_or_not_the_signatures_is_an_error(result, signature, problem):
    with pytest.raises((TypeError, ValueError, OverflowError), match=problem):
        write(result, signature)


def test_bytes_that_are_no_text_cannot_be_json():
    with pytest.raises(ValueError, match="utf-8"):
        write(b"\xff")
    assert write(b"\xff", is_binary=True)[1] == b"\x01\x00\x00\x00\xff"


def test_an_output_that_there_is_not_is_the_clients_mistake():
    with pytest.raises(BadRequest, match="There is no output 'z'; there are a, b"):
        write({"a": [1], "b": [2]}, outputs={"z": True})


def test_requests_and_responses_have_the_same_form():
    header = json.loads(json_request(binary_tensor(4, shape=[1])))
    (output,) = write({"x": np.float32([1])}, is_binary=True)[0]["outputs"]
    assert output == header["inputs"][0]
