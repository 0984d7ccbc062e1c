"""Pictures to a class for each pixel."""

from __future__ import annotations

from typing import Any

import torch

from flambeau.runtime.handlers.explanations import not_explainable
from flambeau.runtime.handlers.imagenet import imagenet_input
from flambeau.runtime.handlers.timer import timed
from flambeau.runtime.handlers.vision import VisionHandler


class ImageSegmenter(VisionHandler):
    """For models of ``torchvision.models.segmentation`` and others whose output has the scores under ``out``."""

    image_processing = imagenet_input

    @timed
    def postprocess(self, data: Any) -> list[Any]:
        """Name each pixel's class.

        Args:
            data: ``{"out": scores}``, the scores float ``[B, classes, H, W]``.

        Returns:
            Per picture ``H`` times ``W`` pairs of class number and probability, both as float.
        """
        probabilities, classes = data["out"].softmax(dim=1).max(dim=1)
        pixels: list[Any] = torch.stack((classes.to(probabilities.dtype), probabilities), dim=3).tolist()
        return pixels

    def get_insights(self, tensor_data: Any, _: Any, target: Any = 0) -> list[Any]:
        """
        Raises:
            PredictionException: always; the client gets 501.
        """
        raise not_explainable("image_segmenter")
