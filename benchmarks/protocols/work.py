"""What a base itself takes for a prediction: bytes in, bytes out, no socket.

``python -m benchmarks.protocols.work`` from the repository's root. Connections on a transport in memory get a request
of 64 bytes each, and the loop turns until all are answered by the model that answers in process. The least processor
time of the loop's thread over many repeats counts: others on the machine can only add to it, so that this says
something where ``benchmarks.protocol`` does not. Left out are the kernel's part, equal for all, and the logs' thread.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from benchmarks.protocols.bases import BASES
from benchmarks.protocols.path import ECHO, end_on_failure, prediction_path, quiet_collector
from benchmarks.report import Grid, show
from flambeau.request import Payload

CONNECTIONS = 64
LOG_PAUSE_S = 0.002
"""Rest after each repeat, without which the access log could not keep up and would drop lines, which is less work."""
BODY = b"x" * 64
REQUEST = (
    b"POST /predictions/%b HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/octet-stream\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (ECHO.encode(), len(BODY), BODY)
)


class MemoryTransport(asyncio.Transport):
    """Waits for responses to be written to it. Has nothing of one connection, so all may share it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 40000), "sockname": ("127.0.0.1", 8080)})
        self.awaited = 0
        self.answered = asyncio.Event()
        """Set when the last awaited response is written."""

    def write(self, data: Payload) -> None:
        if data.startswith(b"HTTP/1.1 200 "):
            self.awaited -= 1
            if not self.awaited:
                self.answered.set()

    def writelines(self, list_of_data: Sequence[Payload]) -> None:
        self.write(list_of_data[0])

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


async def answer_all(connections: Sequence[asyncio.Protocol], transport: MemoryTransport) -> None:
    """One request to each connection, until all are answered."""
    transport.awaited = len(connections)
    transport.answered.clear()
    for connection in connections:
        connection.data_received(REQUEST)
    await transport.answered.wait()


async def measure(repeats: int) -> dict[str, float]:
    """Least microseconds of processor time per request, by base."""
    asyncio.get_running_loop().set_exception_handler(end_on_failure)
    transport = MemoryTransport()
    with tempfile.TemporaryDirectory(prefix="protocol-work-") as folder:
        async with prediction_path(Path(folder)) as path:
            connections = {}
            for name, base in BASES.items():
                connect = base(path)
                connections[name] = [connect() for _ in range(CONNECTIONS)]
                for connection in connections[name]:
                    connection.connection_made(transport)
            quiet_collector()
            least_ns = dict.fromkeys(BASES, float("inf"))
            order = list(BASES)
            for _ in range(repeats):
                order.reverse()  # what comes first after a rest pays for cold caches
                for name in order:
                    started_ns = time.thread_time_ns()
                    await answer_all(connections[name], transport)
                    least_ns[name] = min(least_ns[name], time.thread_time_ns() - started_ns)
                await asyncio.sleep(LOG_PAUSE_S)
    return {name: value / CONNECTIONS / 1e3 for name, value in least_ns.items()}


def main(
    repeats: Annotated[int, typer.Option(min=1, help="The least of so many counts.")] = 1000,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
) -> None:
    """Compare what the bases do in Python, without sockets."""
    least_us = uvloop.run(measure(repeats))
    rows = tuple((name, f"{us:.1f}", f"{us / least_us['own']:.2f}") for name, us in least_us.items())
    title = f"64 bytes without a socket; least of {repeats} repeats"
    show(Console(), [Grid(title, ("base", "CPU µs/request", "÷ own"), rows)], as_markdown=as_markdown)


if __name__ == "__main__":
    typer.run(main)
