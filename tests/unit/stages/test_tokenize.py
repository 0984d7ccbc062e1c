import pickle
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from flambeau.errors import BadRequest, InvalidModel
from flambeau.stages import Tokenize

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "hello", "world", "##s", ",", "e", "##a"]
VOCABULARY = {token: number for number, token in enumerate(WORDS)}
PAD, UNKNOWN, CLASSIFY, SEPARATE, HELLO, WORLD, PLURAL = range(7)
TEXTS = st.lists(st.sampled_from(["hello", "worlds", "xyz", ",", "HELLO"]), max_size=6).map(" ".join)


@pytest.fixture
def vocabulary_file(tmp_path):
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join(WORDS) + "\n")
    return file


def word_level(*, pad: str | None = "<pad>") -> tokenizers.Tokenizer:
    words = {"hello": 0, "world": 1, "<unk>": 2} | ({pad: 7} if pad else {})
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return tokenizer


def test_a_batch_is_padded_to_its_longest_row():
    first, second = Tokenize(VOCABULARY)(["Hello, worlds", "hello"])
    assert first["input_ids"].tolist() == [CLASSIFY, HELLO, 7, WORLD, PLURAL, SEPARATE]
    assert second["input_ids"].tolist() == [CLASSIFY, HELLO, SEPARATE, PAD, PAD, PAD]
    assert second["attention_mask"].tolist() == [1, 1, 1, 0, 0, 0]
    assert second["token_type_ids"].tolist() == [0] * 6
    assert {column.dtype for column in first.values()} == {np.dtype(np.int64)}


def test_a_pair_of_texts_is_told_apart_by_its_type_ids():
    pair, as_list = Tokenize(VOCABULARY)([("hello", "world"), ["hello", "world"]])
    assert pair["input_ids"].tolist() == [CLASSIFY, HELLO, SEPARATE, WORLD, SEPARATE]
    assert pair["token_type_ids"].tolist() == [0, 0, 0, 1, 1]
    assert as_list["input_ids"].tolist() == pair["input_ids"].tolist()


def test_rows_are_cut_to_the_length_allowed_and_may_be_filled_up_to_it():
    stage = Tokenize(VOCABULARY, max_length=4, padding="max_length")
    long, short = stage(["hello world hello world", ""])
    assert long["input_ids"].tolist() == [CLASSIFY, HELLO, WORLD, SEPARATE]
    assert short["input_ids"].tolist() == [CLASSIFY, SEPARATE, PAD, PAD]


def test_a_row_that_is_no_text_is_its_own_failure():
    stage = Tokenize(VOCABULARY)
    fine, number, bytes_row, latin, triple = stage(
        ["hello", 5, "wörld".encode(), "wörld".encode("latin-1"), ("a", "b", "c")]
    )
    assert fine["input_ids"].tolist() == [CLASSIFY, HELLO, SEPARATE]
    assert bytes_row["input_ids"][1] == WORLD  # accents go with capital letters
    assert [type(failure) for failure in (number, latin, triple)] == [BadRequest] * 3
    assert str(latin) == "the text is not UTF-8"


def test_a_text_that_cannot_be_encoded_costs_its_neighbours_nothing():
    fine, failure = Tokenize(VOCABULARY)(["hello", "\ud800"])
    assert fine["input_ids"].tolist() == [CLASSIFY, HELLO, SEPARATE]
    assert isinstance(failure, Exception)


