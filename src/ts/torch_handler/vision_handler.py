from flambeau.runtime.handlers.vision import VisionHandler

__all__ = ["VisionHandler"]
