"""How much each word of a text speaks for a class, for models that add up the embeddings of n-grams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from flambeau.runtime.failures import PredictionException
from flambeau.runtime.handlers.explanations import NOT_IMPLEMENTED, attribute, attribution_methods

REFERENCE_TOKEN = 0
"""The token that says nothing, by torchtext's custom the unknown or the padding one."""


def word_importances(
    model: Any, numbers: torch.Tensor, offsets: torch.Tensor, ngrams: Sequence[Sequence[int]], *, target: int
) -> list[float]:
    """Integrated gradients from a text of reference tokens, by word.

    Args:
        model: called with ``numbers`` and ``offsets``; looks its tokens up in ``model.embedding``, a module of torch.
        numbers: int64 ``[N]``, the tokens of one text.
        offsets: int64 ``[1]``.
        ngrams: for each of the N tokens the places of its words in the text. Words share a token's importance.
        target: number of the class.

    Returns:
        One number per word, whose squares add up to 1; all 0 for a text that makes no difference.

    Raises:
        PredictionException: captum is missing, the model has no such class, or it is TorchScript, whose embeddings
            cannot be reached.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise PredictionException("TorchScript models of text have no explanations", NOT_IMPLEMENTED)
    if not len(numbers):
        return []
    embedding = model.embedding
    vectors = embedding.weight[numbers].detach()  # [N, D]
    references = embedding.weight[torch.full_like(numbers, REFERENCE_TOKEN)].detach()

    def scores_of(changed: torch.Tensor) -> Any:  # [1, N, D]
        with _embedding_as(embedding, changed[0]):
            return model(numbers, offsets)

    explained = attribute(
        attribution_methods().IntegratedGradients(scores_of).attribute,
        vectors.unsqueeze(0),
        references.unsqueeze(0),
        target=target,
        internal_batch_size=1,
    )
    by_token = explained[0].sum(dim=-1).tolist()  # [N]
    by_word = [0.0] * (1 + max(place for places in ngrams for place in places))
    for importance, places in zip(by_token, ngrams, strict=True):
        for place in places:
            by_word[place] += importance / len(places)
    length = sum(importance**2 for importance in by_word) ** 0.5
    return [importance / length for importance in by_word] if length else by_word


@contextmanager
def _embedding_as(embedding: Any, vectors: torch.Tensor) -> Iterator[None]:
    """Have an ``Embedding`` or ``EmbeddingBag`` answer its next call with these vectors, of one text, ``[N, D]``."""
    mode = getattr(embedding, "mode", None)

    def answer(*_: Any) -> torch.Tensor:
        if mode == "mean":
            return vectors.mean(dim=0, keepdim=True)
        if mode == "sum":
            return vectors.sum(dim=0, keepdim=True)
        if mode == "max":
            return vectors.max(dim=0, keepdim=True).values
        return vectors

    handle = embedding.register_forward_hook(answer)
    try:
        yield
    finally:
        handle.remove()
