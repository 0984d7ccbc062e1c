"""Which cores and how many threads each worker gets. Pure: the machine and the wanted workers in, a plan out.

What every plan keeps to:

- A worker whose model names cores gets those, and nobody else gets them while other cores are free.
- As long as all threads fit, every pinned worker has cores of its own, one per thread.
- Once they do not fit, the pinned workers share one set of cores and the kernel divides the time. Holding each to a
  part of the set would leave a core idle whenever its workers are, while others queue for the next.
- From plan to plan a worker keeps the cores it had, as far as its number of threads allows.

``docs/placement.md`` says the same for operators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flambeau.config.model import PlacementConfig
from flambeau.workers.cores import Core


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedWorker:
    """A worker that is to run."""

    worker_id: int
    config: PlacementConfig
    """Its model's."""
    index: int = 0
    """Its place among the workers of its model version, from 0: says which of the model's core sets it takes."""
    on_gpu: bool = False

    @property
    def given_cores(self) -> tuple[int, ...] | None:
        """The logical processors that its model names for it."""
        if not self.config.cores or not self.config.pin_cores:
            return None
        return self.config.cores[self.index % len(self.config.cores)]

    @property
    def needs_cores(self) -> bool:
        """Whether cores are to be chosen for it. A worker on a GPU mostly waits, and is better off unpinned."""
        return self.given_cores is None and self.config.pin_cores and not self.on_gpu


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where one worker runs."""

    cores: tuple[int, ...]
    """Logical processors that it is held to, one per physical core unless the model named them; empty: not pinned."""
    threads: int
    """Intra-op threads, at least 1."""


def default_workers(models_without_setting: int, usable: int, threads: int | None) -> int:
    """How many workers each model gets for which nobody said how many.

    Args:
        models_without_setting: models that share the cores this way, at least 1.
        usable: cores' worth of time that there is.
        threads: intra-op threads of each worker; None: 1, which serves the most requests.

    Returns:
        What fills the cores without oversubscription; at least 1.
    """
    return max(1, usable // (models_without_setting * (threads or 1)))


class Placement:
    """The plan for all workers of a server, and the memory of the last one."""

    def __init__(self, cores: Sequence[Core], usable: int) -> None:
        """
        Args:
            cores: the physical cores, neighbours side by side.
            usable: how many of them may be busy at once. Fewer than there are means that a quota limits the process on
                a machine it shares with others; then no cores are chosen, since all those others would choose the same.
        """
        self._cores = tuple(cores)
        self._usable = usable
        self._position = {core.number: position for position, core in enumerate(self._cores)}
        self._last: dict[int, Assignment] = {}

    def plan(self, wanted: Sequence[WantedWorker]) -> dict[int, Assignment]:
        """Place the workers of all models.

        Args:
            wanted: every worker that is to run, in any order; one that ran at the last plan and is not here is gone.

        Returns:
            An assignment for each worker id. The same calls in the same order give the same plans.
        """
        workers = sorted(wanted, key=lambda worker: worker.worker_id)
        named = {cpu for worker in workers for cpu in worker.given_cores or ()}
        free = [core.number for core in self._cores if named.isdisjoint(core.cpus)]
        threads = self._threads(workers, budget=self._usable - (len(self._cores) - len(free)))
        chosen = self._choose_cores({w.worker_id: threads[w.worker_id] for w in workers if w.needs_cores}, free)
        self._last = {
            worker.worker_id: Assignment(
                worker.given_cores or chosen.get(worker.worker_id, ()), threads[worker.worker_id]
            )
            for worker in workers
        }
        return dict(self._last)

    def _threads(self, workers: Sequence[WantedWorker], budget: int) -> dict[int, int]:
        """Threads by worker: those that the model says, and equal shares of what is left of ``budget``."""
        threads: dict[int, int] = {}
        sharing: list[int] = []
        for worker in workers:
            given = worker.given_cores
            if given is not None:
                threads[worker.worker_id] = worker.config.threads or len(given)
            elif worker.config.threads is not None:
                threads[worker.worker_id] = worker.config.threads
                budget -= worker.config.threads
            else:
                sharing.append(worker.worker_id)
        if not sharing:
            return threads
        share, left_over = divmod(max(budget, len(sharing)), len(sharing))
        # What does not divide goes to those that had the most, so that nobody trades cores.
        sharing.sort(key=lambda worker_id: -self._last[worker_id].threads if worker_id in self._last else 0)
        for rank, worker_id in enumerate(sharing):
            threads[worker_id] = share + (rank < left_over)
        return threads

    def _choose_cores(self, threads: Mapping[int, int], free: list[int]) -> dict[int, tuple[int, ...]]:
        """Cores by worker id, for workers that need so many threads each."""
        if self._usable < len(self._cores):
            return {}
        if sum(threads.values()) > len(free):
            shared = tuple(free) or tuple(core.number for core in self._cores)
            return dict.fromkeys(threads, shared)
        chosen: dict[int, list[int]] = {}
        for worker_id, count in threads.items():
            had = self._last[worker_id].cores if worker_id in self._last else ()
            chosen[worker_id] = [core for core in had if core in free][:count]
            free = [core for core in free if core not in chosen[worker_id]]
        for worker_id, count in threads.items():
            more = self._nearest(chosen[worker_id], free, count - len(chosen[worker_id]))
            chosen[worker_id] += more
            free = [core for core in free if core not in more]
        return {worker_id: tuple(sorted(cores, key=self._position.__getitem__)) for worker_id, cores in chosen.items()}

    def _nearest(self, kept: Sequence[int], free: Sequence[int], count: int) -> list[int]:
        """So many free cores next to those that a worker has, or next to one another if it has none."""
        if kept:
            here = [self._position[core] for core in kept]
            nearest = sorted(free, key=lambda core: min(abs(self._position[core] - position) for position in here))
            return nearest[:count]
        for start in range(len(free) - count + 1):
            run = list(free[start : start + count])
            if run and self._position[run[-1]] - self._position[run[0]] == count - 1:
                return run
        return list(free[:count])
