import itertools
import os
import pty
import sys
import threading
from concurrent.futures import Future

import pytest

import flambeau
from flambeau.errors import CallTimedOut, ConfigError, QueueFull
from tests.unit.local.engines import LIMIT_S, Held, calls, wait_for


def double(rows):
    return [row * 2 for row in rows]


def picky(rows):
    return [ValueError(f"no {row}") if row % 3 == 0 else row for row in rows]


@pytest.mark.parametrize("settings", [{}, {"batch_size": 4}, {"batch_size": 4, "workers": 3}])
@pytest.mark.parametrize("window", [None, 1, 7, 1000])
def test_results_come_in_the_order_of_the_rows(settings, window):
    with flambeau.load(double, **settings) as model:
        assert list(model.map(range(200), window=window)) == [2 * row for row in range(200)]


def test_results_can_come_as_they_are_ready():
    held = Held()

    def run(rows):
        return held(rows) if rows == [0] else double(rows)

    with flambeau.load(run, workers=2) as model:
        results = model.map(range(4), ordered=False, window=4)
        assert sorted(next(results) for _ in range(3)) == [2, 4, 6]
        held.let_go()
        assert list(results) == [0]


def test_no_rows_are_no_results():
    with flambeau.load(double) as model:
        assert list(model.map([])) == []


def test_no_more_rows_are_taken_than_are_under_way():
    taken = []

    def rows():
        for row in itertools.count():
            taken.append(row)
            yield row

    with flambeau.load(double) as model:
        results = model.map(rows(), window=5)
        assert taken == []
        for done in range(1, 20):
            next(results)
            assert len(taken) <= done + 4
        results.close()


@pytest.mark.parametrize("ordered", [True, False])
def test_closing_takes_back_what_is_under_way(ordered):
    held = Held()
    with flambeau.load(held) as model:
        results = model.map(range(1, 100), ordered=ordered, window=10)
        held.let_go()
        assert next(results) == 2
        held.wait_until_begun()
        held.wait_until_begun()
        results.close()
        assert model.describe()["queue"]["depth"] == 0
        held.let_go()
    assert held.batches == [[1], [2]]


def test_a_row_that_fails_raises_in_its_place_and_takes_the_rest_back():
    with flambeau.load(picky) as model:
        results = model.map([1, 2, 3, 4])
        assert [next(results), next(results)] == [1, 2]
        with pytest.raises(ValueError, match="no 3"):
            next(results)
        assert list(results) == []


def test_errors_can_take_the_place_of_results():
    with flambeau.load(picky, batch_size=2) as model:
        results = list(model.map(range(6), return_exceptions=True))
    assert [str(result) for result in results] == ["no 0", "1", "2", "no 3", "4", "5"]
    assert isinstance(results[0], ValueError)


def test_what_the_rows_iterator_raises_is_raised_and_takes_the_rest_back():
    def rows():
        yield 1
        raise OSError("disk")

    with flambeau.load(double) as model:
        with pytest.raises(OSError, match="disk"):
            list(model.map(rows()))
        assert model(2) == 4


def test_the_time_of_each_row_is_counted_from_when_it_is_taken():
    held = Held()
    with flambeau.load(held) as model:
        results = model.map([1, 2], timeout_s=0.5, return_exceptions=True)
        outcomes = list(results)
        assert [type(outcome) for outcome in outcomes] == [CallTimedOut] * 2
        held.let_go(2)
    assert held.batches == [[1]]


def test_rows_have_the_priority_that_was_asked_for():
    held = Held()
    with flambeau.load(held, queue_size=10) as model, calls() as started:
        model.submit(0)
        held.wait_until_begun()
        started.start("mapped", lambda: list(model.map(["low"], priority=-1)))
        wait_for(lambda: model.describe()["queue"]["depth"] == 1)
        model.submit("normal")
        held.let_go(3)
        assert started.join()["mapped"] == ["lowlow"]
    assert held.batches == [[0], ["normal"], ["low"]]


def test_a_queue_that_others_fill_is_waited_for_and_not_overrun():
    with flambeau.load(double, queue_size=2) as model:
        assert list(model.map(range(300), window=50)) == [2 * row for row in range(300)]


def test_a_queue_in_which_there_is_no_room_for_even_one_row_is_an_error():
    held = Held()
    with flambeau.load(held, queue_size=1) as model:
        model.submit(1)
        held.wait_until_begun()
        model.submit(2)
        with pytest.raises(QueueFull):
            list(model.map([3, 4]))
        held.let_go(2)


@pytest.mark.parametrize("window", [-1, -100])
def test_a_window_in_which_no_row_fits_is_refused(window):
    with flambeau.load(double) as model, pytest.raises(ConfigError, match=f"window={window}: must be at least 1"):
        list(model.map([1], window=window))


def test_rows_are_numbered_for_errors_to_name(monkeypatch):
    seen = []
    with flambeau.load(double) as model:

        def submit_row(row, number, **settings):
            seen.append((row, number, settings))
            future = Future()
            future.set_result(row)
            return future

        monkeypatch.setattr(model, "submit_row", submit_row)
        assert list(model.map("ab", timeout_s=3.0, priority=2)) == ["a", "b"]
    assert seen == [("a", 0, {"timeout_s": 3.0, "priority": 2}), ("b", 1, {"timeout_s": 3.0, "priority": 2})]


def test_several_threads_may_map_at_once():
    with flambeau.load(double, batch_size=8, workers=2) as model, calls() as started:
        for start in range(0, 600, 100):
            started.start(
                start, lambda start=start: list(model.map(range(start, start + 100), ordered=start % 200 == 0))
            )
        for start, results in started.join().items():
            assert sorted(results) == [2 * row for row in range(start, start + 100)]


def test_no_bar_is_shown_where_nobody_looks(capfd):
    with flambeau.load(double) as model:
        assert list(model.map(range(3))) == [0, 2, 4]
    assert capfd.readouterr() == ("", "")


def test_a_bar_is_shown_on_a_terminal(monkeypatch):
    ours, theirs = pty.openpty()
    written = []

    def read():
        try:
            while data := os.read(ours, 4096):
                written.append(data)
        except OSError:  # the other side has been closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    with flambeau.load(double, name="doubler") as model, os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm-256color")
        assert list(model.map(range(50))) == [2 * row for row in range(50)]
        assert list(model.map(iter(range(5)))) == [0, 2, 4, 6, 8]  # of which the length is not known
        monkeypatch.undo()
    reader.join(LIMIT_S)
    os.close(ours)
    text = b"".join(written).decode()
    assert "doubler" in text
    assert "50/50" in text
