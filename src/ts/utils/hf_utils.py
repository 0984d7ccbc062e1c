from flambeau.runtime.handlers.hugging_face import download_model

__all__ = ["download_model"]
