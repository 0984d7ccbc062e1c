from flambeau.runtime.handlers.deep_speed import BaseDeepSpeedHandler

__all__ = ["BaseDeepSpeedHandler"]
