"""Ready-made stages for pipelines: functions of a batch of rows. ``docs/stages.md`` describes them.

Importing this package imports none of the libraries that the stages stand on; making a stage does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flambeau.stages.catalog import MODULES, find, names

if TYPE_CHECKING:
    from flambeau.stages.crop import CenterCrop, Crop
    from flambeau.stages.decode import DecodeImage
    from flambeau.stages.nms import NMS
    from flambeau.stages.normalize import Normalize
    from flambeau.stages.resize import Resize
    from flambeau.stages.tensors import ToTensor
    from flambeau.stages.tokenize import Tokenize
    from flambeau.stages.topk import TopK

__all__ = [
    "NMS",
    "CenterCrop",
    "Crop",
    "DecodeImage",
    "Normalize",
    "Resize",
    "ToTensor",
    "Tokenize",
    "TopK",
    "find",
    "names",
]


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return find(name)


def __dir__() -> list[str]:
    return __all__
