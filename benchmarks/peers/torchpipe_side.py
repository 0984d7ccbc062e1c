"""torchpipe as a local function, for ``benchmarks.local``.

``python -m benchmarks.peers.torchpipe_side OPTIONS``, a JSON object: ``work``, ``row`` (a file), ``batch_size``,
``delay_ms``, ``instances``, ``caller`` (``dict``, ``omniback.Dict`` or ``c++``) and ``backend``: ``python``,
``processes``, or one of torchpipe's own by its name.
"""

import json
import multiprocessing
import os
import sys
from functools import partial
from pathlib import Path

from benchmarks.local_report.load import LoadFailed, Sample, measure_threads
from benchmarks.local_report.orders import Orders
from benchmarks.local_report.work import work_named

WARM_UP_CALLS = 2000


def backend_class(prepare, batch_size):
    """A backend of torchpipe. ``prepare`` is called for each instance, and gives its function of rows."""

    class WorkBackend:
        def init(self, params, options):
            self.work = prepare()

        def forward(self, ios):
            for io, result in zip(ios, self.work([io["data"] for io in ios]), strict=True):
                io["result"] = result

        def max(self):
            return batch_size

        def min(self):
            return 1

    return WorkBackend


def work_in_process(work_name):
    """The work done by a process of its own, as torchpipe's report advises where the GIL is held."""
    connection, other = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    context.Process(target=_work_for, args=(work_name, other), daemon=True).start()

    def work(rows):
        connection.send(rows)
        return connection.recv()

    return work


def _work_for(work_name, connection):
    work = work_named(work_name)
    while True:
        connection.send(work(connection.recv()))


PREPARATIONS = {"python": work_named, "processes": work_in_process}


def call_with_dict(pipe, row):
    """As torchpipe's documentation calls it."""
    io = {"data": row}
    pipe(io)
    return io["result"]


def call_with_omniback_dict(omniback, pipe, row):
    """With torchpipe's own type of dictionary, which spares the conversion."""
    io = omniback.Dict({"data": row})
    pipe(io)
    return io["result"]


def measure_from_cpp(omniback, pipe, row, clients, window):
    """torchpipe's own load generator, whose clients are threads of C++; it tells no latency below a millisecond."""

    def run(calls):
        settings = {"num_clients": str(clients), "total_number": str(calls), "num_warm_up": "20"}
        ios = [omniback.Dict({"data": row}) for _ in range(calls)]
        omniback.init("Benchmark", settings).forward_with_dep(ios, pipe)
        report = json.loads(str(omniback.default_queue().get(True)["data"]))
        if int(report["num_exception"]):
            raise LoadFailed(report["first_exception_message"])
        return int(report["total_time"]) / 1000

    rate = WARM_UP_CALLS / run(WARM_UP_CALLS)
    calls = max(clients, int(rate * window.seconds))
    return Sample(calls, run(calls), ())


def prepare_import(*, needs_core):
    """torchpipe loads its operations on tensors and images when it is imported, or compiles them first.

    The scheduler does without them. Compiling, which takes minutes, is left to ``make bench-peers``.
    """
    core = Path(sys.prefix, "omniback")
    os.environ["OMNIBACK_CACHE_DIR"] = str(core)
    if not needs_core:
        os.environ["TORCHPIPE_SKIP_ALL"] = "1"
    elif not Path(core, ".compiled").exists():
        raise SystemExit("torchpipe's own operations are not compiled: make bench-peers")


def main():
    orders = Orders()
    options = json.loads(sys.argv[1])
    prepare_import(needs_core=options["backend"] == "DecodeMat")
    import omniback
    import torchpipe

    row = Path(options["row"]).read_bytes()
    backend = options["backend"]
    if backend in PREPARATIONS:
        prepare = partial(PREPARATIONS[backend], options["work"])
        omniback.register("Work", backend_class(prepare, options["batch_size"]))
    pipe = torchpipe.pipe(
        {
            "node": {
                "backend": "Work" if backend in PREPARATIONS else backend,
                "instance_num": options["instances"],
                "batching_timeout": options["delay_ms"],
                "max": options["batch_size"],
            }
        }
    )
    call_with_dict(pipe, row)
    measures = {
        "dict": partial(measure_threads, partial(call_with_dict, pipe), row),
        "omniback.Dict": partial(measure_threads, partial(call_with_omniback_dict, omniback, pipe), row),
        "c++": partial(measure_from_cpp, omniback, pipe, row),
    }
    orders.serve(measures[options["caller"]])
    os._exit(0)  # torchpipe's threads may be at Python while the interpreter ends


if __name__ == "__main__":
    main()
