"""Flambeau serves PyTorch models: TorchServe's archives, handlers and APIs, without Java."""

from flambeau.version import __version__

__all__ = ["__version__"]
