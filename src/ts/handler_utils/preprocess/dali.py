from flambeau.runtime.handlers.dali import get_dali_pipeline

__all__ = ["get_dali_pipeline"]
