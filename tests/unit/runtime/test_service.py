from __future__ import annotations

import json
import logging

import pytest

from flambeau.request import RowError

ECHO = "def handle(data, context): return [row['body'] for row in data]"


def bodies(replies):
    return [bytes(reply.body) for reply in replies]


def errors(replies):
    return [reply.error for reply in replies]


@pytest.fixture
def batch(request_of):
    def make(*values):
        return [request_of(value, request_id=f"id-{index}") for index, value in enumerate(values)]

    return make


def test_each_row_gets_its_own_answer_in_order(load, batch):
    replies = load(ECHO).run(batch(b"a", b"b", b"c"))
    assert bodies(replies) == [b"a", b"b", b"c"]
    assert errors(replies) == [RowError.NONE] * 3
    assert [(reply.status, reply.phrase, list(reply.headers)) for reply in replies] == [(200, "", [])] * 3


def test_status_phrase_and_headers_set_on_the_context_go_to_their_row(load, batch):
    handler = load("""
        def handle(data, context):
            if data is None:
                return
            context.set_response_status(404, "nope", 1)
            context.set_response_content_type(0, "text/plain")
            return ["a", "b"]
    """)
    first, second = handler.run(batch(b"", b""))
    assert (first.status, list(first.headers)) == (200, [("content-type", "text/plain")])
    assert (second.status, second.phrase, second.body, second.error) == (404, "nope", b"b", RowError.NONE)


@pytest.mark.parametrize("returned", ["None", "('a',)", "'a'", "{}"])
def test_what_is_no_list_fails_the_rows(load, batch, returned):
    (reply,) = load(f"def handle(data, context): return {returned}").run(batch(b""))
    assert (reply.body, reply.error) == (b"Invalid model predict output", RowError.FAILED)


def test_a_list_of_the_wrong_length_fails_the_rows(load, batch):
    (reply,) = load("def handle(data, context): return []").run(batch(b""))
    assert (reply.body, reply.error) == (b"number of batch response mismatched", RowError.FAILED)


def test_an_element_that_cannot_be_serialised_fails_only_its_row(load, batch):
    replies = load("def handle(data, context): return [object(), 1, {1}]").run(batch(b"", b"", b""))
    assert errors(replies) == [RowError.FAILED, RowError.NONE, RowError.FAILED]
    assert bodies(replies) == [b"Unsupported model output data type.", b"1", b"Unsupported model output data type."]


def test_an_answer_over_the_size_limit_fails_only_its_row(load, batch):
    handler = load(ECHO, max_response_bytes=4)
    replies = handler.run(batch(b"12345", b"1234"))
    assert errors(replies) == [RowError.FAILED, RowError.NONE]
    assert replies[0].body == b"Response of 5 bytes is over the limit of 4 bytes (max_response_size)"


def test_a_status_that_is_no_status_fails_only_its_row(load, batch):
    handler = load("""
        def handle(data, context):
            if data:
                context.set_response_status("oops", "", 0)
            return ["a" for row in data or ()]
    """)
    assert errors(handler.run(batch(b"", b""))) == [RowError.FAILED, RowError.NONE]


RAISING = """
    from flambeau.runtime import PredictionException

    class Odd(Exception):
        def __str__(self):
            raise ValueError

    def handle(data, context):
        if data is None:
            return
        raise {error}
"""


@pytest.mark.parametrize(
    ("error", "body", "kind", "status"),
    [
        ("ValueError('secret')", b"Prediction failed", RowError.FAILED, 200),
        ("Odd()", b"Prediction failed", RowError.FAILED, 200),
        ("PredictionException('bad image', 422)", b"bad image", RowError.REJECTED, 422),
        ("PredictionException('bad image')", b"bad image", RowError.REJECTED, 500),
        ("PredictionException('\\ud800', 'abc')", b"?", RowError.REJECTED, 500),
        ("MemoryError()", b"Out of resources", RowError.OUT_OF_MEMORY, 200),
        ("ValueError('CUDA error: x')", b"Out of resources", RowError.OUT_OF_MEMORY, 200),
        ("RuntimeError('MPS backend out of memory')", b"Out of resources", RowError.OUT_OF_MEMORY, 200),
        ("ValueError('out of memory')", b"Prediction failed", RowError.FAILED, 200),
    ],
)
def test_what_a_handler_raises_decides_what_the_client_is_told(load, batch, error, body, kind, status):
    (reply,) = load(RAISING.format(error=error)).run(batch(b""))
    assert (reply.body, reply.error, reply.status) == (body, kind, status)


