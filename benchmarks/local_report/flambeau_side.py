"""Flambeau as a local function.

``python -m benchmarks.local_report.flambeau_side OPTIONS``, a JSON object: ``row`` (a file), and ``source`` and
``load``, the arguments of ``flambeau.load``.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import flambeau
from benchmarks.local_report.load import measure_threads
from benchmarks.local_report.orders import Orders


def main() -> None:
    orders = Orders()
    options = json.loads(sys.argv[1])
    row = Path(options["row"]).read_bytes()
    with flambeau.load(options["source"], **options["load"]) as model:
        model(row)
        orders.serve(partial(measure_threads, model, row))


if __name__ == "__main__":
    main()
