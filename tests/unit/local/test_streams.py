import gc
import threading
import weakref
from concurrent.futures import CancelledError, Future
from queue import SimpleQueue

import pytest

from flambeau.config.model import BatchingConfig
from flambeau.errors import CallTimedOut, ModelClosed
from flambeau.local.combining import CombiningEngine
from flambeau.local.streams import STREAMED, PartReader, run_streams
from tests.unit.local.engines import LIMIT_S, Held, calls, wait_for

# --- generators in turns ---------------------------------------------------------------------------------------------


def collect(generators, wanted=lambda row, parts: True):
    seen = []

    def emit(row, part):
        seen.append((row, part))
        return wanted(row, seen)

    return seen, run_streams(dict(generators), emit)


def parts_of(name, count, error=None):
    for number in range(count):
        yield f"{name}{number}"
    if error is not None:
        raise error


def test_generators_move_on_together():
    seen, ends = collect({0: parts_of("a", 2), 1: parts_of("b", 3), 2: parts_of("c", 0)})
    assert seen == [(0, "a0"), (1, "b0"), (0, "a1"), (1, "b1"), (1, "b2")]
    assert ends == {0: None, 1: None, 2: None}


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt()])
def test_a_generator_that_fails_ends_itself_alone(error):
    seen, ends = collect({0: parts_of("a", 1, error), 1: parts_of("b", 2)})
    assert ends == {0: error, 1: None}
    assert seen == [(0, "a0"), (1, "b0"), (1, "b1")]


def test_a_generator_whose_parts_are_no_longer_wanted_is_closed():
    closed = []

    def endless():
        try:
            while True:
                yield "part"
        finally:
            closed.append(True)

    seen, ends = collect({0: endless()}, wanted=lambda row, seen: len(seen) < 3)
    assert len(seen) == 3
    assert closed == [True]
    assert ends == {0: None}


def test_what_a_generator_raises_while_it_is_closed_is_its_end():
    def stubborn():
        try:
            yield 1
        finally:
            raise ValueError("not now")

    _, ends = collect({0: stubborn()}, wanted=lambda row, seen: False)
    assert str(ends[0]) == "not now"


# --- readers ---------------------------------------------------------------------------------------------------------


def reader(left=None):
    """A reader, its future and its parts; ``left`` notes when a running row is stopped."""
    future, parts = Future(), SimpleQueue()
    return future, parts, PartReader(future, parts, lambda: left.append(1))


def test_a_reader_gives_the_parts_and_then_ends():
    future, parts, stream = reader()
    parts.put(1)
    parts.put(2)
    assert next(stream) == 1
    future.set_result(STREAMED)
    assert list(stream) == [2]
    assert list(stream) == []


def test_a_result_that_is_no_stream_is_the_one_part():
    future, _, stream = reader()
    future.set_result(None)
    assert list(stream) == [None]


def test_an_error_comes_once_after_the_parts():
    future, parts, stream = reader()
    parts.put(1)
    future.set_exception(ValueError("x"))
    assert next(stream) == 1
    with pytest.raises(ValueError, match="x"):
        next(stream)
    assert list(stream) == []


def test_closing_takes_a_waiting_row_back():
    left = []
    future, _, stream = reader(left)
    stream.close()
    assert future.cancelled()
    assert left == []
    assert list(stream) == []


def test_closing_stops_a_running_row():
    left = []
    future, _, stream = reader(left)
    future.set_running_or_notify_cancel()
    stream.close()
    stream.close()
    assert left == [1]


def test_closing_at_the_end_does_nothing():
    left = []
    future, _, stream = reader(left)
    future.set_running_or_notify_cancel()
    future.set_result(STREAMED)
    stream.close()
    assert left == []


def test_dropping_a_reader_is_closing_it():
    left = []
    future, _, stream = reader(left)
    future.set_running_or_notify_cancel()
    del stream
    assert left == [1]


def test_a_thread_that_waits_for_a_part_sees_the_stream_closed_by_another():
    _, _, stream = reader()
    with calls() as started:
        started.start("parts", lambda: list(stream))
        stream.close()
        assert started.join() == {"parts": []}


