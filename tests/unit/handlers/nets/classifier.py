"""A classifier of torchvision, without weights."""

from torchvision.models import MobileNetV3
from torchvision.models.mobilenetv3 import _mobilenet_v3_conf


class Net(MobileNetV3):
    def __init__(self):
        blocks, last_channel = _mobilenet_v3_conf("mobilenet_v3_small")
        super().__init__(blocks, last_channel, num_classes=10)
