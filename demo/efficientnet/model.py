"""The network, as an archive's ``modelFile``: one class that is built without arguments, then given its weights."""

from efficientnet_lite_pytorch import EfficientNet
from efficientnet_lite_pytorch.utils import get_model_params


class EfficientNetLite0(EfficientNet):
    """Images, float32 ``[B, 3, 224, 224]``, to logits of ImageNet's classes, float32 ``[B, 1000]``."""

    def __init__(self) -> None:
        blocks, options = get_model_params("efficientnet-lite0", None)
        super().__init__(blocks, options)
