"""A text on its way to the tokens of a vocabulary."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.runtime.handlers.cleaning import remove_accents, remove_html_tags, remove_punctuation
from flambeau.runtime.handlers.contractions import CONTRACTION_MAP, expand_contractions
from flambeau.runtime.handlers.tokenizing import get_tokenizer, ngram_places, ngrams_iterator

WORDS = st.lists(st.text("abc", min_size=1, max_size=3), max_size=6)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("it isn't so", "it is not so"),
        ("I'd've gone", "I would have gone"),
        ("They'll see", "They will see"),
        ("can't've", "cannot have"),
        ("'cause it's late", "because it is late"),
        ("y'all'd've come", "you all would have come"),
        ("six o'clock", "six of the clock"),
        ("WON'T", "Will not"),
        ("the dogs' bowl", "the dogs bowl"),
        ("rock 'n' roll", "rock n roll"),
    ],
)
def test_contractions_are_written_out_and_other_apostrophes_dropped(text, expanded):
    assert expand_contractions(text) == expanded


def test_every_contraction_of_the_map_is_expanded_as_a_whole():
    for contraction, words in CONTRACTION_MAP.items():
        assert expand_contractions(contraction) == words
        assert "'" not in words


@pytest.mark.parametrize(
    ("clean", "text", "cleaned"),
    [
        (remove_html_tags, "<p class='x'>fish &amp; chips&#39;<br/></p>", "fish  chips"),
        (remove_accents, "Ünïcödé façade", "Unicode facade"),
        (remove_punctuation, "well, well: (really?) 3.5%", "well well really 35"),
    ],
)
def test_what_a_vocabulary_has_no_words_for_is_taken_away(clean, text, cleaned):
    assert clean(text) == cleaned


def test_basic_english_sets_marks_apart_and_drops_others():
    tokens = get_tokenizer("basic_english")('You can\'t; "really", (no) way!<br />Go.')
    assert " ".join(tokens) == "you can ' t really , ( no ) way ! go ."


def test_no_tokenizer_splits_at_white_space():
    assert get_tokenizer(None)(" A  b.\tC ") == ["A", "b.", "C"]


@pytest.mark.parametrize(("name", "language"), [("basic_english", "de"), ("spacy", "en")])
def test_a_tokenizer_that_there_is_not_is_refused(name, language):
    with pytest.raises(ValueError):
        get_tokenizer(name, language)


def test_ngrams_come_by_length_then_by_place():
    assert list(ngrams_iterator(["here", "we", "are"], 3)) == ["here", "we", "are", "here we", "we are", "here we are"]


@given(WORDS, st.integers(1, 4))
def test_places_say_where_each_ngram_comes_from(words, ngrams):
    grams = list(ngrams_iterator(words, ngrams))
    assert grams == [" ".join(words[place] for place in places) for places in ngram_places(len(words), ngrams)]
    assert grams[: len(words)] == words
