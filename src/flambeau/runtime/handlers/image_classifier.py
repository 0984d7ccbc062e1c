"""Pictures to their likeliest classes."""

from __future__ import annotations

from typing import Any

from flambeau.runtime.handlers.imagenet import imagenet_input
from flambeau.runtime.handlers.labels import map_class_to_label
from flambeau.runtime.handlers.timer import timed
from flambeau.runtime.handlers.vision import VisionHandler


class ImageClassifier(VisionHandler):
    """For models that make a score per class of an ImageNet-sized picture."""

    topk = 5
    """How many classes an answer names, likeliest first; all of them where the model has fewer."""

    image_processing = imagenet_input

    def set_max_result_classes(self, topk: int) -> None:
        self.topk = topk

    def get_max_result_classes(self) -> int:
        return self.topk

    @timed
    def postprocess(self, data: Any) -> list[dict[str, float]]:
        """Scores ``[B, classes]`` to one ``{label: probability}`` per row."""
        probabilities, classes = data.softmax(dim=1).topk(min(self.topk, data.shape[1]), dim=1)
        return map_class_to_label(probabilities.tolist(), self.mapping, classes.tolist())
