"""dali_image_classifier, where NVIDIA DALI is installed; on the CPU, which it decodes on as well."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from flambeau.errors import InvalidModel
from flambeau.runtime.handlers.imagenet import imagenet_input

pytest.importorskip("nvidia.dali", reason="needs DALI: pip install nvidia-dali-cuda120")

from ts.handler_utils.preprocess.dali import get_dali_pipeline
from ts.torch_handler.dali_image_classifier import DALIImageClassifier


def context(folder, **config):
    properties = {"model_dir": str(folder), "batch_size": 4}
    return SimpleNamespace(model_name="m", system_properties=properties, model_yaml_config=config)


@pytest.fixture
def handler(tmp_path):
    handler = DALIImageClassifier()
    handler.device = torch.device("cpu")
    handler.pipeline = get_dali_pipeline(context(tmp_path, dali={"num_threads": 1}))
    return handler


def test_pictures_become_what_the_other_classifier_makes_of_them(handler):
    pytest.importorskip("skimage", reason="needs pictures: pip install scikit-image")
    from demo.efficientnet_lite0 import jpeg

    pictures = [jpeg("chelsea"), jpeg("coffee")]
    made = handler.preprocess([{"body": bytearray(pictures[0])}, {"data": pictures[1]}])
    expected = torch.stack([imagenet_input(Image.open(io.BytesIO(data))) for data in pictures])
    assert made.shape == (2, 3, 224, 224)
    assert (made - expected).abs().mean() < 0.1


def test_a_pipeline_of_the_archive_is_used(handler, tmp_path, picture):
    handler.pipeline.serialize(filename=str(tmp_path / "own.dali"))
    handler.pipeline = get_dali_pipeline(context(tmp_path, dali={"pipeline_file": "own.dali"}))
    assert handler.preprocess([{"body": picture(300, 280, kind="JPEG")}]).shape == (1, 3, 224, 224)


@pytest.mark.parametrize(
    ("config", "problem"),
    [({}, "no dali config"), ({"dali": {"pipeline_file": "no.dali"}}, r"Missing dali pipeline file: no\.dali")],
)
def test_what_is_missing_is_named(tmp_path, config, problem):
    with pytest.raises(InvalidModel, match=problem):
        get_dali_pipeline(context(tmp_path, **config))
