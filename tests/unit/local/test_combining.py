import gc
import threading
import weakref
from concurrent.futures import CancelledError
from time import monotonic

import pytest

from flambeau.config.model import BatchingConfig, BatchPolicy
from flambeau.errors import CallTimedOut, ModelClosed, QueueFull, ReentrantCall
from flambeau.local.combining import CombiningEngine
from flambeau.local.timekeeper import soon_caller
from tests.unit.local.engines import LIMIT_S, Calls, Held, calls, wait_for

FIXED = BatchPolicy.FIXED


def engine_of(*runners, queue_size=None, size_of=None, isolate_failures=True, **batching):
    return CombiningEngine(
        "model 'm'",
        runners,
        BatchingConfig(**batching),
        queue_size=queue_size,
        size_of=size_of,
        isolate_failures=isolate_failures,
    )


def depth(engine):
    return engine.describe()["queue"]["depth"]


def call(engine, row, timeout_s=None, priority=0):
    return lambda: engine.call(row, timeout_s, priority)


def whole(engine):
    """Whether every worker is idle, and nothing waits."""
    with engine._mutex:
        return len(engine._idle) == len(engine._workers) and not engine._queue.depth


# --- who runs what ---------------------------------------------------------------------------------------------------


def test_a_caller_that_finds_a_free_worker_runs_its_row_itself():
    threads = []
    engine = engine_of(lambda rows: threads.append(threading.current_thread()) or rows)
    assert engine.call("row", None, 0) == "row"
    assert threads == [threading.current_thread()]


def test_who_waits_is_answered_in_one_batch_by_one_of_those_who_wait():
    handler, threads = Held(), {}

    def run(rows):
        threads[tuple(rows)] = threading.current_thread().name
        return handler(rows)

    engine = engine_of(run, batch_size=8)
    with calls() as started:
        started.start("first", call(engine, 1))
        handler.wait_until_begun()
        for row in (2, 3, 4):
            started.start(row, call(engine, row))
        wait_for(lambda: depth(engine) == 3)
        handler.let_go(2)
        assert started.join() == {"first": 2, 2: 4, 3: 6, 4: 8}
    assert sorted(map(sorted, handler.batches)) == [[1], [2, 3, 4]]
    assert not any("flambeau" in name for name in threads.values())


def test_the_main_threads_row_is_run_by_a_helper_while_others_are_about():
    handler, threads = Held(), {}

    def run(rows):
        threads[tuple(rows)] = threading.current_thread().name
        return handler(rows)

    engine = engine_of(run)
    with calls() as started:
        started.start("first", call(engine, 1))
        handler.wait_until_begun()
        started.start("let go", lambda: wait_for(lambda: depth(engine) == 1) or handler.let_go(2))
        assert engine.call(2, None, 0) == 4
    assert threads[(2,)].startswith("flambeau-model 'm'")


def test_submitted_rows_are_run_by_at_most_one_helper_a_worker():
    names, both = set(), threading.Barrier(2, timeout=LIMIT_S)

    def run(rows):
        names.add(threading.current_thread().name)
        if rows[0] < 2:
            both.wait()
        return rows

    engine = engine_of(run, run)
    futures = [engine.submit(number, None, 0) for number in range(500)]
    assert [future.result(LIMIT_S) for future in futures] == list(range(500))
    assert len(names) == 2
    assert engine._helpers == 2
    assert engine.close(None)


def test_one_helper_is_enough_for_rows_that_come_one_after_the_other():
    engine = engine_of(*[lambda rows: rows] * 3)
    for row in range(10):
        assert engine.submit(row, None, 0).result(LIMIT_S) == row
        wait_for(lambda: whole(engine))
    assert engine._helpers == 1


