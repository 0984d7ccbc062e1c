from itertools import pairwise

import pytest

from flambeau.workers.lifecycle import WorkerState, describe_status, state_change_phrase, transition

STARTING, LOADING, READY = WorkerState.STARTING, WorkerState.LOADING, WorkerState.READY
BACKING_OFF, STOPPING, GIVEN_UP = WorkerState.BACKING_OFF, WorkerState.STOPPING, WorkerState.GIVEN_UP


@pytest.mark.parametrize(
    "life",
    [
        (STARTING, LOADING, READY, STOPPING),
        (STARTING, LOADING, BACKING_OFF, STARTING, LOADING, READY),
        (READY, BACKING_OFF, LOADING, READY),
        (STARTING, BACKING_OFF, STOPPING),
        (READY, GIVEN_UP, STOPPING),
        (LOADING, BACKING_OFF, GIVEN_UP, STOPPING),
    ],
)
def test_the_lives_that_a_worker_may_have(life):
    for old, new in pairwise(life):
        assert transition(old, new) is new


@pytest.mark.parametrize(
    ("old", "new"),
    [(STARTING, READY), (READY, LOADING), (BACKING_OFF, READY), (GIVEN_UP, STARTING), (READY, READY)],
)
def test_impossible_transition_raises_and_names_both_states(old, new):
    with pytest.raises(RuntimeError, match=f"{old.value} cannot become {new.value}.*bug"):
        transition(old, new)


@pytest.mark.parametrize("new", list(WorkerState))
def test_nothing_comes_after_stopping(new):
    with pytest.raises(RuntimeError):
        transition(STOPPING, new)


@pytest.mark.parametrize("state", [state for state in WorkerState if state is not STOPPING])
def test_every_worker_can_be_stopped(state):
    assert transition(state, STOPPING) is STOPPING


def test_log_phrases_are_those_that_torchserves_tools_wait_for():
    life = [None, STARTING, LOADING, READY, BACKING_OFF, STARTING, LOADING, READY, STOPPING]
    assert [state_change_phrase(old, new) for old, new in pairwise(life)] == [
        "State change null -> WORKER_STARTED",
        None,
        "State change WORKER_STARTED -> WORKER_MODEL_LOADED",
        "State change WORKER_MODEL_LOADED -> WORKER_STOPPED",
        "State change WORKER_STOPPED -> WORKER_STARTED",
        None,
        "State change WORKER_STARTED -> WORKER_MODEL_LOADED",
        "State change WORKER_MODEL_LOADED -> WORKER_SCALED_DOWN",
    ]
    assert state_change_phrase(LOADING, GIVEN_UP) == "State change WORKER_STARTED -> WORKER_ERROR"


@pytest.mark.parametrize("state", list(WorkerState))
def test_everything_but_ready_is_described_as_unloading(state):
    assert describe_status(state) == ("READY" if state is READY else "UNLOADING")
