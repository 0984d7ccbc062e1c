from flambeau.runtime.handlers.pippy_pipeline import BasePippyHandler

__all__ = ["BasePippyHandler"]
