"""Texts to their classes."""

from __future__ import annotations

from typing import Any

import torch

from flambeau.runtime.failures import PredictionException
from flambeau.runtime.handlers.inputs import BAD_REQUEST, class_number, row_value
from flambeau.runtime.handlers.labels import map_class_to_label
from flambeau.runtime.handlers.text import TextHandler
from flambeau.runtime.handlers.timer import timed
from flambeau.runtime.handlers.tokenizing import ngram_places, ngrams_iterator
from flambeau.runtime.handlers.word_importances import word_importances


class TextClassifier(TextHandler):
    """For models of ``forward(tokens, offsets)`` that make a score per class, such as torchtext's tutorials train.

    A model is asked about one text at a time, whatever the batch: that is what the stages take.
    """

    ngrams = 2
    """The most neighbouring words that make a token."""

    @timed
    def preprocess(self, data: Any) -> tuple[torch.Tensor, list[str]]:
        """The first row's text to tokens.

        Returns:
            The numbers of its n-grams, int64 ``[N]`` on ``self.device``, and its words.

        Raises:
            PredictionException: it is no UTF-8 text, or has a word that the vocabulary has no number for.
        """
        text = self._remove_html_tags(_text_of(row_value(data[0]))).lower()
        text = self._remove_accented_characters(self._expand_contractions(text))
        words = self._tokenize(self._remove_punctuation(text))
        numbers = [self.source_vocab[token] for token in ngrams_iterator(words, self.ngrams)]  # type: ignore[index]
        return torch.as_tensor(numbers, dtype=torch.int64, device=self.device), words

    def inference(self, data: tuple[torch.Tensor, list[str]], *args: Any, **kwargs: Any) -> Any:
        """Scores ``[1, classes]`` of one text."""
        numbers, _ = data
        return super().inference(numbers, self._offsets(), *args, **kwargs)

    @timed
    def postprocess(self, data: Any) -> list[dict[str, float]]:
        """Scores to ``{label: probability}`` of every class."""
        return map_class_to_label(data.softmax(dim=1).tolist(), self.mapping)

    def get_insights(
        self, text_preprocess: tuple[torch.Tensor, list[str]], _: Any, target: Any = 0
    ) -> list[dict[str, list[Any]]]:
        """How much each word of a text speaks for a class.

        Returns:
            One ``{"importances": …, "words": …}``, as long as each other; negative where a word speaks against.
        """
        numbers, words = text_preprocess
        places = list(ngram_places(len(words), self.ngrams))
        importances = word_importances(self.model, numbers, self._offsets(), places, target=class_number(target))
        return [{"importances": importances, "words": self.get_word_token(words)}]

    def _run_stages(self, data: list[dict[str, Any]]) -> list[Any]:
        return [answer for row in data for answer in super(TextClassifier, self)._run_stages([row])]

    def _offsets(self) -> torch.Tensor:
        return torch.zeros(1, dtype=torch.int64, device=self.device)


def _text_of(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return bytes(value).decode()
    except (TypeError, UnicodeDecodeError) as error:
        raise PredictionException(f"The input is not a text in UTF-8: {error}", BAD_REQUEST) from error