def test_where_no_thread_is_to_be_had_submitted_rows_are_run_all_the_same(monkeypatch):
    engine = engine_of(lambda rows: rows)

    def start(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        assert engine.submit("row", None, 0).result(LIMIT_S) == "row"
    with calls() as started:
        started.start(1, lambda: engine.submit("another", None, 0).result(LIMIT_S))
        assert started.join() == {1: "another"}


def test_helpers_and_handlers_go_when_the_engine_is_closed():
    class Handler:
        def __call__(self, rows):
            return rows

    handler = Handler()
    before = set(threading.enumerate())
    engine = engine_of(handler, handler)
    assert [engine.submit(row, None, 0).result(LIMIT_S) for row in range(3)] == [0, 1, 2]

    def helpers():
        return [thread for thread in set(threading.enumerate()) - before if "model 'm'" in thread.name]

    assert helpers()
    assert engine.close(None)
    wait_for(lambda: not helpers())
    dropped = weakref.ref(handler)
    del handler
    wait_for(lambda: dropped() is None)


def test_two_workers_run_two_batches_at_a_time():
    both = threading.Barrier(2, timeout=LIMIT_S)
    engine = engine_of(*[lambda rows: [both.wait() >= 0 and row for row in rows]] * 2)
    with calls() as started:
        for row in (1, 2, 3, 4):
            started.start(row, call(engine, row))
        assert started.join() == {1: 1, 2: 2, 3: 3, 4: 4}
    assert whole(engine)


def test_a_thread_that_was_handed_a_worker_and_answered_by_another_passes_it_on():
    one, other = Held(), Held()
    engine = engine_of(one, other, batch_size=4)
    with calls() as started:
        started.start(1, call(engine, 1))
        started.start(2, call(engine, 2))
        one.wait_until_begun()
        other.wait_until_begun()
        for row in range(3, 9):
            started.start(row, call(engine, row))
        wait_for(lambda: depth(engine) == 6)
        one.let_go(100)
        other.let_go(100)
        assert started.join() == {row: 2 * row for row in range(1, 9)}
    wait_for(lambda: whole(engine))
    assert len(engine._idle) == 2


def test_a_thread_that_has_a_worker_is_handed_no_other():
    engine = engine_of(*[lambda rows: rows] * 2, batch_size=2, max_batch_delay_s=600.0, policy=FIXED)
    with calls() as started:
        started.start(1, call(engine, 1))
        wait_for(lambda: engine._gatherers)
        started.start("looked", engine._look_around)
        wait_for(lambda: "looked" in started.outcomes)
        assert len(engine._idle) == 1
        started.start(2, call(engine, 2))
        assert started.join() == {1: 1, 2: 2, "looked": None}


# --- batching --------------------------------------------------------------------------------------------------------


class Slow:
    """A handler of which a batch takes its time, whatever its size."""

    def __init__(self, seconds=0.003):
        self.seconds = seconds
        self.sizes = []
        self._never = threading.Event()

    def __call__(self, rows):
        self.sizes.append(len(rows))
        self._never.wait(self.seconds)
        return rows


def test_two_callers_of_a_slow_handler_get_batches_of_two():
    handler = Slow()
    engine = engine_of(handler, batch_size=4)

    def loop(start):
        return [engine.call(row, None, 0) for row in range(start, start + 60)]

    with calls() as started:
        started.start(0, lambda: loop(0))
        started.start(1000, lambda: loop(1000))
        assert started.join() == {start: list(range(start, start + 60)) for start in (0, 1000)}
    assert sum(handler.sizes) / len(handler.sizes) > 1.6


def test_a_single_caller_never_waits_for_company():
    handler = Slow()
    engine = engine_of(handler, batch_size=8, max_batch_delay_s=LIMIT_S)
    started_at = monotonic()
    assert [engine.call(row, None, 0) for row in range(20)] == list(range(20))
    assert monotonic() - started_at < LIMIT_S / 2
    assert handler.sizes == [1] * 20


def test_fixed_batches_wait_until_they_are_full():
    handler = Slow(0)
    engine = engine_of(handler, batch_size=3, max_batch_delay_s=60.0, policy=FIXED)
    with calls() as started:
        for row in range(6):
            started.start(row, call(engine, row))
        assert started.join() == {row: row for row in range(6)}
    assert handler.sizes == [3, 3]


def test_fixed_batches_are_run_when_their_first_row_has_waited_the_longest_delay():
    handler = Slow(0)
    engine = engine_of(handler, batch_size=100, max_batch_delay_s=0.02, policy=FIXED)
    started_at = monotonic()
    assert engine.call("alone", None, 0) == "alone"
    assert monotonic() - started_at >= 0.02
    assert handler.sizes == [1]


def test_two_workers_that_wait_for_full_batches_both_get_theirs():
    handler = Slow(0)
    engine = engine_of(handler, handler, batch_size=4, max_batch_delay_s=60.0, policy=FIXED)
    futures = [engine.submit(row, None, 0) for row in range(3)]
    wait_for(lambda: engine._gatherers)
    futures += [engine.submit(row, None, 0) for row in range(3, 16)]
    assert [future.result(LIMIT_S) for future in futures] == list(range(16))
    assert sum(handler.sizes) == 16


def test_a_worker_that_waits_with_rows_is_free_when_another_has_taken_them():
    engine = engine_of(*[lambda rows: rows] * 2, batch_size=3, max_batch_delay_s=600.0, policy=FIXED)
    futures = [engine.submit(row, None, 0) for row in range(2)]
    wait_for(lambda: len(engine._gatherers) == 2)
    futures.append(engine.submit(2, None, 0))
    assert [future.result(LIMIT_S) for future in futures] == [0, 1, 2]
    wait_for(lambda: whole(engine))


def test_closing_does_not_wait_for_batches_to_fill():
    engine = engine_of(*[lambda rows: rows] * 2, batch_size=8, max_batch_delay_s=600.0, policy=FIXED)
    with calls() as started:
        for row in range(3):
            started.start(row, call(engine, row))
        wait_for(lambda: depth(engine) == 3)
        assert engine.close(LIMIT_S)
        assert started.join() == {0: 0, 1: 1, 2: 2}


def test_closing_does_not_wait_for_helpers_batches_to_fill():
    engine = engine_of(*[lambda rows: rows] * 2, batch_size=8, max_batch_delay_s=600.0, policy=FIXED)
    futures = [engine.submit(row, None, 0) for row in range(2)]
    wait_for(lambda: len(engine._gatherers) == 2)
    assert engine.close(LIMIT_S)
    assert [future.result(0) for future in futures] == [0, 1]


def test_rows_count_toward_the_batch_what_their_size_function_says():
    handler = Held()
    engine = engine_of(handler, batch_size=10, size_of=len)
    futures = [engine.submit("x", None, 0)]
    handler.wait_until_begun()
    futures += [engine.submit("x" * size, None, 0) for size in (4, 6, 7, 20, 1, 1)]
    handler.let_go(100)
    assert [len(future.result(LIMIT_S)) for future in futures] == [2, 8, 12, 14, 40, 2, 2]
    assert [[len(row) for row in batch] for batch in handler.batches] == [[1], [4, 6], [7], [20], [1, 1]]


def test_a_size_function_that_fails_is_its_callers_error():
    engine = engine_of(lambda rows: rows, batch_size=2, size_of=len)
    with pytest.raises(TypeError):
        engine.submit(5, None, 0)
    assert engine.submit("ok", None, 0).result(LIMIT_S) == "ok"


# --- priorities and limits -------------------------------------------------------------------------------------------


def test_greater_priorities_are_taken_first():
    handler = Held()
    engine = engine_of(handler)
    with calls() as started:
        started.start("x", call(engine, "x"))
        handler.wait_until_begun()
        futures = [engine.submit(row, None, priority) for row, priority in (("a", 0), ("b", 5), ("c", -1), ("d", 5))]
        started.start("e", call(engine, "e", priority=7))
        wait_for(lambda: depth(engine) == 5)
        handler.let_go(100)
        assert [future.result(LIMIT_S) for future in futures] == ["aa", "bb", "cc", "dd"]
    assert [row for batch in handler.batches for row in batch] == ["x", "e", "b", "d", "a", "c"]


@pytest.mark.parametrize("priority", ["high", 1.5, None])
def test_a_priority_that_is_no_whole_number_is_refused_and_harms_nobody(priority):
    engine = engine_of(lambda rows: rows)
    with pytest.raises(TypeError):
        engine.submit("row", None, priority)
    assert engine.submit("row", None, 3).result(LIMIT_S) == "row"


def test_calls_beyond_the_queues_limit_are_refused_at_once():
    handler = Held()
    engine = engine_of(handler, queue_size=2)
    first = engine.submit("first", None, 0)
    handler.wait_until_begun()
    waiting = [engine.submit(row, None, 0) for row in ("a", "b")]
    with pytest.raises(QueueFull, match="2 calls"):
        engine.submit("c", None, 0)
    with calls() as started:
        started.start("d", call(engine, "d"))
        assert isinstance(started.join()["d"], QueueFull)
    waiting[0].cancel()
    another = engine.submit("e", None, 0)
    handler.let_go(10)
    assert [future.result(LIMIT_S) for future in (first, waiting[1], another)] == ["firstfirst", "bb", "ee"]
    assert engine.describe()["queue"] == {"depth": 0, "limit": 2}


# --- deadlines -------------------------------------------------------------------------------------------------------


def test_rows_whose_time_is_over_are_given_up_and_cost_no_work():
    handler = Held()
    engine = engine_of(handler)
    with calls() as started:
        started.start("first", call(engine, 1))
        handler.wait_until_begun()
        started.start("late", call(engine, 2, timeout_s=0.01))
        future = engine.submit(3, 0.01, 0)
        with pytest.raises(CallTimedOut, match=r"model 'm' gave no answer within 0.01 s"):
            future.result(LIMIT_S)
        wait_for(lambda: "late" in started.outcomes)
        assert depth(engine) == 0
        handler.let_go()
        outcomes = started.join()
    assert isinstance(outcomes["late"], CallTimedOut)
    assert isinstance(outcomes["late"], TimeoutError)
    assert outcomes["first"] == 2
    assert handler.batches == [[1]]
    assert whole(engine)


def test_the_main_threads_time_runs_out_too():
    handler = Held()
    engine = engine_of(handler)
    with calls() as started:
        started.start("first", call(engine, 1))
        handler.wait_until_begun()
        with pytest.raises(CallTimedOut):
            engine.call(2, 0.01, 0)
        handler.let_go()
    assert handler.batches == [[1]]


def test_calls_and_futures_are_given_up_while_their_row_runs_and_its_worker_is_not_harmed():
    handler = Held()
    engine = engine_of(handler, batch_size=2)
    with calls() as started:
        started.start("first", call(engine, 1))
        handler.wait_until_begun()
        started.start("other", call(engine, 2, timeout_s=0.5))
        wait_for(lambda: depth(engine) == 1)
        future = engine.submit(3, 0.5, 0)
        handler.let_go()
        handler.wait_until_begun()
        with pytest.raises(CallTimedOut):
            future.result(LIMIT_S)
        assert not future.cancel()
        handler.let_go()
        started.join()
    assert handler.batches == [[1], [2, 3]]
    wait_for(lambda: whole(engine))


def test_a_time_that_is_over_while_a_batch_gathers_is_kept():
    engine = engine_of(lambda rows: rows, batch_size=8, max_batch_delay_s=600.0, policy=FIXED)
    with calls() as started:
        started.start(1, call(engine, 1, timeout_s=0.01))
        assert isinstance(started.join()[1], CallTimedOut)
    with pytest.raises(CallTimedOut):
        engine.call(2, 0.01, 0)
    assert isinstance(engine.submit(3, 0.01, 0).exception(LIMIT_S), CallTimedOut)
    assert depth(engine) == 0
    assert engine.close(LIMIT_S)


@pytest.mark.parametrize("timeout_s", [1e12, float("inf")])
def test_times_longer_than_a_lock_can_wait_are_as_good_as_none(timeout_s):
    handler = Held()
    engine = engine_of(handler)
    with calls() as started:
        started.start(1, call(engine, 1, timeout_s=timeout_s))
        handler.wait_until_begun()
        started.start(2, call(engine, 2, timeout_s=timeout_s))
        future = engine.submit(3, timeout_s, 0)
        wait_for(lambda: depth(engine) == 2)
        handler.let_go(3)
        assert started.join() == {1: 2, 2: 4}
        assert future.result(LIMIT_S) == 6
    assert engine.close(timeout_s)


def test_a_row_whose_time_is_over_is_not_run_even_if_nobody_has_come_to_say_so_yet():
    handler = Held()
    engine = engine_of(handler)
    first = engine.submit(1, None, 0)
    handler.wait_until_begun()
    timekeeper = threading.Event()
    soon_caller()(lambda: timekeeper.wait(LIMIT_S))
    late = engine.submit(2, 0.01, 0)
    end = monotonic() + 0.01
    wait_for(lambda: monotonic() > end)
    handler.let_go()
    assert first.result(LIMIT_S) == 2
    wait_for(lambda: whole(engine))
    assert not late.done()
    timekeeper.set()
    assert isinstance(late.exception(LIMIT_S), CallTimedOut)
    assert handler.batches == [[1]]


# --- cancellation ----------------------------------------------------------------------------------------------------


def test_a_future_can_be_cancelled_until_a_worker_has_its_row():
    handler = Held()
    engine = engine_of(handler)
    running = engine.submit(1, None, 0)
    handler.wait_until_begun()
    waiting = engine.submit(2, None, 0)
    assert not running.cancel()
    assert waiting.cancel()
    assert waiting.cancel()
    assert depth(engine) == 0
    with pytest.raises(CancelledError):
        waiting.result(0)
    handler.let_go()
    assert running.result(LIMIT_S) == 2
    wait_for(lambda: whole(engine))
    assert handler.batches == [[1]]


def test_a_future_can_be_cancelled_by_the_garbage_collector_while_its_thread_has_the_engines_lock():
    handler = Held()
    engine = engine_of(handler)
    running = engine.submit(1, None, 0)
    handler.wait_until_begun()
    streams = [engine.stream(row, None, 0) for row in (2, 3)]
    future = engine.submit(4, None, 0)
    with engine._mutex:
        future.cancel()
        streams.pop()
        streams.pop().close()
    handler.let_go()
    assert running.result(LIMIT_S) == 2
    wait_for(lambda: whole(engine))
    assert handler.batches == [[1]]


def test_rows_are_let_go_with_the_calls_that_they_belonged_to():
    class Row:
        def __mul__(self, by):
            return self

    handler = Held()
    engine = engine_of(handler, batch_size=3)
    first = engine.submit(Row(), None, 0)
    handler.wait_until_begun()
    rows = [Row() for _ in range(4)]
    kept = [weakref.ref(row) for row in rows]
    with calls() as started:
        started.start(0, call(engine, rows[0]))
        started.start(1, call(engine, rows[1], timeout_s=0.01))
        engine.submit(rows[2], None, 0).cancel()
        engine.submit(rows[3], 0.01, 0)
        wait_for(lambda: 1 in started.outcomes and depth(engine) == 1)
        handler.let_go(2)
    first.result(LIMIT_S)
    wait_for(lambda: whole(engine))
    started.outcomes.clear()
    handler.batches.clear()
    del rows, first
    wait_for(lambda: gc.collect() >= 0 and [row() for row in kept] == [None] * 4)


def test_results_are_not_kept_until_the_time_that_their_calls_had():
    class Result:
        pass

    alive = weakref.WeakSet()

    def run(rows):
        results = [Result() for _ in rows]
        alive.update(results)
        return results

    engine = engine_of(run)
    engine.submit(1, 1000.0, 0).result(LIMIT_S)
    next(engine.stream(1, 1000.0, 0))
    wait_for(lambda: not alive)


# --- failures --------------------------------------------------------------------------------------------------------


class Picky:
    """A handler that fails for every batch that has a row in it that it does not like."""

    def __init__(self, error=ValueError):
        self.error = error
        self.held = Held()
        self.sizes = []

    def __call__(self, rows):
        if rows == [0]:
            self.held(rows)
        self.sizes.append(len(rows))
        if any(row < 0 for row in rows):
            raise self.error(f"no {min(rows)}")
        return rows


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, MemoryError])
def test_what_a_handler_raises_for_a_row_its_caller_gets_and_nobody_else(error):
    handler = Picky(error)
    engine = engine_of(handler, batch_size=8)
    with calls() as started:
        started.start(0, call(engine, 0))
        handler.held.wait_until_begun()
        for row in (1, -2, 3, -4):
            started.start(row, call(engine, row))
        futures = [engine.submit(row, None, 0) for row in (5, -6)]
        wait_for(lambda: depth(engine) == 6)
        handler.held.let_go()
        outcomes = started.join()
    assert {row: outcome for row, outcome in outcomes.items() if row >= 0} == {0: 0, 1: 1, 3: 3}
    assert type(outcomes[-2]) is error
    assert str(outcomes[-2]) == "no -2"
    assert str(outcomes[-4]) == "no -4"
    assert futures[0].result(LIMIT_S) == 5
    assert str(futures[1].exception(LIMIT_S)) == "no -6"
    assert handler.sizes == [1, 6, 1, 1, 1, 1, 1, 1]
    assert engine.call(7, None, 0) == 7
    assert whole(engine)


