"""object_detector on a real architecture, as module and as TorchScript."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import to_tensor

from tests.unit.handlers.nets import detector
from ts.torch_handler.object_detector import ObjectDetector
from ts.utils.util import PredictionException

NAMES = json.dumps({"1": "cat", "2": "dog"})


@pytest.fixture(scope="session")
def net():
    torch.manual_seed(0)
    net = detector.Net().eval()
    for parameter in net.detector.head.classification_head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # so that scores differ, and some are high
    return net


@pytest.fixture(scope="session", params=["eager", "torchscript"])
def archived(request, net, state_dict, scripted):
    """Files of a detector, and how the manifest names them."""
    files = {"index_to_name.json": NAMES}
    if request.param == "torchscript":
        return {**files, "net.pt": scripted(net)}, {"serializedFile": "net.pt"}
    return {**files, "net.py": Path(detector.__file__).read_text(), "net.pth": state_dict(net)}, {
        "modelFile": "net.py",
        "serializedFile": "net.pth",
    }


@pytest.fixture
def handler(serve, archived):
    files, model = archived
    return serve("object_detector", files, **model)


def objects_in(net, data):
    """By hand what the handler does."""
    with torch.inference_mode():
        (found,) = net([to_tensor(Image.open(io.BytesIO(data)).convert("RGB"))])
    return [
        ({1: "cat", 2: "dog"}[label], box, score)
        for label, box, score in zip(
            found["labels"].tolist(), found["boxes"].tolist(), found["scores"].tolist(), strict=True
        )
        if score >= 0.5
    ]


@pytest.mark.parametrize("sizes", [[(96, 64), (96, 64)], [(96, 64), (200, 120), (50, 50)]])
def test_pictures_of_one_size_or_of_several_make_one_batch(handler, net, answers, request_of, picture, sizes):
    pictures = [picture(*size) for size in sizes]
    found = answers(handler, *map(request_of, pictures))
    for data, answer in zip(pictures, found, strict=True):
        expected = objects_in(net, data)
        assert expected
        assert len(answer) == len(expected)
        for one, (name, box, score) in zip(answer, expected, strict=True):
            assert one == {name: pytest.approx(box, abs=0.05), "score": pytest.approx(score, abs=1e-4)}


def test_pictures_of_all_modes_have_three_channels():
    handler = ObjectDetector()
    handler.device = "cpu"
    assert handler.preprocess([{"body": picture_in(mode)} for mode in ("RGBA", "L", "RGB")]).shape == (3, 3, 64, 96)


def picture_in(mode):
    buffer = io.BytesIO()
    Image.new(mode, (96, 64)).save(buffer, "PNG")
    return buffer.getvalue()


def test_objects_below_the_threshold_are_left_out():
    found = {
        "boxes": torch.tensor([[0.0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 3, 3]]),
        "labels": torch.tensor([1, 7, 2]),
        "scores": torch.tensor([0.9, 0.5, 0.25]),
    }
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "scores": torch.zeros(0)}
    assert ObjectDetector().postprocess([found, nothing]) == [
        [{"1": [0, 0, 1, 1], "score": pytest.approx(0.9)}, {"7": [0, 0, 2, 2], "score": 0.5}],
        [],
    ]


def test_there_are_no_explanations_and_it_says_so():
    with pytest.raises(PredictionException, match="object_detector gives no explanations") as caught:
        ObjectDetector().explain_handle(None, [{"body": b""}])
    assert caught.value.error_code == 501
