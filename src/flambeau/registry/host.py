"""The machine that the workers of a process share: its cores, its GPUs, and who runs where."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from flambeau.config.server import ServerConfig
from flambeau.registry.launching import launch_for
from flambeau.registry.version import ModelVersion
from flambeau.workers.cores import available_cores
from flambeau.workers.devices import assign_gpus, detect_gpus
from flambeau.workers.exits import OomCounter
from flambeau.workers.placement import Placement
from flambeau.workers.process import Launch


class Host:
    """Numbers, places and launches the workers of all models."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        cores = available_cores()
        self.usable_cores = cores.usable
        self._placement = Placement(cores.cores, cores.usable)
        gpus = detect_gpus()
        self.gpu_count = gpus if config.number_of_gpu is None else min(gpus, config.number_of_gpu)
        self._oom_counter = OomCounter()
        self._worker_ids = itertools.count(config.initial_worker_port)

    def new_worker_id(self) -> int:
        return next(self._worker_ids)

    def place(self, versions: Sequence[ModelVersion]) -> None:
        """Plan all workers anew and move those that run.

        Args:
            versions: all that are served; the workers of any other are gone.
        """
        plan = self._placement.plan([worker for version in versions for worker in version.wanted_workers()])
        for version in versions:
            version.place(plan)

    def launch(self, version: ModelVersion, worker_id: int) -> Launch:
        """How to start one worker.

        Raises:
            InvalidModel: a warm-up input is not in the archive.
        """
        gpu_id = None
        if version.on_gpu:
            slots = len(version.supervisor.slots)
            devices = assign_gpus(slots, version.config.placement.device_ids, self.gpu_count)
            gpu_id = devices[version.worker_index(worker_id)]
        return launch_for(
            worker_id,
            version.ref,
            version.model,
            version.handler,
            version.config,
            self._config,
            version.assignments[worker_id],
            gpu_id,
            self._oom_counter,
        )
