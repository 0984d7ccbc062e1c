"""What is called in a program is served as it is, and a description means the same in both places."""

from __future__ import annotations

import io

import httpx
import numpy as np
import pytest
from PIL import Image

import flambeau
from tests.process.calls import message_of, post, run_serve
from tests.serving import ServerProcess

APP = """
import torch

import flambeau


def double(rows):
    return [2 * row for row in rows]


def plus_one(rows):
    return [ValueError("odd") if row == 7 else row + 1 for row in rows]


class Lengths:
    def __call__(self, rows):
        return [len(row) for row in rows]


def fields(rows):
    return [sorted(row) for row in rows]


net = torch.nn.Linear(3, 2, bias=False)
torch.nn.init.ones_(net.weight)
loaded = flambeau.load(double, name="loaded", batch_size=4)
pipeline = flambeau.Pipeline([flambeau.Stage("double", double), flambeau.Stage("plus", plus_one)])
"""

PIPELINE = """
batchSize: 8
decode:
  run: DecodeImage
mean:
  run: "means.py:mean"
  batchSize: 4
"""

MEANS = """
def mean(rows):
    return [[round(float(value), 1) for value in row.mean(axis=(0, 1))] for row in rows]
"""

OBJECTS = ("double", "Lengths", "fields", "net", "loaded", "pipeline")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "app.py").write_text(APP)
    (folder / "colours.yaml").write_text(PIPELINE)
    (folder / "means.py").write_text(MEANS)
    sources = [*(f"{folder}/app.py:{name}" for name in OBJECTS), f"red={folder}/colours.yaml"]
    with ServerProcess(*sources, folder=folder, options=["--workers", "1"]) as server:
        yield server


def post_json(server, model, value):
    return httpx.post(f"{server.inference}/predictions/{model}", json=value, trust_env=False)


def png(colour):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("model", "value", "answer"),
    [
        ("double", 21, 42),
        ("Lengths", "hello", 5),
        ("net", [1.0, 2.0, 3.0], [6.0, 6.0]),
        ("loaded", 4, 8),
        ("pipeline", 4, 9),
    ],
)
def test_an_object_of_a_python_file_answers_what_it_returns_when_it_is_called(server, model, value, answer):
    reply = post_json(server, model, value)
    assert reply.status_code == 200
    assert reply.json() == answer


def test_a_form_with_several_fields_is_one_row_with_those_fields(server):
    form = {"text": "a", "lang": "de"}
    reply = httpx.post(f"{server.inference}/predictions/fields", data=form, trust_env=False)
    assert reply.json() == ["lang", "text"]


def test_a_row_that_fails_in_a_stage_costs_its_own_client_only(server):
    assert post_json(server, "pipeline", 3).json() == 7
    failed = post_json(server, "pipeline", 3.5)
    assert failed.status_code == 503
    assert message_of(failed) == "Prediction failed"
    assert post_json(server, "pipeline", 4).json() == 9


def test_a_description_is_served_and_loaded_as_the_same_pipeline(server):
    picture = png((200, 100, 50))
    served = post(server, "red", picture)
    assert served.status_code == 200
    with flambeau.load(server.folder / "colours.yaml") as pipeline:
        assert served.json() == pipeline(picture) == [200.0, 100.0, 50.0]


def test_a_client_is_told_what_was_wrong_with_its_picture(server):
    reply = post(server, "red", b"no picture")
    assert reply.status_code == 400
    assert message_of(reply).startswith("stage 'decode': ")


def test_an_archive_may_have_a_description_as_its_handler(tmp_path):
    folder = tmp_path / "colours"
    (folder / "MAR-INF").mkdir(parents=True)
    (folder / "colours.yaml").write_text(PIPELINE)
    (folder / "means.py").write_text(MEANS)
    (folder / "MAR-INF" / "MANIFEST.json").write_text(
        '{"runtime": "python", "model": {"modelName": "c", "handler": "colours.yaml"}}'
    )
    picture = png((1, 2, 3))
    with flambeau.load(folder) as model:
        assert np.allclose(model(picture), [1.0, 2.0, 3.0])


@pytest.mark.parametrize("source", ["nothing.py:model", "app.py:", "nothing.yaml"])
def test_what_is_not_there_is_said_before_the_server_starts(tmp_path, source):
    (tmp_path / "app.py").write_text(APP)
    finished = run_serve(tmp_path, source)
    assert finished.returncode != 0
    assert f"model not found: {source}" in finished.stderr


def test_an_object_that_is_not_in_its_file_fails_the_load_by_name(tmp_path):
    (tmp_path / "app.py").write_text("x = 1")
    with (
        pytest.raises(flambeau.errors.ModelNotFound, match=r"app\.py has no missing"),
        flambeau.load(f"{tmp_path}/app.py:missing"),
    ):
        pass
