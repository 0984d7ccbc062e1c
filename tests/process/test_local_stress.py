"""Many threads that use a local model in all ways at once, and leave it in all ways.

``FLAMBEAU_STRESS_CALLS`` sets how many rows there are, ``FLAMBEAU_STRESS_SEED`` what chance decides.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NotYet  # the built-in one only from Python 3.11 on
from typing import Any

import pytest

import flambeau
from flambeau.errors import CallTimedOut, QueueFull
from flambeau.local import LocalModel

CALLS = int(os.environ.get("FLAMBEAU_STRESS_CALLS", "100000"))
SEED = int(os.environ.get("FLAMBEAU_STRESS_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
THREADS = 64
LIMIT_S = 60.0 + CALLS / 1000


class RowFailed(Exception):
    """What a handler has against one row."""

    def __init__(self, row: Row) -> None:
        super().__init__(row.number)
        self.row = row


class Row:
    """A row, what the handler is to do with it, and what it has done."""

    __slots__ = ("answers", "failed_batches", "kind", "number", "parts", "runs")

    def __init__(self, number: int, kind: str, parts: int) -> None:
        self.number = number
        self.kind = kind
        self.parts = parts
        """Of its result, where that is a stream."""
        self.runs = 0
        self.failed_batches = 0
        """With others in them, whose rows are run again one by one."""
        self.answers = 0

    def results(self) -> list[tuple[int, int]]:
        return [(self.number, part) for part in range(self.parts)]


class Handler:
    """One worker's. Never run by two threads at once."""

    def __init__(self) -> None:
        self._is_running = threading.Lock()
        self._never = threading.Event()

    def __call__(self, rows: list[Row]) -> list[Any]:
        assert self._is_running.acquire(blocking=False), "two threads run one worker"
        try:
            for row in rows:
                row.runs += 1
            if len(rows) > 1 and any(row.kind == "raises" for row in rows):
                for row in rows:
                    row.failed_batches += 1
            return [self._result(row) for row in rows]
        finally:
            self._is_running.release()

    def _result(self, row: Row) -> Any:
        if row.kind == "raises":
            raise RowFailed(row)
        if row.kind == "fails":
            return RowFailed(row)
        if row.kind == "slow":
            self._never.wait(0.0002)
        if row.kind == "stream":
            return (part for part in row.results())
        return ("answer", row.number)


class User:
    """One thread's use of a model; ``problems`` has whatever was not as it should be."""

    def __init__(self, model: LocalModel, seed: str, calls: int) -> None:
        self.model = model
        self.chance = random.Random(seed)
        self.calls = calls
        self.rows: list[Row] = []
        self.never_run: list[Row] = []
        self.problems: list[Any] = []

    def run(self) -> None:
        ways = [self.call, self.submit, self.cancel, self.give_up, self.map, self.stream]
        try:
            while len(self.rows) < self.calls:
                self.chance.choices(ways, weights=[60, 10, 5, 5, 3, 5])[0]()
        except BaseException as error:
            self.problems.append(error)

    def row(self) -> Row:
        kind = self.chance.choices(["plain", "slow", "raises", "fails", "stream"], weights=[85, 3, 2, 4, 6])[0]
        row = Row(self.chance.randrange(2**60), kind, self.chance.randrange(4))
        self.rows.append(row)
        return row

    def settings(self) -> dict[str, Any]:
        timeout_s = self.chance.choices([None, 0.0, 0.0003, 0.003, LIMIT_S], weights=[80, 2, 4, 4, 10])[0]
        return {"timeout_s": timeout_s, "priority": self.chance.choice([0, 0, 0, 1, -1])}

    def check(self, row: Row, outcome: Any, settings: dict[str, Any]) -> None:
        row.answers += 1
        if isinstance(outcome, CallTimedOut):
            is_right = settings["timeout_s"] not in (None, LIMIT_S)
        elif isinstance(outcome, RowFailed):
            is_right = outcome.row is row and row.kind in ("raises", "fails")
        elif row.kind == "stream":
            is_right = outcome == row.results()
        else:
            is_right = row.kind in ("plain", "slow") and outcome == ("answer", row.number)
        if not is_right:
            self.problems.append((row.kind, row.number, settings, outcome))

    # --- ways to use it ----------------------------------------------------------------------------------------------

    def call(self) -> None:
        row, settings = self.row(), self.settings()
        try:
            outcome = self.model(row, **settings)
        except (RowFailed, CallTimedOut) as error:
            outcome = error
        self.check(row, outcome, settings)

    def submitted(self, count: int) -> list[tuple[Row, dict[str, Any], Future[Any]]]:
        jobs = []
        for _ in range(count):
            row, settings = self.row(), self.settings()
            jobs.append((row, settings, self.model.submit(row, **settings)))
        return jobs

    def submit(self) -> None:
        for row, settings, future in self.submitted(self.chance.randrange(1, 5)):
            done: list[Future[Any]] = []
            future.add_done_callback(done.append)
            self.check(row, future.exception(LIMIT_S) or future.result(), settings)
            while not done:  # its waiters are told before its call-backs are called
                time.sleep(0)
            if done != [future]:
                self.problems.append(("answered", len(done), "times"))

    def cancel(self) -> None:
        for row, settings, future in self.submitted(self.chance.randrange(1, 5)):
            if future.cancel():
                row.answers += 1
                self.never_run.append(row)
                try:
                    future.result(0)
                    self.problems.append(("a cancelled row has a result", row.number))
                except CancelledError:
                    pass
            else:
                self.check(row, future.exception(LIMIT_S) or future.result(), settings)

    def give_up(self) -> None:
        """A caller that no longer waits for what it has submitted."""
        for row, _, future in self.submitted(self.chance.randrange(1, 3)):
            try:
                future.result(0)
            except (NotYet, CallTimedOut, RowFailed, CancelledError):
                pass
            row.answers += 1

    def map(self) -> None:
        rows = [self.row() for _ in range(self.chance.randrange(1, 20))]
        window = self.chance.choice([None, 1, 3, 30])
        if self.chance.random() < 0.7:
            results = list(self.model.map(rows, return_exceptions=True, window=window))
            if len(results) != len(rows):
                self.problems.append(("map gave", len(results), "results for", len(rows)))
            for row, result in zip(rows, results, strict=False):
                self.check(row, result, {"timeout_s": None})
        else:
            wanted = self.chance.randrange(len(rows) + 1)
            results_as_they_come = self.model.map(rows, ordered=False, return_exceptions=True, window=window)
            for _, result in zip(range(wanted), results_as_they_come, strict=False):
                is_known = isinstance(result, (tuple, list, RowFailed))
                if not is_known:
                    self.problems.append(result)
            results_as_they_come.close()  # type: ignore[attr-defined]
            for row in rows:
                row.answers += 1

    def stream(self) -> None:
        row, settings = self.row(), self.settings()
        stream = self.model.stream(row, **settings)
        wanted = self.chance.choice([0, 1, 2, 100, 100])
        parts: list[Any] = []
        try:
            for part in stream:
                parts.append(part)
                if len(parts) >= wanted:
                    break
        except (RowFailed, CallTimedOut) as error:
            self.check(row, error, settings)
            return
        if row.kind == "stream":
            is_right = parts == row.results()[: max(wanted, 1)]
        else:
            is_right = parts == [("answer", row.number)]
        row.answers += 1
        if not is_right:
            self.problems.append(("stream", row.kind, row.parts, wanted, parts))
        if self.chance.random() < 0.5:
            stream.close()  # type: ignore[attr-defined]


