"""One client of ``thrift_server.py``: ``python -m benchmarks.peers.thrift_client PORT BODY_FILE``."""

import sys
from functools import partial
from pathlib import Path

from benchmarks.local_report.load import measure_threads
from benchmarks.local_report.orders import Orders
from benchmarks.peers.thrift_echo import InferClient


def main():
    orders = Orders()
    port, body_file = sys.argv[1:]
    body = Path(body_file).read_bytes()
    call = InferClient("127.0.0.1", int(port))
    if call(body) != body:
        raise SystemExit("the server does not echo")
    orders.serve(partial(measure_threads, call, body))


if __name__ == "__main__":
    main()
