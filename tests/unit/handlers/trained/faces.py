"""Faces in pictures, by MTCNN with the weights that facenet-pytorch comes with."""

import torch
from facenet_pytorch import MTCNN

from ts.torch_handler.object_detector import ObjectDetector


class Faces(ObjectDetector):
    threshold = 0.9

    def initialize(self, context):
        self.context = context
        self.device = torch.device("cpu")
        self.mapping = {"1": "face"}
        self.model = MTCNN(keep_all=True)

    def inference(self, data):
        return [self.found(*self.model.detect((picture.permute(1, 2, 0) * 255).numpy())) for picture in data]

    def found(self, boxes, scores):
        count = 0 if boxes is None else len(boxes)
        return {
            "boxes": torch.tensor(boxes.tolist() if count else []).reshape(count, 4),
            "labels": torch.ones(count, dtype=torch.int64),
            "scores": torch.tensor(scores.tolist() if count else []),
        }