def test_the_traceback_of_a_failing_handler_is_logged(load, batch, caplog):
    with caplog.at_level(logging.WARNING):
        load(RAISING.format(error="ValueError('secret')")).run(batch(b""))
    assert "ValueError: secret" in caplog.text


@pytest.mark.parametrize("error", ["SystemExit(3)", "KeyboardInterrupt()"])
def test_what_ends_a_process_is_not_swallowed(load, batch, error):
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        load(RAISING.format(error=error)).run(batch(b"", b""))


FAILS_ON_BAD = """
    def handle(data, context):
        if data is None:
            return
        context.metrics.add_counter("rows", len(data))
        for index, row in enumerate(data):
            context.set_response_header(index, "X-Batch", str(len(data)))
        if any(row["body"] == b"bad" for row in data):
            {fail}
        return [row["body"] for row in data]
"""


@pytest.mark.parametrize("fail", ["raise ValueError", "return None", "return []"])
def test_one_bad_row_of_a_batch_fails_alone(load, batch, fail):
    handler = load(FAILS_ON_BAD.format(fail=fail))
    replies = handler.run(batch(b"a", b"bad", b"c"))
    assert errors(replies) == [RowError.NONE, RowError.FAILED, RowError.NONE]
    assert [replies[0].body, replies[2].body] == [b"a", b"c"]
    assert list(replies[2].headers) == [("X-Batch", "1")]


def test_metrics_of_a_batch_that_is_run_again_are_not_counted_twice(load, batch):
    handler = load(FAILS_ON_BAD.format(fail="raise ValueError"))
    handler.run(batch(b"a", b"bad", b"c"))
    counted = [(update.value, update.request_ids) for update in handler.take_metrics() if update.name == "rows"]
    assert counted == [(1.0, "id-0"), (1.0, "id-1"), (1.0, "id-2")]


def test_a_bad_row_fails_its_batch_when_isolation_is_off(load, batch):
    replies = load(FAILS_ON_BAD.format(fail="raise ValueError"), isolate_failures=False).run(batch(b"a", b"bad"))
    assert errors(replies) == [RowError.FAILED, RowError.FAILED]


def test_a_failing_row_by_itself_is_not_run_again(load, batch):
    handler = load("""
        calls = 0
        def handle(data, context):
            global calls
            if data is not None:
                calls += 1
                context.calls = calls
                raise ValueError
    """)
    handler.run(batch(b""))
    assert handler.context.calls == 1


def test_prediction_time_is_recorded_for_each_batch_that_succeeds(load, batch):
    handler = load(ECHO)
    handler.run(batch(b"a", b"b"))
    (update,) = handler.take_metrics()
    assert (update.name, update.unit, update.kind) == ("PredictionTime", "Milliseconds", "gauge")
    assert list(update.dimensions) == [("ModelName", "m"), ("Level", "Model")]
    assert update.request_ids == "id-0,id-1"
    assert 0 <= update.value < 1000
    assert handler.take_metrics() == []


def test_what_is_recorded_while_loading_comes_with_the_first_batch(load, batch):
    handler = load("""
        class Handler:
            def initialize(self, context):
                context.metrics.add_counter("loads", 1)
            def handle(self, data, context):
                return [1]
    """)
    handler.run(batch(b""))
    assert [update.name for update in handler.take_metrics()] == ["loads", "PredictionTime"]


def test_an_empty_batch_has_no_replies(load):
    assert load(ECHO).run([]) == []


def test_replaced_processors_that_do_not_fit_the_rows_fail_the_batch(load, batch):
    handler = load("""
        def handle(data, context):
            context.request_processor = []
            return [1]
    """)
    assert errors(handler.run(batch(b""))) == [RowError.FAILED]


def test_json_bodies_are_decoded_unless_switched_off(load, request_of):
    source = "def handle(data, context): return [type(row['body']).__name__ for row in data or ()]"
    request = request_of(json.dumps({}).encode(), content_type="application/json")
    assert bodies(load(source).run([request])) == [b"dict"]
    assert bodies(load(source, decode_input_request=False).run([request])) == [b"bytearray"]
