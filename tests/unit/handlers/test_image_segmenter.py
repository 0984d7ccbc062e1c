"""image_segmenter on a real architecture."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

from flambeau.runtime.handlers.imagenet import imagenet_input
from ts.torch_handler.image_segmenter import ImageSegmenter
from ts.utils.util import PredictionException

CLASSES = 4


@pytest.fixture(scope="session")
def net():
    torch.manual_seed(0)
    return lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES).eval()


@pytest.fixture(scope="session")
def torchscript(net, scripted):
    return scripted(net)


@pytest.fixture
def segmenter(serve, torchscript):
    return serve("image_segmenter", {"net.pt": torchscript}, serializedFile="net.pt")


def test_each_pixel_gets_its_likeliest_class_and_how_likely_it_is(segmenter, net, answers, request_of, picture):
    found = answers(segmenter, request_of(picture(300, 280)), request_of(picture(60, 90, "L")))
    for data, answer in zip((picture(300, 280), picture(60, 90, "L")), found, strict=True):
        pixels = torch.tensor(answer)  # [H, W, 2]
        assert pixels.shape == (224, 224, 2)
        assert all(isinstance(value, float) for value in answer[0][0])  # class numbers too, as in TorchServe
        with torch.inference_mode():
            scores = net(imagenet_input(Image.open(io.BytesIO(data))).unsqueeze(0))["out"]
        expected = scores.softmax(1).max(1)
        assert torch.allclose(pixels[..., 1], expected.values[0], atol=1e-4)
        same = (pixels[..., 0] == expected.indices[0]).float().mean()
        assert same > 0.999  # where two classes are as likely, either will do


def test_there_are_no_explanations_and_it_says_so():
    with pytest.raises(PredictionException, match="image_segmenter gives no explanations") as caught:
        ImageSegmenter().explain_handle(None, [{"body": b""}])
    assert caught.value.error_code == 501
