from flambeau.runtime.handlers.densenet import DenseNetHandler

__all__ = ["DenseNetHandler"]
