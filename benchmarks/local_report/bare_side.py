"""A section's work in a loop of one thread, with nothing around it.

``python -m benchmarks.local_report.bare_side OPTIONS``, a JSON object: ``work``, ``row`` (a file) and ``batch_size``.
The loop runs the largest batches that so many clients could fill.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.local_report.load import Sample, Window, measure_threads
from benchmarks.local_report.orders import Orders
from benchmarks.local_report.work import work_named


def main() -> None:
    orders = Orders()
    options = json.loads(sys.argv[1])
    work = work_named(options["work"])
    row = Path(options["row"]).read_bytes()
    work([row])

    def measure(clients: int, window: Window) -> Sample:
        rows = [row] * min(clients, options["batch_size"])
        sample = measure_threads(work, rows, 1, window)
        return replace(sample, calls=sample.calls * len(rows))

    orders.serve(measure)


if __name__ == "__main__":
    main()
