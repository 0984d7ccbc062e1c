"""source_vocab.pt in every form that it has had."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from flambeau.errors import InvalidModel
from flambeau.runtime import PredictionException
from flambeau.runtime.handlers.vocabulary import load_vocabulary

WRITTEN_BY_TORCHTEXT = Path(__file__).with_name("vocabularies")


@pytest.fixture
def saved(tmp_path):
    def save(content, **options):
        path = tmp_path / "source_vocab.pt"
        torch.save(content, path, **options)
        return path

    return save


@pytest.mark.parametrize("content", [{"a": 0, "b": 1}, ["a", "b"], ("a", "b")])
@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
def test_plain_forms_are_read_whatever_torch_wrote_them(saved, content, options):
    vocabulary = load_vocabulary(saved(content, **options))
    assert (vocabulary["a"], vocabulary["b"], len(vocabulary)) == (0, 1, 2)
    assert vocabulary(["b", "a"]) == [1, 0]


def test_an_unknown_token_has_the_number_of_unk(saved):
    assert load_vocabulary(saved({"a": 0, "<unk>": 7}))["b"] == 7


def test_an_unknown_token_without_unk_is_a_bad_request(saved):
    with pytest.raises(PredictionException, match="does not know the word 'b'") as caught:
        load_vocabulary(saved({"a": 0}))["b"]
    assert caught.value.error_code == 400


def test_a_vocabulary_of_torchtext_0_18_is_read_without_torchtext():
    vocabulary = load_vocabulary(WRITTEN_BY_TORCHTEXT / "torchtext-0.18.pt")
    assert len(vocabulary) == 21
    assert [vocabulary[token] for token in ("<unk>", "the", "company", "the team", "never seen")] == [0, 1, 2, 18, 0]
    assert "market rose" in vocabulary


def test_one_without_a_default_refuses_unknown_tokens():
    vocabulary = load_vocabulary(WRITTEN_BY_TORCHTEXT / "torchtext-0.18-without-default.pt")
    assert vocabulary["the"] == 0
    with pytest.raises(PredictionException):
        vocabulary["never seen"]


def test_a_vocabulary_of_torchtext_0_6_is_read_without_torchtext():
    vocabulary = load_vocabulary(WRITTEN_BY_TORCHTEXT / "torchtext-0.6.pt")
    assert vocabulary.get_stoi() == {
        **{"<unk>": 0, "<pad>": 1, "the": 2, "company": 3, "fell": 4},
        **{"game": 5, "of": 6, "shares": 7, "team": 8, "won": 9},
    }
    assert vocabulary["never seen"] == 0


class Harmful:
    def __reduce__(self):
        return exec, ("raise SystemExit('the code in the file was run')",)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (Harmful(), r"it needs __builtin__\.exec"),
        (Path("x"), r"it needs pathlib"),
        (torch.nn.Linear(1, 1), r"it needs torch\.nn"),
        (torch.zeros(2), "a Tensor"),
        ([1, 2], "a list"),
        ({"a": "b"}, "a dict"),
        (3, "a int"),
    ],
)
def test_what_is_no_vocabulary_is_refused_without_running_it(saved, content, problem):
    with pytest.raises(InvalidModel, match=problem) as caught:
        load_vocabulary(saved(content))
    assert "torch.save(vocab.get_stoi(), 'source_vocab.pt')" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps({"a": 0})])
def test_what_torch_did_not_save_is_refused(tmp_path, content):
    path = tmp_path / "source_vocab.pt"
    path.write_bytes(content)
    with pytest.raises(InvalidModel, match="not a vocabulary"):
        load_vocabulary(path)
