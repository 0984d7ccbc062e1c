from flambeau.runtime.handlers.tokenizing import get_tokenizer, ngrams_iterator

__all__ = ["get_tokenizer", "ngrams_iterator"]
