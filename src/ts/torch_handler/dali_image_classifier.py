from flambeau.runtime.handlers.dali import DALIImageClassifier

__all__ = ["DALIImageClassifier"]