def test_a_row_that_is_cancelled_ends_its_stream_with_that():
    future, _, stream = reader()
    future.cancel()
    with pytest.raises(CancelledError):
        next(stream)


# --- with an engine --------------------------------------------------------------------------------------------------


def engine_of(run, batch_size=4, **settings):
    return CombiningEngine("m", [run], BatchingConfig(batch_size=batch_size), **settings)


def count_up(rows):
    """Each row a count of parts; a negative one fails after them."""

    def count(row):
        yield from range(abs(row))
        if row < 0:
            raise ValueError(f"after {-row}")

    return [count(row) for row in rows]


def test_streams_calls_and_futures_get_the_same_parts():
    engine = engine_of(count_up)
    assert list(engine.stream(3, None, 0)) == [0, 1, 2]
    assert engine.call(3, None, 0) == [0, 1, 2]
    assert engine.submit(3, None, 0).result(LIMIT_S) == [0, 1, 2]
    assert list(engine.stream(0, None, 0)) == []


def test_a_generator_that_fails_fails_its_row_alone_and_is_not_run_again():
    runs = []
    held = Held()

    def run(rows):
        if rows == [1]:
            held(rows)
        runs.append(rows)
        return count_up(rows)

    engine = engine_of(run)
    first = engine.submit(1, None, 0)
    held.wait_until_begun()
    stream = engine.stream(-2, None, 0)
    others = [engine.submit(row, None, 0) for row in (3, -1)]
    held.let_go()
    assert first.result(LIMIT_S) == [0]
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(ValueError, match="after 2"):
        next(stream)
    assert others[0].result(LIMIT_S) == [0, 1, 2]
    assert str(others[1].exception(LIMIT_S)) == "after 1"
    assert runs == [[1], [-2, 3, -1]]


@pytest.mark.parametrize("how", ["close", "drop", "collect"])
def test_a_stream_that_nobody_reads_any_more_stops_its_generator(how):
    closed = threading.Event()

    def run(rows):
        def endless():
            try:
                while True:
                    yield 1
            finally:
                closed.set()

        return [endless() if row == "endless" else row for row in rows]

    engine = engine_of(run)
    stream = engine.stream("endless", None, 0)
    assert next(stream) == 1
    if how == "close":
        stream.close()
    elif how == "collect":
        cycle = [stream]
        cycle.append(cycle)
        del cycle, stream
        gc.collect()
    else:
        del stream
    assert closed.wait(LIMIT_S)
    assert engine.call("next", None, 0) == "next"
    assert engine.close(LIMIT_S)


def test_a_stream_that_was_never_read_costs_no_work_once_it_is_dropped():
    held = Held()
    engine = engine_of(held, batch_size=1)
    first = engine.submit(1, None, 0)
    held.wait_until_begun()
    engine.stream(2, None, 0)  # dropped at once
    assert engine.describe()["queue"]["depth"] == 0
    held.let_go()
    assert first.result(LIMIT_S) == 2
    assert engine.close(LIMIT_S)
    assert held.batches == [[1]]


def test_a_stream_whose_time_is_over_says_so_after_its_parts():
    go_on = threading.Event()

    def run(rows):
        def parts():
            yield 1
            assert go_on.wait(LIMIT_S)
            yield 2

        return [parts() for _ in rows]

    engine = engine_of(run)
    stream = engine.stream("row", 0.5, 0)
    assert next(stream) == 1
    with pytest.raises(CallTimedOut):
        next(stream)
    go_on.set()
    assert engine.close(LIMIT_S)


def test_closing_the_engine_lets_streams_come_to_their_ends():
    engine = engine_of(count_up)
    stream = engine.stream(5, None, 0)
    assert engine.close(None)
    assert list(stream) == [0, 1, 2, 3, 4]
    with pytest.raises(ModelClosed):
        engine.stream(1, None, 0)


def test_parts_are_not_kept_by_the_engine():
    class Part:
        pass

    def run(rows):
        return [(Part() for _ in range(2)) for _ in rows]

    engine = engine_of(run)
    stream = engine.stream("row", None, 0)
    parts = [weakref.ref(part) for part in stream]
    wait_for(lambda: [part() for part in parts] == [None, None])
