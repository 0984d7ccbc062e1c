"""The handler that handlers of text are made from: cleaning, tokens, a vocabulary."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch

from flambeau.errors import InvalidModel
from flambeau.runtime.handlers.base import BaseHandler
from flambeau.runtime.handlers.cleaning import remove_accents, remove_html_tags, remove_punctuation
from flambeau.runtime.handlers.contractions import expand_contractions
from flambeau.runtime.handlers.explanations import attribution_methods
from flambeau.runtime.handlers.tokenizing import get_tokenizer
from flambeau.runtime.handlers.vocabulary import Vocabulary, load_vocabulary

VOCABULARY_FILE = "source_vocab.pt"


class TextHandler(BaseHandler):
    """Loads the vocabulary beside the model. Subclasses make tensors of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.source_vocab: Vocabulary | None = None
        self.tokenizer = get_tokenizer("basic_english")
        self.input_text: Any = None

    def initialize(self, context: Any) -> None:
        """
        Raises:
            InvalidModel: the archive has no vocabulary, or one that cannot be read.
        """
        super().initialize(context)
        self.initialized = False
        self.source_vocab = load_vocabulary(self.get_source_vocab_path(context))
        self.initialized = True

    @cached_property
    def lig(self) -> Any:
        """Captum's ``LayerIntegratedGradients`` of the model's ``embedding``, made when it is first used."""
        return attribution_methods().LayerIntegratedGradients(self.model, self.model.embedding)

    def get_source_vocab_path(self, ctx: Any) -> str:
        """The vocabulary's file: ``sourceVocab`` of the manifest, else ``source_vocab.pt``.

        Raises:
            InvalidModel: it is not in the archive.
        """
        named = ((ctx.manifest or {}).get("model") or {}).get("sourceVocab") or VOCABULARY_FILE
        path = os.path.join(ctx.system_properties["model_dir"], named)
        if not os.path.isfile(path):
            raise InvalidModel(f"Missing the source_vocab file: {named} is not in the archive (--extra-files)")
        return path

    def get_word_token(self, input_tokens: Sequence[str]) -> list[str]:
        """Tokens without the sign by which byte-pair encodings mark the start of a word."""
        return [token.replace("Ġ", "") for token in input_tokens]

    def summarize_attributions(self, attributions: torch.Tensor) -> torch.Tensor:
        """Attributions ``[N, D]`` as shares of each row (softmax), over the norm of the rows' sums."""
        shares = attributions.softmax(dim=-1)
        return shares / shares.sum(dim=-1).norm()

    def _expand_contractions(self, text: str) -> str:
        return expand_contractions(text)

    def _remove_accented_characters(self, text: str) -> str:
        return remove_accents(text)

    def _remove_html_tags(self, text: str) -> str:
        return remove_html_tags(text)

    def _remove_punctuation(self, text: str) -> str:
        return remove_punctuation(text)

    def _remove_puncutation(self, *args: Any, **kwargs: Any) -> str:
        """:meth:`_remove_punctuation`, under the name that it once had."""
        return self._remove_punctuation(*args, **kwargs)

    def _tokenize(self, text: str) -> list[str]:
        return self.tokenizer(text)