def test_an_error_of_a_row_that_ran_at_once_has_no_context_of_the_engines_own():
    handler = Held()

    def run(rows):
        if rows == ["wait"]:
            return handler(rows)
        raise ValueError("bad")

    engine = engine_of(run)
    with calls() as started:
        started.start("wait", call(engine, "wait"))
        handler.wait_until_begun()
        started.start("bad", call(engine, "bad"))
        wait_for(lambda: depth(engine) == 1)
        handler.let_go()
        error = started.join()["bad"]
    assert type(error) is ValueError
    assert error.__context__ is None
    with pytest.raises(ValueError, match="bad") as raised:
        engine.call("bad", None, 0)
    assert raised.value.__context__ is None


def test_without_isolation_a_failure_is_the_batchs():
    handler = Picky()
    engine = engine_of(handler, batch_size=8, isolate_failures=False)
    first = engine.submit(0, None, 0)
    handler.held.wait_until_begun()
    futures = [engine.submit(row, None, 0) for row in (1, -2, 3)]
    handler.held.let_go()
    assert first.result(LIMIT_S) == 0
    assert [str(future.exception(LIMIT_S)) for future in futures] == ["no -2"] * 3
    assert engine.describe()["workers"][0]["failures"] == 1


def test_rows_that_nobody_wants_any_more_are_not_run_again():
    held, batches = Held(), []

    def run(rows):
        batches.append(rows)
        if len(rows) != 1 or rows == ["first"]:
            held(rows)
        if len(rows) > 1:
            raise ValueError
        return rows

    engine = engine_of(run, batch_size=4)
    engine.submit("first", None, 0)
    held.wait_until_begun()
    stream, future = engine.stream("left", None, 0), engine.submit("stays", None, 0)
    held.let_go()
    held.wait_until_begun()
    stream.close()
    held.let_go()
    assert future.result(LIMIT_S) == "stays"
    assert batches == [["first"], ["left", "stays"], ["stays"]]


