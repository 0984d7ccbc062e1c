"""``python -m flambeau.runtime --fd N [--memory-fd M]``: a worker on an inherited Unix stream socket."""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import socket
import sys

from flambeau.runtime.lifeline import die_with_parent
from flambeau.runtime.loop import serve
from flambeau.wire.arena import Arena


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m flambeau.runtime", description="A worker, started by the server.")
    parser.add_argument("--fd", type=int, required=True, help="file descriptor of a connected Unix stream socket")
    parser.add_argument("--memory-fd", type=int, help="file descriptor of memory that the server shares")
    options = parser.parse_args()
    sock = socket.socket(fileno=options.fd)
    sock.setblocking(True)
    sock.set_inheritable(False)  # a child of the handler's must not keep the connection open
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which drains first
    die_with_parent()
    _prepare_standard_streams()
    return serve(sock, _map_memory(options.memory_fd))


def _map_memory(fd: int | None) -> Arena | None:
    if fd is None:
        return None
    arena = Arena(fd, is_server=False)
    os.close(fd)
    return arena


def _prepare_standard_streams() -> None:
    """Give handlers a stdin that is empty and lines that appear when they are printed.

    Handlers' log records go to stdout, warnings of the runtime itself to stderr.
    """
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    own = logging.getLogger("flambeau")
    own.addHandler(logging.StreamHandler(sys.stderr))
    own.propagate = False


if __name__ == "__main__":
    sys.exit(main())
