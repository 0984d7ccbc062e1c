"""object_detector on a real architecture, as module and as TorchScript, and on weights that were trained."""

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


def test_a_picture_without_alpha_or_colour_is_taken_too(handler, answers, request_of, picture):
    assert len(answers(handler, request_of(picture(mode="RGBA")), request_of(picture(mode="L")))) == 2


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


def test_there_are_no_explanations_and_it_says_so(handler, refusal, request_of, picture):
    status, sentence = refusal(handler, request_of(picture(), explain=True))
    assert status == 501
    assert "object_detector gives no explanations" in sentence


FACES = """
import torch
from facenet_pytorch import MTCNN
from ts.torch_handler.object_detector import ObjectDetector


class Faces(ObjectDetector):
    threshold = 0.9

    def initialize(self, context):
        self.context = context
        self.device = torch.device("cpu")
        self.mapping = {"1": "face"}
        self.model = MTCNN(keep_all=True)

    def inference(self, data):
        pictures = [(picture.permute(1, 2, 0) * 255).numpy() for picture in data]
        return [self.found(*self.model.detect(picture)) for picture in pictures]

    def found(self, boxes, scores):
        count = 0 if boxes is None else len(boxes)
        return {
            "boxes": torch.tensor(boxes.tolist() if count else []).reshape(count, 4),
            "labels": torch.ones(count, dtype=torch.int64),
            "scores": torch.tensor(scores.tolist() if count else []),
        }
"""


def test_trained_weights_find_a_face_and_none_where_there_is_none(serve, answers, request_of):
    pytest.importorskip("facenet_pytorch", reason="needs facenet-pytorch: pip install --no-deps -r tests/weights.txt")
    pictures = pytest.importorskip("skimage.data", reason="needs pictures: pip install scikit-image")
    handler = serve("handler.py", {"handler.py": FACES})
    astronaut, coffee = answers(
        handler, *(request_of(png(getattr(pictures, name)())) for name in ("astronaut", "coffee"))
    )
    (face,) = astronaut
    assert face["face"] == pytest.approx([181, 62, 268, 172], abs=5)
    assert face["score"] > 0.99
    assert coffee == []


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