def test_a_result_that_is_an_error_is_its_rows_failure():
    engine = engine_of(lambda rows: [ValueError("odd") if row % 2 else row for row in rows], batch_size=4)
    with pytest.raises(ValueError, match="odd"):
        engine.call(1, None, 0)
    assert engine.call(2, None, 0) == 2
    futures = [engine.submit(row, None, 0) for row in range(4)]
    assert [future.result(LIMIT_S) for future in futures[::2]] == [0, 2]
    assert [str(future.exception(LIMIT_S)) for future in futures[1::2]] == ["odd"] * 2


@pytest.mark.parametrize("way", ["raises", "returns"])
def test_failures_are_gone_when_their_callers_are_done_with_them(way):
    """They are in no reference cycle, which would keep them, their rows and their results for the garbage collector."""

    alive = weakref.WeakSet()

    class Failure(Exception):
        def __init__(self, row):
            super().__init__(row)
            alive.add(self)

    def run(rows):
        if way == "raises":
            raise Failure(rows)
        return [Failure(row) for row in rows]

    def fails(use):
        try:
            use()
        except Failure:
            return True
        return False

    engine = engine_of(run, batch_size=4)
    gc.disable()
    try:
        assert fails(lambda: engine.call(1, None, 0))
        with calls() as started:
            for row in range(4):
                started.start(row, lambda: fails(call(engine, 1)))
        futures = [engine.submit(row, None, 0) for row in range(6)]
        assert all(fails(lambda: futures.pop().result(LIMIT_S)) for _ in range(6))
        assert fails(lambda: next(engine.stream(1, None, 0)))
        wait_for(lambda: whole(engine) and not alive)
    finally:
        gc.enable()


