"""The handler that handlers of images are made from: pictures to one tensor, explanations by Captum."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from PIL import Image, UnidentifiedImageError

from flambeau.runtime.failures import PredictionException
from flambeau.runtime.handlers.base import BaseHandler
from flambeau.runtime.handlers.explanations import attribute, attribution_methods
from flambeau.runtime.handlers.inputs import BAD_REQUEST, class_number, row_value
from flambeau.runtime.handlers.timer import timed

INTEGRATION_STEPS = 15
"""Of integrated gradients: TorchServe's number, so that explanations compare."""


class VisionHandler(BaseHandler):
    """Decodes pictures. Subclasses set :attr:`image_processing` and say what the model's output means."""

    image_processing: Callable[[Image.Image], torch.Tensor]
    """A decoded picture to the tensor that the model takes of it."""

    def initialize(self, context: Any) -> None:
        """Load the model; lift Pillow's limit on pixels where the server says so (``limit_max_image_pixels``)."""
        super().initialize(context)
        if not context.system_properties.get("limit_max_image_pixels"):
            Image.MAX_IMAGE_PIXELS = None

    @cached_property
    def ig(self) -> Any:
        """Captum's ``IntegratedGradients`` of the model, made when it is first used."""
        return attribution_methods().IntegratedGradients(self.model)

    @timed
    def preprocess(self, data: Sequence[Any]) -> Any:
        """Decode a batch of pictures.

        Args:
            data: one row per request, with JPEG, PNG, … bytes, their base64 text, or the numbers of a tensor.

        Returns:
            The tensors that :attr:`image_processing` makes, stacked: ``[B, …]`` on ``self.device``.

        Raises:
            PredictionException: a row is no picture; the client gets 400.
        """
        return torch.stack(self._to_tensors(data)).to(self.device)

    def get_insights(self, tensor_data: Any, _: Any, target: Any = 0) -> list[Any]:
        """How much each input number of each picture speaks for a class.

        Args:
            tensor_data: what :meth:`preprocess` returned.
            target: number of the class.

        Returns:
            Nested lists of the input's shape, by integrated gradients from a black picture.
        """
        explained = attribute(self.ig.attribute, tensor_data, target=class_number(target), n_steps=INTEGRATION_STEPS)
        insights: list[Any] = explained.tolist()
        return insights

    def _to_tensors(self, rows: Sequence[Any]) -> list[torch.Tensor]:
        return [self._to_tensor(row_value(row)) for row in rows]

    def _to_tensor(self, value: Any) -> torch.Tensor:
        if isinstance(value, str):
            value = _from_base64(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self.image_processing(read_picture(value))
        try:
            return torch.FloatTensor(value)
        except (TypeError, ValueError) as error:
            raise PredictionException(f"The input is neither a picture nor a tensor: {error}", BAD_REQUEST) from error


def read_picture(data: bytes | bytearray | memoryview) -> Image.Image:
    """Decode a picture in whatever mode it has.

    Raises:
        PredictionException: it cannot be decoded, or has more pixels than Pillow allows; the client gets 400.
    """
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except UnidentifiedImageError as error:
        raise PredictionException("The input is not a picture that can be read: unknown format", BAD_REQUEST) from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PredictionException(f"The input is not a picture that can be read: {error}", BAD_REQUEST) from error
    return picture


def to_rgb(picture: Image.Image) -> Image.Image:
    """Three channels, whatever the picture has: models of ImageNet and COCO take no others."""
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError) as error:
        raise PredictionException(f"The input is text, but not base64: {error}", BAD_REQUEST) from error
