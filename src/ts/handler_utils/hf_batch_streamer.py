from flambeau.runtime.handlers.text_streams import TextIteratorStreamerBatch

__all__ = ["TextIteratorStreamerBatch"]