def test_threads_that_wait_and_are_answered_by_others_leave_nothing_behind():
    """Each of them is to be forgotten once it is answered, also by whoever might have handed it a worker."""

    class Result:
        pass

    alive = weakref.WeakSet()
    handler = Held()

    def run(rows):
        results = [Result() for _ in rows]
        alive.update(results)
        handler(rows)
        return results

    engine = engine_of(run, batch_size=8)
    handler.let_go(10_000)

    def loop():
        for _ in range(200):
            engine.call(1, None, 0)

    with calls() as started:
        for thread in range(6):
            started.start(thread, loop)
    started.outcomes.clear()
    wait_for(lambda: len(alive) <= 6)
    assert len(engine._queue.waiting()) == 0
    assert len(engine._leaving) == 0


# --- calling oneself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("from_helper", [False, True])
def test_a_handler_that_calls_its_own_model_is_told_so(from_helper):
    def run(rows):
        return [engine.call(row - 1, None, 0) if row else "done" for row in rows]

    engine = engine_of(run)
    with pytest.raises(ReentrantCall, match="model 'm' was called from inside its own handler"):
        engine.submit(1, None, 0).result(LIMIT_S) if from_helper else engine.call(1, None, 0)
    assert engine.call(0, None, 0) == "done"
    wait_for(lambda: whole(engine))


