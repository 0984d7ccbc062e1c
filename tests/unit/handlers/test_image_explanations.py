"""Explanations of pictures by Captum."""

from __future__ import annotations

import io
import sys

import pytest
import torch
from PIL import Image

from flambeau.runtime.handlers.imagenet import imagenet_input
from ts.torch_handler.base_handler import BaseHandler

CLASSES = 3


class Pool(torch.nn.Module):
    """Small, for a gradient is taken fifteen times of 150 000 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(3, CLASSES)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.tanh(pictures).mean((2, 3)))


@pytest.fixture(scope="session")
def net():
    torch.manual_seed(0)
    return Pool().eval()


@pytest.fixture
def classifier(serve, net, scripted):
    return serve("image_classifier", {"net.pt": scripted(net)}, serializedFile="net.pt")


needs_captum = pytest.mark.skipif("not __import__('importlib').util.find_spec('captum')", reason="pip install captum")


@needs_captum
def test_each_number_of_the_picture_gets_its_share_of_the_score(classifier, net, answers, request_of, picture):
    (answer,) = answers(classifier, request_of(data=picture(), target="2", explain=True))
    importances = torch.tensor(answer)
    assert importances.shape == (3, 224, 224)
    tensor = imagenet_input(Image.open(io.BytesIO(picture()))).unsqueeze(0)
    with torch.inference_mode():
        difference = net(tensor)[0, 2] - net(torch.zeros_like(tensor))[0, 2]
    assert importances.sum().item() == pytest.approx(difference.item(), rel=0.02)


@needs_captum
def test_without_a_target_the_first_class_is_explained(classifier, answers, request_of, picture):
    (unnamed,) = answers(classifier, request_of(picture(), explain=True))
    (first,) = answers(classifier, request_of(data=picture(), target=0, explain=True))
    assert torch.allclose(torch.tensor(unnamed), torch.tensor(first))


@needs_captum
def test_each_picture_of_a_batch_is_explained_for_its_own_target(classifier, answers, request_of, picture):
    requests = [request_of(data=picture(), target=target, explain=True) for target in range(CLASSES)]
    together = [torch.tensor(answer) for answer in answers(classifier, *requests)]
    alone = [torch.tensor(*answers(classifier, request)) for request in requests]
    assert all(torch.allclose(one, other) for one, other in zip(together, alone, strict=True))
    assert not torch.allclose(together[0], together[1])


@needs_captum
@pytest.mark.parametrize(
    ("target", "problem"), [(CLASSES, "target 3 is not a class"), ("cat", "not the number of a class")]
)
def test_a_target_that_is_no_class_is_a_bad_request(classifier, refusal, request_of, picture, target, problem):
    status, sentence = refusal(classifier, request_of(data=picture(), target=target, explain=True))
    assert status == 400
    assert problem in sentence


def test_predictions_go_on_where_captum_is_missing_and_explanations_say_so(
    classifier, monkeypatch, answers, refusal, request_of, picture
):
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.delitem(sys.modules, "captum.attr", raising=False)
    assert answers(classifier, request_of(picture()))
    status, sentence = refusal(classifier, request_of(picture(), explain=True))
    assert status == 501
    assert "captum" in sentence


def test_a_handler_without_insights_says_that_it_has_none(request_of, refusal, serve, net, scripted):
    source = """
from ts.torch_handler.base_handler import BaseHandler


class Numbers(BaseHandler):
    def preprocess(self, data):
        return [row["body"] for row in data]
"""
    handler = serve("handler.py", {"handler.py": source, "net.pt": scripted(net)}, serializedFile="net.pt")
    status, sentence = refusal(handler, request_of([1], explain=True))
    assert (status, "Numbers gives no explanations" in sentence) == (501, True)


def test_rows_that_an_envelope_took_apart_are_explained_as_they_are():
    class Handler(BaseHandler):
        def get_insights(self, tensor, inputs, target):
            return [(tensor, inputs, target)]

    assert Handler().explain_handle("tensor", [[1, 2]]) == [("tensor", [1, 2], 0)]
