"""A thrift server, a thread a connection, with nothing or with torchpipe behind it.

``python -m benchmarks.peers.thrift_server PORT {alone,torchpipe}``
"""

import sys

from thrift.protocol.TBinaryProtocol import TBinaryProtocolAcceleratedFactory
from thrift.server.TServer import TThreadedServer
from thrift.transport.TSocket import TServerSocket
from thrift.transport.TTransport import TBufferedTransportFactory

from benchmarks.local_report.work import hello
from benchmarks.peers.thrift_echo import InferProcessor
from benchmarks.peers.torchpipe_side import backend_class, call_with_dict, prepare_import


def torchpipe_function():
    """One instance of a Python backend that gives back what it got."""
    prepare_import(needs_core=False)
    import omniback
    import torchpipe

    omniback.register("Work", backend_class(lambda: hello, 1))
    pipe = torchpipe.pipe({"node": {"backend": "Work", "batching_timeout": "0", "max": "1"}})
    return lambda data: call_with_dict(pipe, data)


def main():
    port, kind = sys.argv[1:]
    function = torchpipe_function() if kind == "torchpipe" else lambda data: data
    TThreadedServer(
        InferProcessor(function),
        TServerSocket("127.0.0.1", int(port)),
        TBufferedTransportFactory(),
        TBinaryProtocolAcceleratedFactory(fallback=False),
        daemon=True,
    ).serve()


if __name__ == "__main__":
    main()