def test_a_handler_may_call_its_own_model_while_another_worker_is_free():
    engine = engine_of(*[lambda rows: [engine.call(row - 1, None, 0) if row else "done" for row in rows]] * 2)
    assert engine.call(1, None, 0) == "done"
    with pytest.raises(ReentrantCall):
        engine.call(2, None, 0)
    wait_for(lambda: whole(engine))


def test_a_handler_that_closes_its_own_model_is_told_so():
    engine = engine_of(lambda rows: [engine.close(None)])
    with pytest.raises(ReentrantCall):
        engine.call(1, None, 0)
    assert engine.close(None)


def test_a_handler_may_submit_to_its_own_model():
    later = []

    def run(rows):
        if rows == ["first"]:
            later.append(engine.submit("second", None, 0))
        return rows

    engine = engine_of(run)
    assert engine.call("first", None, 0) == "first"
    assert later[0].result(LIMIT_S) == "second"


def test_a_call_back_that_fails_harms_neither_its_batch_nor_its_worker(caplog):
    handler = Held()
    engine = engine_of(handler, batch_size=4)
    first = engine.submit(1, None, 0)
    handler.wait_until_begun()

    def end(future):
        raise SystemExit

    failing = engine.submit(2, None, 0)
    failing.add_done_callback(end)
    other = engine.submit(3, None, 0)
    handler.let_go(2)
    assert [future.result(LIMIT_S) for future in (first, failing, other)] == [2, 4, 6]
    wait_for(lambda: whole(engine))
    assert "call-back failed" in caplog.text


