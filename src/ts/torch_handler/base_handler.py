from flambeau.runtime.handlers.base import BaseHandler

__all__ = ["BaseHandler"]
