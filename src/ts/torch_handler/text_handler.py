from flambeau.runtime.handlers.text import TextHandler

__all__ = ["TextHandler"]
