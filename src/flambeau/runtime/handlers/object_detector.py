"""Pictures to the boxes of the objects in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torchvision import transforms

from flambeau.runtime.handlers.explanations import not_explainable
from flambeau.runtime.handlers.labels import map_class_to_label
from flambeau.runtime.handlers.timer import timed
from flambeau.runtime.handlers.vision import VisionHandler, to_rgb

Found = dict[str, Any]
"""Of one picture, N objects: ``boxes`` float ``[N, 4]``, ``labels`` int ``[N]``, ``scores`` float ``[N]``."""


class ObjectDetector(VisionHandler):
    """For models of ``torchvision.models.detection``, as module or as TorchScript."""

    threshold = 0.5
    """Objects with a lower score are left out."""

    image_processing = transforms.Compose([to_rgb, transforms.ToTensor()])

    @timed
    def preprocess(self, data: Sequence[Any]) -> Any:
        """Rows to float32 ``[B, 3, H, W]``, or to a list of ``[3, H, W]`` where pictures differ in size."""
        pictures = self._to_tensors(data)
        if len({picture.shape for picture in pictures}) == 1:
            return torch.stack(pictures).to(self.device)
        return [picture.to(self.device) for picture in pictures]

    @timed
    def inference(self, data: Any, *args: Any, **kwargs: Any) -> list[Found]:
        """Call the model, without gradients, with a list where it is TorchScript that wants one."""
        pictures = data.to(self.device) if isinstance(data, torch.Tensor) else [one.to(self.device) for one in data]
        with torch.inference_mode():
            found = self.model(list(pictures) if _takes_list(self.model) else pictures, *args, **kwargs)
        if isinstance(found, tuple):  # TorchScript returns losses, too
            _, found = found
        answers: list[Found] = found
        return answers

    @timed
    def postprocess(self, data: Sequence[Found]) -> list[list[dict[str, Any]]]:
        """Per picture one ``{label: [x1, y1, x2, y2], "score": score}`` per object, in the model's order, in pixels."""
        return [self._objects(found) for found in data]

    def get_insights(self, tensor_data: Any, _: Any, target: Any = 0) -> list[Any]:
        """
        Raises:
            PredictionException: always; the client gets 501.
        """
        raise not_explainable("object_detector")

    def _objects(self, found: Found) -> list[dict[str, Any]]:
        kept = found["scores"] >= self.threshold
        boxes = found["boxes"][kept].tolist()
        labels = found["labels"][kept].tolist()
        named: list[dict[str, Any]] = map_class_to_label(
            [[box] for box in boxes], self.mapping, [[label] for label in labels]
        )
        return [{**one, "score": score} for one, score in zip(named, found["scores"][kept].tolist(), strict=True)]


def _takes_list(model: Any) -> bool:
    """Whether a TorchScript model wants a list of pictures. Modules take lists and stacked pictures alike."""
    if not isinstance(model, torch.jit.ScriptModule):
        return False
    arguments = model.forward.schema.arguments
    return len(arguments) > 1 and str(arguments[1].type) == "List[Tensor]"
