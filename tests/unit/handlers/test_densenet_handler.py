"""densenet_handler: serialized tensors in, the model's whole output out."""

from __future__ import annotations

import io

import pytest
import torch


def saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.fixture
def handler(serve, scripted):
    return serve("densenet_handler", {"net.pt": scripted(torch.nn.Flatten())}, serializedFile="net.pt")


def test_a_serialized_tensor_is_answered_with_one(handler, request_of):
    (reply,) = handler.run([request_of(saved(torch.ones(2, 3)))])
    assert torch.equal(torch.load(io.BytesIO(bytes(reply.body))), torch.ones(1, 6))


@pytest.mark.parametrize("body", [b"no tensor", saved([1, 2]), b"", [1, 2]])
def test_what_is_no_tensor_is_a_bad_request(handler, refusal, request_of, body):
    status, sentence = refusal(handler, request_of(body))
    assert (status, "tensor" in sentence) == (400, True)
