from flambeau.runtime.handlers.timer import timeit

__all__ = ["timeit"]
