from flambeau.runtime.handlers.text_classifier import TextClassifier

__all__ = ["TextClassifier"]
