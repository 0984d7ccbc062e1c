"""A workflow of two image classifiers on real architectures, with a function before and a function after them."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import squeezenet1_1

from flambeau.archive.plan import ArchiveSpec
from flambeau.archive.writer import write_archive
from tests.process.calls import manage, post
from tests.process.workflow_calls import predict, write_workflow
from tests.serving import ServerProcess

SPEC = """
models:
  batch-size: 4
  cats: {url: cats.mar}
  dogs: {url: dogs.mar}
dag:
  shrink: [cats, dogs]
  cats: [best]
  dogs: [best]
"""

NET = """
from torchvision.models.squeezenet import SqueezeNet


class Net(SqueezeNet):
    def __init__(self):
        super().__init__("1_1")
"""

FUNCTIONS = """
import io
import json

from PIL import Image


def shrink(data, context):
    return None if data is None else [shrunk(row["body"]) for row in data]


def shrunk(picture):
    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").resize((224, 224)).save(buffer, "PNG")
    return buffer.getvalue()


def best(data, context):
    if data is None:
        return None
    return [{model: max(json.loads(bytes(top)).items(), key=lambda item: item[1]) for model, top in row.items()}
            for row in data]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifiers")
    (folder / "net.py").write_text(NET)
    for seed, name in enumerate(("cats", "dogs")):
        torch.manual_seed(seed)
        torch.save(squeezenet1_1().state_dict(), folder / f"{name}.pth")
        write_archive(
            ArchiveSpec(
                model_name=name,
                handler="image_classifier",
                model_file=folder / "net.py",
                serialized_file=folder / f"{name}.pth",
                export_path=folder,
            )
        )
    write_workflow(folder, "pair", SPEC, FUNCTIONS)
    (folder / "server").mkdir()
    with ServerProcess(folder=folder / "server", options=["--model-store", str(folder)]) as server:
        assert manage(server, "POST", "/workflows", url="pair.war").status_code == 200
        yield server


def png(seed: int, size: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def shrunk(picture: bytes) -> bytes:
    namespace: dict[str, object] = {}
    exec(FUNCTIONS, namespace)
    return namespace["shrunk"](picture)  # type: ignore[operator, no-any-return]


@pytest.mark.parametrize("seed", [0, 1])
def test_both_classifiers_see_the_picture_that_the_function_made_and_the_last_node_joins_them(server, seed):
    picture = png(seed, 300)
    answer = predict(server, "pair", picture).json()
    for model in ("cats", "dogs"):
        direct = post(server, f"pair__{model}", shrunk(picture)).json()
        name, probability = max(direct.items(), key=lambda item: item[1])
        assert answer[model] == [name, pytest.approx(probability, rel=1e-3)]


def test_what_is_no_picture_fails_in_the_first_node(server):
    reply = predict(server, "pair", b"no picture")
    assert reply.status_code == 500
    assert json.loads(reply.text)["message"] == "Error executing shrink (Prediction failed)"
