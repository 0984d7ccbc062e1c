"""Pictures decoded and normalised by NVIDIA DALI: ``dali`` of a model's YAML."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from nvidia import dali
from nvidia.dali.pipeline import Pipeline

from flambeau.errors import InvalidModel
from flambeau.runtime.handlers.image_classifier import ImageClassifier
from flambeau.runtime.handlers.imagenet import MEAN, STANDARD_DEVIATION
from flambeau.runtime.handlers.inputs import row_value
from flambeau.runtime.handlers.timer import timed
from flambeau.runtime.handlers.vision import VisionHandler


def get_dali_pipeline(ctx: Any) -> Any:
    """The pipeline of a model: that of its ``pipeline_file``, else one that makes what models of ImageNet take.

    ``batch_size``, ``num_threads``, ``device_id`` and ``seed`` come from the YAML as well. Without ``device_id`` the
    pipeline decodes on the CPU.

    Raises:
        InvalidModel: the YAML has no ``dali``, or the archive no such file.
    """
    settings = (ctx.model_yaml_config or {}).get("dali")
    if settings is None:
        raise InvalidModel(f"{ctx.model_name} has no dali config in model config yaml file")
    device_id = settings.get("device_id")
    arguments = {
        "batch_size": settings.get("batch_size", ctx.system_properties["batch_size"]),
        "num_threads": settings.get("num_threads", 1),
        "device_id": device_id,
        "seed": settings.get("seed", -1),
        "prefetch_queue_depth": 1,
    }
    file_name = settings.get("pipeline_file")
    if file_name is None:
        pipeline = Pipeline(**arguments)
        with pipeline:
            pipeline.set_outputs(_imagenet_input("cpu" if device_id is None else "mixed"))
    else:
        path = os.path.join(ctx.system_properties["model_dir"], file_name)
        if not os.path.isfile(path):
            raise InvalidModel(f"Missing dali pipeline file: {file_name} is not in the archive")
        pipeline = Pipeline.deserialize(filename=path, **arguments)
    pipeline.build()
    return pipeline


class DALIHandler(VisionHandler):
    """Has pictures decoded by DALI, and is otherwise as :class:`VisionHandler`."""

    def initialize(self, context: Any) -> None:
        super().initialize(context)
        self.pipeline = get_dali_pipeline(context)

    @timed
    def preprocess(self, data: Sequence[Any]) -> torch.Tensor:
        """Rows of JPEG, PNG, … bytes to what the pipeline makes of them, stacked on ``self.device``."""
        pictures = [np.frombuffer(row_value(row), dtype=np.uint8) for row in data]
        (output,) = self.pipeline.run(source=pictures)
        on_host = output.as_cpu()
        return torch.stack([torch.from_numpy(on_host.at(place)) for place in range(len(data))]).to(self.device)


class DALIImageClassifier(DALIHandler, ImageClassifier):
    """:class:`ImageClassifier`, its pictures decoded by DALI."""


def _imagenet_input(decoder: str) -> Any:
    encoded = dali.fn.external_source(name="source", dtype=dali.types.UINT8)
    decoded = dali.fn.decoders.image(encoded, device=decoder)
    resized = dali.fn.resize(
        decoded, size=[256], mode="not_smaller", interp_type=dali.types.INTERP_LINEAR, antialias=True
    )
    return dali.fn.crop_mirror_normalize(
        resized,
        crop=(224, 224),
        mean=[255 * share for share in MEAN],
        std=[255 * share for share in STANDARD_DEVIATION],
    )
