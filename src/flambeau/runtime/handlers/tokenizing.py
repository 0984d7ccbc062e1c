"""English text to words and their n-grams, as the vocabularies of torchtext's tutorials were made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

_REWRITES = (
    (re.compile(r"<br />"), " "),
    (re.compile(r'"'), ""),
    (re.compile(r"[;:]"), " "),
    (re.compile(r"(['.,()!?])"), r" \1 "),
)


def basic_english(line: str) -> list[str]:
    """Lower-case words, with ``. , ( ) ! ? '`` as words of their own; quotation marks, ``;``, ``:`` are left out."""
    line = line.lower()
    for pattern, replacement in _REWRITES:
        line = pattern.sub(replacement, line)
    return line.split()


def get_tokenizer(tokenizer: str | None, language: str = "en") -> Callable[[str], list[str]]:
    """A function from a text to its words.

    Args:
        tokenizer: ``basic_english``; None to split at white space.

    Raises:
        ValueError: another tokenizer, or another language than English for ``basic_english``.
    """
    if tokenizer is None:
        return str.split
    if tokenizer != "basic_english":
        raise ValueError(f"tokenizer {tokenizer!r} is neither 'basic_english' nor None")
    if language != "en":
        raise ValueError("basic_english is for English (en) only")
    return basic_english


def ngrams_iterator(token_list: Sequence[str], ngrams: int) -> Iterator[str]:
    """The tokens, then every two neighbours joined by a blank, and so on up to ``ngrams`` neighbours."""
    for places in ngram_places(len(token_list), ngrams):
        yield " ".join(token_list[places.start : places.stop])


def ngram_places(token_count: int, ngrams: int) -> Iterator[range]:
    """The places of each n-gram's tokens in their text, in the order of :func:`ngrams_iterator`."""
    for length in range(1, max(ngrams, 1) + 1):
        for start in range(token_count - length + 1):
            yield range(start, start + length)
