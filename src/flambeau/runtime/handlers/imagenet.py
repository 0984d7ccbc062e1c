"""Pictures as models of ImageNet take them."""

from __future__ import annotations

from torchvision import transforms

from flambeau.runtime.handlers.vision import to_rgb

MEAN = (0.485, 0.456, 0.406)
STANDARD_DEVIATION = (0.229, 0.224, 0.225)
"""Of ImageNet's pictures: red, green, blue, each from 0 to 1."""

imagenet_input = transforms.Compose(
    [
        to_rgb,
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize(mean=MEAN, std=STANDARD_DEVIATION),
    ]
)
"""A picture to float32 ``[3, 224, 224]``: the middle of it, normalised."""
