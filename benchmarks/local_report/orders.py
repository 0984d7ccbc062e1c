"""How the report talks to the processes that it measures: one JSON object a line.

A process says ``{"ready": true}`` when it has loaded and is warm. For each order, clients and window, it answers a
sample, or ``{"error": …}``. Imports nothing but the standard library: the peers' environments use it, too.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from benchmarks.local_report.load import LoadFailed, Sample, Window

Measure = Callable[[int, Window], Sample]


class Orders:
    """The measured process's end. Make it first: from then on what libraries print goes to standard error."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def serve(self, measure: Measure) -> None:
        """Say that all is ready, and measure on order until standard input ends."""
        self._say({"ready": True})
        for line in sys.stdin:
            order = json.loads(line)
            try:
                sample = measure(order["clients"], Window(order["start_ns"], order["end_ns"]))
            except LoadFailed as error:
                self._say({"error": str(error)})
            else:
                self._say(asdict(sample))

    def _say(self, answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=self._answers, flush=True)


def order(clients: int, window: Window) -> str:
    """One line that asks for a sample."""
    return json.dumps({"clients": clients, "start_ns": window.start_ns, "end_ns": window.end_ns}) + "\n"


def sample_of(answer: dict[str, Any]) -> Sample:
    """Raises LoadFailed where the answer is an error."""
    if "error" in answer:
        raise LoadFailed(answer["error"])
    return Sample(answer["calls"], answer["seconds"], tuple(answer["quantiles_ns"]))
