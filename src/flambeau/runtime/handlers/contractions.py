"""English contractions, written out."""

from __future__ import annotations

import re

_ENDINGS = {
    "n't": " not",
    "'ve": " have",
    "'ll": " will",
    "'re": " are",
    "'d": " would",
    "'s": " is",
    "'m": " am",
}

_REGULAR = {
    "'d 'd've 'll 'll've": "I i he it she they we you",
    "'s": "he how it she that there what when where who why",
    "'d 'd've": "that there y'all",
    "'ll 'll've": "what who",
    "'ll": "how",
    "'m": "I i",
    "'re": "they we what you y'all",
    "'ve": "I i they we what when where who why you could might must should so to will would y'all",
    "n't": "are did do does had has have is may was were",
    "n't n't've": "could had might must need ought should would",
}
"""Endings, and the words that take each of them."""

_IRREGULAR = {
    "'cause": "because",
    "ain't": "is not",
    "can't": "cannot",
    "can't've": "cannot have",
    "how'd": "how did",
    "how'd'y": "how do you",
    "let's": "let us",
    "ma'am": "madam",
    "o'clock": "of the clock",
    "sha'n't": "shall not",
    "shan't": "shall not",
    "shan't've": "shall not have",
    "so's": "so as",
    "where'd": "where did",
    "won't": "will not",
    "won't've": "will not have",
    "y'all": "you all",
}


def _written_out(contraction: str) -> str:
    for ending, words in _ENDINGS.items():
        if contraction.endswith(ending):
            return _written_out(contraction.removesuffix(ending)) + words
    return _IRREGULAR.get(contraction, contraction)


CONTRACTION_MAP: dict[str, str] = {
    word + ending: _written_out(word + ending)
    for endings, words in _REGULAR.items()
    for ending in endings.split()
    for word in words.split()
} | _IRREGULAR
"""Contraction to the words that it stands for."""

_PATTERN = re.compile(
    rf"(?<!\w)(?:{'|'.join(sorted(map(re.escape, CONTRACTION_MAP), key=len, reverse=True))})(?!\w)", re.IGNORECASE
)


def expand_contractions(text: str) -> str:
    """Write contractions out, keeping the case of their first letters, and drop all other apostrophes."""
    return _PATTERN.sub(lambda match: _expansion(match[0]), text).replace("'", "")


def _expansion(contraction: str) -> str:
    words = CONTRACTION_MAP.get(contraction) or CONTRACTION_MAP[contraction.lower()]
    return words[0].upper() + words[1:] if contraction[0].isupper() else words
