"""Stages under the names, and with the options, that torchpipe's backends of the same meaning have."""

from __future__ import annotations

from flambeau.stages.crop import Crop
from flambeau.stages.decode import DecodeImage
from flambeau.stages.resize import Resize


class DecodeMat(DecodeImage):
    """JPEG and PNG files to pixels, blue first, as OpenCV has them."""

    def __init__(self) -> None:
        super().__init__(color="bgr")


class ResizeMat(Resize):
    """To a height and width as ``cv2.resize`` does it: bilinear, without averaging."""

    def __init__(self, resize_h: int | str, resize_w: int | str) -> None:
        """In pixels; torchpipe's files have numbers as text."""
        super().__init__((int(resize_h), int(resize_w)), antialias=False)


class PillowResizeMat(Resize):
    """To a height and width as Pillow does it: bilinear, averaged."""

    def __init__(self, resize_h: int | str, resize_w: int | str) -> None:
        """In pixels; torchpipe's files have numbers as text."""
        super().__init__((int(resize_h), int(resize_w)))


class PillowResizeTensor(PillowResizeMat):
    """The same; what is resized may be an array or a tensor under either name."""


class CropMat(Crop):
    """The part of ``data`` that ``box`` says."""

    def __init__(self) -> None:
        super().__init__()


class CropTensor(CropMat):
    """The same; what is cut may be an array or a tensor under either name."""
