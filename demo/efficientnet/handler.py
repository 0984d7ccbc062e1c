"""The handler: TorchServe's base handler, which loads the model, with what goes in and what comes out."""

import io

import torch
from PIL import Image, UnidentifiedImageError
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from ts.torch_handler.base_handler import BaseHandler
from ts.utils.util import PredictionException, map_class_to_label

LABELS_PER_ANSWER = 5

to_input = transforms.Compose(
    [
        transforms.Resize(256, InterpolationMode.BICUBIC),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        # The TensorFlow original, of which the weights are, subtracts 127 from each byte and divides by 128.
        transforms.Normalize(mean=[127 / 255] * 3, std=[128 / 255] * 3),
    ]
)


class EfficientNetClassifier(BaseHandler):
    """JPEG or PNG bytes to ``{label: probability}`` of the five likeliest labels, likeliest first."""

    def preprocess(self, data):
        """Rows with the picture under ``body`` (or ``data``, from a form) to float32 ``[B, 3, 224, 224]``.

        Raises:
            PredictionException: a row is no picture; answered with status 400.
        """
        pictures = [read_picture(row.get("body") or row.get("data")) for row in data]
        return torch.stack([to_input(picture) for picture in pictures])

    def postprocess(self, data):
        """Logits ``[B, 1000]`` to one mapping per row."""
        probabilities, classes = data.softmax(dim=1).topk(LABELS_PER_ANSWER)
        return map_class_to_label(probabilities.tolist(), self.mapping, classes.tolist())


def read_picture(body):
    try:
        return Image.open(io.BytesIO(body)).convert("RGB")
    except (UnidentifiedImageError, OSError, TypeError) as error:
        raise PredictionException("the body is not a picture that can be read", 400) from error
