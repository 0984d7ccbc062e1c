"""MicroBatching: pieces of a batch, one behind the other."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.runtime import Context, MetricsCache
from ts.handler_utils.micro_batching import HANDLER_METHODS, MicroBatching
from ts.torch_handler.base_handler import BaseHandler


class Steps:
    """Says what was done to each row."""

    def preprocess(self, data):
        return [f"{row}p" for row in data]

    def inference(self, data):
        return [f"{row}i" for row in data]

    def postprocess(self, data):
        return [f"{row}o" for row in data]


@pytest.fixture
def batching():
    """``batching(handler, micro_batch_size, parallelism)``, whose threads end with the test."""
    made = []

    def make(*arguments):
        made.append(MicroBatching(*arguments))
        return made[-1]

    yield make
    for one in made:
        one.shutdown()


@given(
    st.lists(st.integers(), max_size=9),
    st.integers(1, 4),
    st.dictionaries(st.sampled_from(HANDLER_METHODS), st.integers(0, 3)),
)
def test_all_rows_are_answered_in_order_whatever_the_pieces_and_threads(rows, size, parallelism):
    batching = MicroBatching(Steps(), size, parallelism)
    try:
        assert batching.handle(rows) == [f"{row}pio" for row in rows]
    finally:
        batching.shutdown()


def test_pieces_have_the_size_asked_for_but_the_last(batching):
    seen = []

    class Sizes(Steps):
        def inference(self, data):
            seen.append(len(data))
            return data

    batching(Sizes(), 3).handle(list(range(7)))
    assert sorted(seen) == [1, 3, 3]


def test_one_piece_is_preprocessed_while_another_is_in_inference(batching):
    both = threading.Barrier(2, timeout=20)

    class Meeting(Steps):
        def preprocess(self, data):
            if data == [1]:
                both.wait()
            return data

        def inference(self, data):
            if data == [0]:
                both.wait()
            return data

    assert batching(Meeting()).handle([0, 1]) == ["0o", "1o"]


def test_pieces_of_a_stage_with_two_threads_run_at_the_same_time(batching):
    both = threading.Barrier(2, timeout=20)

    class Meeting(Steps):
        def inference(self, data):
            both.wait()
            return data

    assert batching(Meeting(), 1, {"inference": 2}).handle([0, 1]) == ["0po", "1po"]


def test_threads_can_be_changed_between_batches(batching):
    changing = batching(Steps(), 2)
    assert changing.parallelism == {"preprocess": 1, "inference": 1, "postprocess": 1}
    changing.parallelism = {"inference": 3, "postprocess": 0}
    assert changing.parallelism == {"preprocess": 1, "inference": 3, "postprocess": 0}
    assert changing.handle([1, 2, 3]) == ["1pio", "2pio", "3pio"]


@pytest.mark.parametrize("parallelism", [{"training": 1}, {"inference": -1}])
def test_threads_that_make_no_sense_are_refused_and_change_nothing(batching, parallelism):
    one = batching(Steps())
    with pytest.raises(ValueError):
        one.parallelism = {"preprocess": 5, **parallelism}
    assert one.parallelism == {"preprocess": 1, "inference": 1, "postprocess": 1}


def test_a_size_below_one_is_refused():
    with pytest.raises(ValueError, match="micro_batch_size"):
        MicroBatching(Steps(), 0)


def test_a_piece_that_fails_fails_the_batch_once_the_others_are_through(batching):
    done = []

    class Failing(Steps):
        def inference(self, data):
            if data == ["0p"]:
                raise LookupError("bad row")
            done.extend(data)
            return data

    failing = batching(Failing())
    with pytest.raises(LookupError, match="bad row"):
        failing.handle([0, 1, 2])
    assert done == ["1p", "2p"]
    assert failing.handle([1]) == ["1po"]


def test_a_stage_knows_which_piece_it_works_on(batching):
    class Numbered(Steps):
        def postprocess(self, data):
            return [numbered.get_micro_batch_idx()] * len(data)

    numbered = batching(Numbered(), 2)
    assert numbered.handle([0, 1, 2]) == [0, 0, 1]
    assert numbered.get_micro_batch_idx() is None


# --- in place of a handler's own handle -------------------------------------------------------------------------------


class Doubling(BaseHandler):
    def __init__(self):
        super().__init__()
        self.handle = MicroBatching(self, micro_batch_size=2, parallelism={"inference": 2})

    def preprocess(self, data):
        return [row["body"] for row in data]

    def inference(self, data):
        return [2 * value for value in data]

    def postprocess(self, data):
        return data

    def describe_handle(self):
        return {"doubles": True}

    def get_insights(self, preprocessed, inputs, target):
        return [[preprocessed, inputs, target]]


@pytest.fixture
def doubling():
    handler = Doubling()
    yield handler
    handler.handle.shutdown()


def context_of(headers):
    context = Context("m", "", None, 8, None, "0.12.0", metrics=MetricsCache("m"))
    context.request_processor = [type(context)._processor(context, 0)] * 8
    context.request_processor[0].get_request_properties().update(headers)
    return context


def test_it_answers_in_place_of_the_handler_and_records_its_time(doubling):
    context = context_of({})
    assert doubling.handle([{"body": value} for value in range(5)], context) == [0, 2, 4, 6, 8]
    assert [update.name for update in context.metrics.take_updates()] == ["HandlerTime"]


@pytest.mark.parametrize(
    ("headers", "answer"), [({"describe": "True"}, [{"doubles": True}]), ({"explain": "True"}, [[[3], 3, 0]])]
)
def test_describe_and_explain_requests_go_to_the_handler_itself(doubling, headers, answer):
    assert doubling.handle([{"body": 3}], context_of(headers)) == answer


def test_it_can_be_called_from_any_thread(doubling):
    with ThreadPoolExecutor(1) as other:
        assert other.submit(doubling.handle, [{"body": 1}], context_of({})).result() == [2]
