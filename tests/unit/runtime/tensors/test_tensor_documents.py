import struct

import pytest
from infer_requests import binary_tensor, json_request, json_tensor

from flambeau.errors import BadRequest
from flambeau.runtime.tensors.documents import read_document


def test_tensors_that_came_as_bytes_are_lists_in_the_document():
    header = json_request(
        binary_tensor(8, shape=[1, 2]),
        json_tensor([3], "INT8", [1], "k"),
        id="7",
        parameters={"beams": 2},
        outputs=[{"name": "y", "parameters": {"binary_data": True}}],
    )
    assert read_document(header, struct.pack("<2f", 1.5, 2)) == {
        "inputs": [
            {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.5, 2.0]},
            {"name": "k", "shape": [1], "datatype": "INT8", "data": [3]},
        ],
        "id": "7",
        "parameters": {"beams": 2},
        "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
    }


def test_texts_are_text_where_they_can_be():
    header = json_request(binary_tensor(11, "BYTES", [2], parameters={"binary_data_size": 11, "content_type": "a"}))
    (tensor,) = read_document(header, b"\x02\0\0\0ab\x01\0\0\0\xff")["inputs"]
    assert tensor["data"] == ["ab", b"\xff"]
    assert tensor["parameters"] == {"content_type": "a"}


def test_claims_are_checked_here_too():
    with pytest.raises(BadRequest, match="claims 8 bytes"):
        read_document(json_request(binary_tensor(8)), b"")
