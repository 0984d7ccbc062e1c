from flambeau.runtime.handlers.contractions import CONTRACTION_MAP

__all__ = ["CONTRACTION_MAP"]
