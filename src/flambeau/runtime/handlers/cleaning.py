"""Text without what a vocabulary has no words for."""

from __future__ import annotations

import re
import string
import unicodedata

CLEANUP_REGEX = re.compile(r"<.*?>|&(?:[a-z0-9]+|#[0-9]{1,6}|#x[0-9a-f]{1,6});")
"""A tag or a character reference of HTML."""

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def remove_html_tags(text: str) -> str:
    return CLEANUP_REGEX.sub("", text)


def remove_accents(text: str) -> str:
    """Letters without their accents; what is not ASCII then is left out."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def remove_punctuation(text: str) -> str:
    return text.translate(_NO_PUNCTUATION)