def join_all(threads: list[threading.Thread]) -> None:
    end = time.monotonic() + LIMIT_S
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    assert not any(thread.is_alive() for thread in threads), "calls are lost: threads still wait"


@pytest.fixture
def quick_switches():
    """Threads take turns a hundred times as often as they would."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.timeout(2 * LIMIT_S)
@pytest.mark.parametrize(
    "settings",
    [
        {"workers": 1, "batch_size": 1},
        {"workers": 1, "batch_size": 8},
        {"workers": 3, "batch_size": 1},
        {"workers": 4, "batch_size": 4},
        {"workers": 2, "batch_size": 8, "size_of": lambda row: row.number % 5},
        {"workers": 2, "batch_size": 6, "batch_policy": "fixed", "max_batch_delay_ms": 1},
    ],
    ids=["one", "batches", "workers", "both", "sizes", "fixed"],
)
def test_every_row_gets_its_own_answer_once_whatever_others_do(settings, quick_switches):
    print(f"FLAMBEAU_STRESS_SEED={SEED}")
    model = flambeau.load(Handler, **settings)
    calls = CALLS // 6 // THREADS + 1
    users = [User(model, f"{SEED}/{number}", calls) for number in range(THREADS)]
    threads = [threading.Thread(target=user.run, daemon=True) for user in users]
    for thread in threads:
        thread.start()
    join_all(threads)
    problems = [problem for user in users for problem in user.problems]
    assert problems[:5] == []
    rows = [row for user in users for row in user.rows]
    assert {row.answers for row in rows} == {1}
    assert [row for user in users for row in user.never_run if row.runs] == []
    engine = model._engine
    end = time.monotonic() + LIMIT_S
    while True:
        depth = model.describe()["queue"]["depth"]
        with engine._mutex:
            is_at_rest = depth == 0 and len(engine._idle) == settings["workers"]
        if is_at_rest:
            break
        assert time.monotonic() < end, "the engine does not come to rest"
        time.sleep(0.001)
    assert [row.number for row in rows if row.runs > 1 + row.failed_batches] == []
    assert len(set(map(id, engine._idle))) == settings["workers"]
    assert engine._helpers <= settings["workers"]
    assert not engine._leaving
    assert not engine._gatherers
    assert model.describe()["batching"]["rows"] <= sum(row.runs for row in rows)
    assert model(Row(1, "plain", 0)) == ("answer", 1)
    assert model.close(LIMIT_S)


@pytest.mark.timeout(2 * LIMIT_S)
def test_a_full_queue_refuses_and_loses_nothing(quick_switches):
    print(f"FLAMBEAU_STRESS_SEED={SEED}")
    model = flambeau.load(Handler, workers=2, batch_size=4, queue_size=5)
    refused = [0] * THREADS
    problems: list[Any] = []

    def use(thread: int) -> None:
        chance = random.Random(f"{SEED}/{thread}")
        try:
            for number in range(CALLS // 20 // THREADS + 1):
                row = Row(number, "slow" if chance.random() < 0.1 else "plain", 0)
                try:
                    answer = model(row) if chance.random() < 0.5 else model.submit(row).result(LIMIT_S)
                except QueueFull:
                    refused[thread] += 1
                    assert row.runs == 0
                else:
                    assert answer == ("answer", number)
                    assert row.runs == 1
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=use, args=(thread,), daemon=True) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    join_all(threads)
    assert problems[:5] == []
    assert sum(refused) > 0
    assert model.close(LIMIT_S)
