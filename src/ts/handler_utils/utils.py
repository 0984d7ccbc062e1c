from flambeau.runtime.imports import import_class

__all__ = ["import_class"]
