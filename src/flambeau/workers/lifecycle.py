"""The states of a worker and the ways between them.

A worker has exactly one state, which its supervisor owns. A state or an arrow that is added here also needs a line in
``describe_status``, in TorchServe's words below, and in the ``state`` of ``api.WorkerDescription``.
"""

from __future__ import annotations

from enum import Enum


class WorkerState(Enum):
    """What a worker is doing. The value is what the describe API shows."""

    STARTING = "starting"
    """Wanted, and nothing done for it yet."""
    LOADING = "loading"
    """Its process is being started, or loads the handler."""
    READY = "ready"
    BACKING_OFF = "backing off"
    """It failed; no process is there until the delay is over."""
    STOPPING = "stopping"
    """Not wanted any more: it finishes its batch and ends. There is no way back."""
    GIVEN_UP = "given up"
    """It failed for the whole retry window. It stays listed until it is scaled down or its model is unregistered."""


_NEXT: dict[WorkerState, frozenset[WorkerState]] = {
    WorkerState.STARTING: frozenset(
        {WorkerState.LOADING, WorkerState.BACKING_OFF, WorkerState.STOPPING, WorkerState.GIVEN_UP}
    ),
    WorkerState.LOADING: frozenset(
        {WorkerState.READY, WorkerState.BACKING_OFF, WorkerState.STOPPING, WorkerState.GIVEN_UP}
    ),
    WorkerState.READY: frozenset({WorkerState.BACKING_OFF, WorkerState.STOPPING, WorkerState.GIVEN_UP}),
    WorkerState.BACKING_OFF: frozenset(
        {WorkerState.STARTING, WorkerState.LOADING, WorkerState.STOPPING, WorkerState.GIVEN_UP}
    ),
    WorkerState.STOPPING: frozenset(),
    WorkerState.GIVEN_UP: frozenset({WorkerState.STOPPING}),
}

_TORCHSERVE_NAMES: dict[WorkerState, str] = {
    WorkerState.STARTING: "WORKER_STARTED",
    WorkerState.LOADING: "WORKER_STARTED",
    WorkerState.READY: "WORKER_MODEL_LOADED",
    WorkerState.BACKING_OFF: "WORKER_STOPPED",
    WorkerState.STOPPING: "WORKER_SCALED_DOWN",
    WorkerState.GIVEN_UP: "WORKER_ERROR",
}


def transition(old: WorkerState, new: WorkerState) -> WorkerState:
    """Go from one state to the next.

    Returns:
        ``new``, to be assigned.

    Raises:
        RuntimeError: there is no way from ``old`` to ``new``.
    """
    if new not in _NEXT[old]:
        raise RuntimeError(f"a worker that is {old.value} cannot become {new.value}: this is a bug")
    return new


def state_change_phrase(old: WorkerState | None, new: WorkerState) -> str | None:
    """The log phrase that TorchServe's tools wait for, ``State change WORKER_STARTED -> WORKER_MODEL_LOADED``.

    Args:
        old: None for a worker that is new.

    Returns:
        None where both are one state in TorchServe's terms.
    """
    old_name = "null" if old is None else _TORCHSERVE_NAMES[old]
    new_name = _TORCHSERVE_NAMES[new]
    return None if old_name == new_name else f"State change {old_name} -> {new_name}"


def describe_status(state: WorkerState) -> str:
    """``status`` in the describe API: ``READY``, or ``UNLOADING`` for everything else, as in TorchServe."""
    return "READY" if state is WorkerState.READY else "UNLOADING"
