from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from flambeau.local.queue import CallQueue


@dataclass(eq=False)
class Row:
    priority: int = 0
    size: int = 1


class QueueMachine(RuleBasedStateMachine):
    """A queue beside a list that is sorted anew each time."""

    rows = Bundle("rows")

    def __init__(self):
        super().__init__()
        self.queue = CallQueue[Row]()
        self.model: list[Row] = []

    def in_turn(self) -> list[Row]:
        return sorted(self.model, key=lambda row: -row.priority)  # stable: first in, first out

    @rule(target=rows, priority=st.integers(-2, 2), size=st.integers(0, 5))
    def put(self, priority, size):
        row = Row(priority, size)
        self.queue.put(row)
        self.model.append(row)
        return row

    @rule(target=rows, count=st.integers(60, 140), priority=st.integers(-1, 1))
    def put_many(self, count, priority):
        return multiple(*(self.put(priority, 1) for _ in range(count)))

    @rule(row=rows)
    def withdraw(self, row):
        assert self.queue.withdraw(row) == (row in self.model)
        if row in self.model:
            self.model.remove(row)

    @rule()
    def withdraw_most(self):
        for row in self.model[: len(self.model) - 1]:
            assert self.queue.withdraw(row)
        del self.model[: len(self.model) - 1]

    @rule(limit=st.integers(1, 8))
    def take(self, limit):
        expected: list[Row] = []
        for row in self.in_turn():
            if expected and sum(other.size for other in expected) + row.size > limit:
                break
            expected.append(row)
            if sum(other.size for other in expected) >= limit:
                break
        assert self.queue.take(limit) == expected
        for row in expected:
            self.model.remove(row)

    @rule()
    def look(self):
        assert list(self.queue) == self.in_turn()
        assert self.queue.first() is next(iter(self.in_turn()), None)

    @invariant()
    def counts_what_waits(self):
        assert self.queue.depth == len(self.model)
        assert self.queue.size == sum(row.size for row in self.model)
        assert self.queue.waiting() == self.model


QueueMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestQueueAgainstAModel = QueueMachine.TestCase


def test_greater_priorities_come_first_and_equals_in_the_order_of_their_arrival():
    queue = CallQueue[Row]()
    low, high, high_too, lowest = Row(0), Row(5), Row(5), Row(-1)
    for row in (low, high, high_too, lowest):
        queue.put(row)
    assert queue.take(10) == [high, high_too, low, lowest]


def test_a_row_that_is_larger_than_a_batch_goes_alone():
    queue = CallQueue[Row]()
    huge, small = Row(size=100), Row(size=1)
    queue.put(huge)
    queue.put(small)
    assert queue.take(8) == [huge]
    assert queue.take(8) == [small]


def test_a_large_row_is_not_overtaken_by_smaller_ones_that_would_still_fit():
    queue = CallQueue[Row]()
    first, large, small = Row(size=2), Row(size=7), Row(size=1)
    for row in (first, large, small):
        queue.put(row)
    assert queue.take(8) == [first]
    assert queue.take(8) == [large, small]


def test_rows_that_count_nothing_all_fit_into_one_batch():
    queue = CallQueue[Row]()
    rows = [Row(size=0) for _ in range(20)]
    for row in rows:
        queue.put(row)
    assert queue.take(1) == rows


def test_an_empty_queue_gives_nothing():
    queue = CallQueue[Row]()
    assert queue.take(4) == []
    assert queue.first() is None
    assert not queue.withdraw(Row())


@given(st.integers(1, 2000))
@settings(max_examples=10, deadline=None)
def test_rows_that_were_withdrawn_are_not_kept(count):
    queue = CallQueue[Row]()
    stays = Row()
    queue.put(stays)
    for _ in range(count):
        row = Row()
        queue.put(row)
        assert queue.first() is stays
        queue.withdraw(row)
    held = sum(len(level) for level in queue._levels.values()) + len(queue._arrived)
    assert held < 80