# --- the end ---------------------------------------------------------------------------------------------------------


def test_closing_answers_what_was_accepted_and_accepts_no_more():
    handler = Held()
    engine = engine_of(handler)
    with calls() as started:
        started.start(1, call(engine, 1))
        handler.wait_until_begun()
        started.start(2, call(engine, 2))
        future = engine.submit(3, None, 0)
        wait_for(lambda: depth(engine) == 2)
        started.start("closed", lambda: engine.close(None))
        wait_for(lambda: engine._is_closed)
        with pytest.raises(ModelClosed, match="model 'm' is closed"):
            engine.submit(4, None, 0)
        with pytest.raises(ModelClosed):
            engine.call(4, None, 0)
        handler.let_go(3)
        assert started.join() == {1: 2, 2: 4, "closed": True}
    assert future.result(0) == 6
    assert engine.close(None)
    for use in (engine.call, engine.submit, engine.stream):
        with pytest.raises(ModelClosed):
            use(5, None, 0)


def test_closing_in_time_refuses_those_that_still_wait():
    handler = Held()
    engine = engine_of(handler)
    with calls() as started:
        started.start(1, call(engine, 1))
        handler.wait_until_begun()
        started.start(2, call(engine, 2))
        future = engine.submit(3, None, 0)
        cancelled = engine.submit(4, None, 0)
        cancelled.cancel()
        wait_for(lambda: depth(engine) == 2)
        assert not engine.close(0.01)
        assert isinstance(future.exception(LIMIT_S), ModelClosed)
        wait_for(lambda: isinstance(started.outcomes.get(2), ModelClosed))
        handler.let_go()
        assert started.join()[1] == 2
    assert handler.batches == [[1]]
    assert not engine.close(None)  # not everything accepted was answered


