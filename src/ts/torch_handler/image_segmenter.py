from flambeau.runtime.handlers.image_segmenter import ImageSegmenter

__all__ = ["ImageSegmenter"]
