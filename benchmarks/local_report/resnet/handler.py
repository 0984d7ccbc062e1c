"""A ResNet of torchvision with random weights, as a handler. Its configuration's ``handler.network`` says which.

A row's ``body`` is an image of 224 x 224 x 3 bytes; its answer is 1000 float32 in machine order.
"""

from __future__ import annotations

import torch
import torchvision

SIDE = 224


class ResNet:
    def initialize(self, context):
        torch.manual_seed(0)
        network = context.model_yaml_config["handler"]["network"]
        self.module = getattr(torchvision.models, network)(weights=None).eval()

    def handle(self, rows, context):
        with torch.inference_mode():
            images = torch.stack([torch.frombuffer(row["body"], dtype=torch.uint8) for row in rows])  # [B, 150528]
            images = images.view(len(rows), SIDE, SIDE, 3).permute(0, 3, 1, 2)  # [B, 3, 224, 224] uint8
            scores = self.module(images.float().div_(255).contiguous())  # [B, 1000] float32
            return [row.numpy().tobytes() for row in scores]
