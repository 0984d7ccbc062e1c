"""TorchServe's module names, for handlers that import them; everything behind them is Flambeau."""

from flambeau.runtime.context import TORCHSERVE_VERSION as __version__

__all__ = ["__version__"]
