from flambeau.runtime.handlers.timer import timed

__all__ = ["timed"]
