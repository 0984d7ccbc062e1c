from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from flambeau.wire.arena import SLOTS, STREAM, Arena, make_memory
from flambeau.wire.lending import LEND_FROM_BYTES, LENT_SLOTS, LendingArena

SIZE = LEND_FROM_BYTES


@pytest.fixture
def ends() -> Iterator[tuple[LendingArena, Arena]]:
    fd = make_memory(2 * SIZE)
    assert fd is not None
    server, worker = LendingArena(fd), Arena(fd, is_server=False)
    os.close(fd)
    yield server, worker
    server.close()
    worker.close()


def answer(server: LendingArena, worker: Arena, value: bytes) -> list[memoryview]:
    """One batch, there and back."""
    _, reply_place = server.places()
    place = worker.put([value], len(value), reply_place)
    assert place == reply_place
    received = server.receive(place, [len(value) // 2, len(value) - len(value) // 2])
    server.answered()
    return received  # type: ignore[return-value]


def test_an_answer_is_seen_where_it_was_put(ends):
    server, worker = ends
    _, place = server.places()
    worker.put([b"a" * SIZE], SIZE, place)
    (view,) = server.receive(place, [SIZE])
    worker.put([b"b"], 1, place)
    assert bytes(view[:2]) == b"ba"


def test_an_answer_does_not_change_while_it_is_in_use_however_many_follow(ends):
    server, worker = ends
    kept = [answer(server, worker, bytes([number]) * SIZE) for number in range(3 * SLOTS)]
    for number, views in enumerate(kept):
        assert b"".join(views) == bytes([number]) * SIZE


def test_a_place_is_used_again_once_nobody_looks_at_it(ends):
    server, worker = ends
    first = answer(server, worker, b"a" * SIZE)
    assert server.places()[1] == 2
    server.answered()
    part = first[1][5:9]
    del first
    assert server.places()[1] == 2
    server.answered()
    del part
    assert server.places() == (1, 1)


def test_batches_under_way_have_places_of_their_own(ends):
    server, _ = ends
    assert [server.places() for _ in range(SLOTS)] == [(place, place) for place in range(1, SLOTS + 1)]
    server.answered()
    assert server.places() == (1, 1)


def test_where_no_place_is_left_the_answer_comes_through_the_stream(ends):
    server, worker = ends
    kept = [answer(server, worker, b"x" * SIZE) for _ in range(LENT_SLOTS)]
    places = [server.places() for _ in range(SLOTS)]
    assert [place for place, _ in places] == list(range(1, SLOTS + 1))
    assert [reply for _, reply in places] == [*range(LENT_SLOTS + 1, SLOTS + 1), *[STREAM] * LENT_SLOTS]
    assert worker.put([b"y"], 1, STREAM) == 0
    assert len(kept) == LENT_SLOTS


def test_memory_in_use_outlives_the_connection():
    fd = make_memory(2 * SIZE)
    assert fd is not None
    server, worker = LendingArena(fd), Arena(fd, is_server=False)
    os.close(fd)
    views = answer(server, worker, b"z" * SIZE)
    server.close()
    worker.close()
    assert b"".join(views) == b"z" * SIZE