@settings(deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_apart_from_padding_a_batch_gives_what_its_rows_give_one_by_one(texts):
    stage = Tokenize(VOCABULARY, max_length=8)
    together = stage(texts)
    assert len({len(result["input_ids"]) for result in together}) == 1
    for text, result in zip(texts, together, strict=True):
        (alone,) = stage([text])
        assert result["input_ids"][result["attention_mask"] == 1].tolist() == alone["input_ids"].tolist()


@pytest.mark.parametrize("as_path", [str, lambda path: path])
def test_a_vocabulary_file_is_bert_s_way_to_split(vocabulary_file, as_path):
    (from_file,) = Tokenize(as_path(vocabulary_file))(["Hello worlds"])
    reference = tokenizers.BertWordPieceTokenizer(str(vocabulary_file)).encode("Hello worlds")
    assert from_file["input_ids"].tolist() == reference.ids


def test_a_vocabulary_may_have_capital_letters():
    (result,) = Tokenize({**VOCABULARY, "Hello": 10}, lowercase=False)(["Hello"])
    assert result["input_ids"].tolist() == [CLASSIFY, 10, SEPARATE]


def test_a_json_file_says_everything_itself(tmp_path):
    tokenizer = word_level()
    tokenizer.enable_padding(direction="left", pad_id=7, pad_token="<pad>")
    tokenizer.enable_truncation(1)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    _, short = Tokenize(tmp_path / "tokenizer.json", outputs=["input_ids"])(["hello world", "world"])
    assert list(short) == ["input_ids"]
    assert short["input_ids"].tolist() == [7, 1]


def test_a_tokenizer_that_is_given_is_not_changed():
    tokenizer = word_level()
    Tokenize(tokenizer, max_length=3)
    assert tokenizer.padding is None
    assert tokenizer.truncation is None


def test_the_padding_token_can_be_named():
    _, short = Tokenize(word_level(pad=None), pad_token="world")(["hello hello", "hello"])
    assert short["input_ids"].tolist() == [0, 1]


@pytest.mark.parametrize("pad_token", [None, "<nothing>"])
def test_without_a_padding_token_the_error_says_how_to_name_one(pad_token):
    with pytest.raises(ValueError, match="pad_token"):
        Tokenize(word_level(pad=None), pad_token=pad_token)


def test_a_fast_tokenizer_of_transformers_says_what_its_model_takes_and_on_which_side():
    fast = SimpleNamespace(
        backend_tokenizer=word_level(),
        pad_token="<pad>",
        padding_side="left",
        truncation_side="left",
        model_input_names=["input_ids", "attention_mask"],
    )
    long, short = Tokenize(fast, max_length=2)(["hello hello world", "hello"])
    assert {name: column.tolist() for name, column in short.items()} == {"input_ids": [7, 0], "attention_mask": [0, 1]}
    assert long["input_ids"].tolist() == [0, 1]


def test_a_slow_tokenizer_is_refused():
    with pytest.raises(InvalidModel, match="SimpleNamespace is not a fast tokenizer"):
        Tokenize(SimpleNamespace())


@pytest.mark.parametrize("content", [b"{}", b"nonsense", b"\xff"])
def test_a_file_that_is_no_tokenizer_is_refused(tmp_path, content):
    for name in ("tokenizer.json", "vocab.txt"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidModel):
            Tokenize(tmp_path / name)


def test_a_file_that_is_not_there_is_not_taken_for_the_name_of_a_model():
    with pytest.raises(InvalidModel, match=r"no tokenizer file missing\.json"):
        Tokenize("some/missing.json")


def test_threads_may_share_a_stage():
    stage = Tokenize(VOCABULARY, max_length=6)
    texts = [["hello"], ["hello world", "worlds"], ["xyz, hello worlds"]] * 20
    expected = [stage(batch) for batch in texts]
    with ThreadPoolExecutor(4) as pool:
        for wanted, got in zip(expected, pool.map(stage, texts), strict=True):
            assert [row["input_ids"].tolist() for row in got] == [row["input_ids"].tolist() for row in wanted]


def test_a_stage_can_be_pickled_with_the_tokenizer_that_it_was_given():
    (result,) = pickle.loads(pickle.dumps(Tokenize(word_level())))(["hello world"])
    assert result["input_ids"].tolist() == [0, 1]


@pytest.mark.parametrize(
    "options", [{"padding": "sometimes"}, {"padding": "max_length"}, {"outputs": ["input_ids", "labels"]}]
)
def test_an_option_without_meaning_is_refused(options):
    with pytest.raises(ValueError, match=r"padding|labels"):
        Tokenize(VOCABULARY, **options)
