import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flambeau.errors import BadRequest, InvalidModel
from flambeau.stages import TopK

SCORES = [0.1, 3.0, -2.0, 3.0, 1.5]
NUMBERS = st.one_of(st.integers(-5, 5), st.floats(-100, 100, width=32))


def test_the_greatest_come_first_and_of_equal_ones_the_lower_class():
    (best,) = TopK(3)([SCORES])
    assert list(best.items()) == [("1", 3.0), ("3", 3.0), ("4", 1.5)]


def test_all_are_given_where_there_are_fewer_classes():
    assert len(TopK(100)([SCORES])[0]) == 5


@pytest.mark.parametrize(
    "row",
    [
        SCORES,
        tuple(SCORES),
        np.array(SCORES),
        np.array(SCORES, np.float16),
        torch.tensor(SCORES),
        torch.tensor(SCORES).bfloat16(),
    ],
)
def test_scores_may_be_a_list_array_or_tensor(row):
    (best,) = TopK(2)([row])
    assert best == {"1": 3.0, "3": 3.0}


@given(st.lists(st.lists(NUMBERS, min_size=1, max_size=6), max_size=6), st.integers(1, 6), st.booleans())
def test_a_batch_gives_what_its_rows_give_one_by_one(rows, k, softmax):
    stage = TopK(k, softmax=softmax)
    assert stage(rows) == [stage([row])[0] for row in rows]


@given(st.lists(NUMBERS, min_size=1, max_size=8), st.integers(1, 8))
def test_what_is_left_out_scores_no_more_than_what_is_given(row, k):
    (best,) = TopK(k)([row])
    assert list(best.values()) == sorted(row, reverse=True)[:k]
    assert all(row[int(number)] == score for number, score in best.items())


@given(st.lists(st.floats(-1000, 1000), min_size=1, max_size=8))
def test_softmax_gives_probabilities_over_all_classes(row):
    (best,) = TopK(len(row), softmax=True)([row])
    expected = torch.softmax(torch.tensor(row, dtype=torch.float64), 0)
    assert sum(best.values()) == pytest.approx(1)
    assert all(expected[int(number)] == pytest.approx(value) for number, value in best.items())


@pytest.mark.parametrize(
    "labels",
    [
        ["cat", "dog"],
        {"0": "cat", "1": "dog"},
        {0: ["n02", "cat"], 1: ["n01", "dog"]},
        {"object_type_names": ["cat", "dog"]},
    ],
)
@pytest.mark.parametrize("as_file", [False, True])
def test_labels_name_the_classes_that_they_know(tmp_path, labels, as_file):
    if as_file:
        file = tmp_path / "index_to_name.json"
        file.write_text(json.dumps(labels))
        labels = file
    assert TopK(5, labels)([[1.0, 2.0, 0.5]]) == [{"dog": 2.0, "cat": 1.0, "2": 0.5}]


@pytest.mark.parametrize(
    ("text", "problem"), [("[1, 2]", "class 0"), ("{", "not JSON"), ('"a"', "list of names"), ('{"0": []}', "class 0")]
)
def test_labels_of_another_form_are_refused(tmp_path, text, problem):
    file = tmp_path / "labels.json"
    file.write_text(text)
    with pytest.raises(InvalidModel, match=problem):
        TopK(5, str(file))


def test_a_file_of_labels_that_is_not_there_is_an_error():
    with pytest.raises(FileNotFoundError):
        TopK(5, "no_such_file.json")


@pytest.mark.parametrize(
    "row", ["text", None, [], [[1, 2], [3, 4]], [[1], [2, 3]], 5, ["a"], np.zeros((2, 2)), torch.tensor(1.0)]
)
def test_what_is_no_line_of_numbers_is_refused(row):
    fine, failure = TopK(1)([[1.0], row])
    assert fine == {"0": 1.0}
    assert isinstance(failure, BadRequest)


def test_nothing_to_give_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        TopK(0)