def test_calls_that_race_with_the_closing_are_answered_or_refused():
    for _ in range(30):
        engine = engine_of(*[lambda rows: rows] * 2, batch_size=2)
        together = threading.Barrier(5, timeout=LIMIT_S)
        outcomes = Calls()

        def loop(engine=engine, together=together):
            together.wait()
            answers = 0
            while True:
                try:
                    assert engine.call(answers, None, 0) == answers
                    assert engine.submit(answers, None, 0).result(LIMIT_S) == answers
                except ModelClosed:
                    return answers
                answers += 1

        for thread in range(4):
            outcomes.start(thread, loop)
        together.wait()
        assert engine.close(LIMIT_S)
        assert all(isinstance(answers, int) for answers in outcomes.join().values())


# --- views -----------------------------------------------------------------------------------------------------------


def test_describe_counts_rows_batches_and_failures():
    handler = Picky()
    engine = engine_of(handler, batch_size=4)
    first = engine.submit(0, None, 0)
    handler.held.wait_until_begun()
    assert engine.describe()["workers"][0]["isBusy"]
    futures = [engine.submit(row, None, 0) for row in (1, 2, 3)]
    assert depth(engine) == 3
    handler.held.let_go()
    assert [future.result(LIMIT_S) for future in (first, *futures)] == [0, 1, 2, 3]
    wait_for(lambda: whole(engine))
    with pytest.raises(ValueError):
        engine.call(-1, None, 0)
    described = engine.describe()
    assert described["workers"] == [{"kind": "thread", "batches": 3, "rows": 5, "failures": 1, "isBusy": False}]
    assert described["queue"] == {"depth": 0, "limit": None}
    assert described["batching"]["batches"] == 3
    assert described["batching"]["rows"] == 5
    assert described["batching"]["meanBatchSize"] == 1.67
    assert engine.close(None)
    assert engine.describe()["batching"] == described["batching"]
