from flambeau.runtime.metrics import Dimension

__all__ = ["Dimension"]
