"""Flambeau serves PyTorch models: TorchServe's archives, handlers and APIs, without Java.

import flambeau

model = flambeau.load("model.mar", batch_size=8)
model(image_bytes)
"""

from typing import TYPE_CHECKING, Any

from flambeau.version import __version__

if TYPE_CHECKING:
    from flambeau.local import Fields, LocalCallable, LocalModel, Pipeline, Stage, load

__all__ = ["Fields", "LocalCallable", "LocalModel", "Pipeline", "Stage", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """The local API, imported when it is used first: the server and the command line have no need of it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from flambeau import local

    return getattr(local, name)
