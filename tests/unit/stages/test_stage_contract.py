import pickle
from collections.abc import Sequence
from typing import Any

from flambeau import stages
from flambeau.stages.stage import BatchStage, RowStage


class Halve(BatchStage):
    """Numbers by parity; odd ones cannot be done, and spoil what they are done with."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def prepare(self, row: Any) -> tuple[type, Any]:
        if not isinstance(row, (int, float)):
            raise TypeError(f"{row!r} is no number")
        return type(row), row

    def many(self, kind: type, values: list[Any]) -> Sequence[Any]:
        self.batches.append(values)
        if any(value % 2 for value in values):
            raise ValueError("odd")
        return [value / 2 for value in values]


class Invert(RowStage):
    def one(self, row: Any) -> Any:
        return 1 / row


def described(results: list[Any]) -> list[Any]:
    return [type(result).__name__ if isinstance(result, Exception) else result for result in results]


def test_results_are_in_the_order_of_the_rows_when_kinds_are_mixed():
    stage = Halve()
    assert stage([2, 4.0, 6, 8.0]) == [1, 2, 3, 4]
    assert stage.batches == [[2, 6], [4.0, 8.0]]


def test_a_row_that_cannot_be_prepared_is_its_own_failure():
    assert described(Halve()([2, "x", 4])) == [1, "TypeError", 2]


def test_a_batch_that_fails_together_is_done_row_by_row_so_that_only_those_at_fault_fail():
    assert described(Halve()([2, 3, 4])) == [1, "ValueError", 2]


def test_a_failing_row_costs_its_neighbours_nothing_where_rows_are_done_alone():
    assert described(Invert()([1, 0, 2])) == [1, "ZeroDivisionError", 0.5]


def test_a_row_that_failed_before_is_passed_on_untouched():
    failure = KeyError("earlier")
    assert Invert()([failure, 1])[0] is failure
    assert Halve()([failure, 2])[0] is failure


def test_an_empty_batch_has_no_results():
    assert Halve()([]) == Invert()([]) == []


def test_a_stage_is_shown_and_pickled_as_the_call_that_made_it():
    stage = stages.Resize(256, interpolation="bicubic")
    assert repr(stage) == "Resize(256, interpolation='bicubic')"
    again = pickle.loads(pickle.dumps(stage))
    assert repr(again) == repr(stage)
    assert again.interpolation == "bicubic"
