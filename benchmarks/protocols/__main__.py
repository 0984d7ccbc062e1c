"""One base as a server process: ``python -m benchmarks.protocols BASE READY_FILE [MODEL]``, in a folder of its own.

Binds a free port of loopback, names it in the ready file and serves until SIGTERM. Without a model, ``echo`` answers in
process.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import uvloop

from benchmarks.protocols.bases import BASES
from benchmarks.protocols.path import end_on_failure, prediction_path, quiet_collector
from flambeau.cli.ready_file import ReadyFile
from flambeau.config.server import Address
from flambeau.listeners import Listener
from flambeau.workers.allocator import keep_freed_memory


async def serve(base: str, ready_file: ReadyFile, model: Path | None) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(end_on_failure)
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    async with prediction_path(Path.cwd(), model) as path:
        listener = await Listener.bind(Address("http", "127.0.0.1"), BASES[base](path), None)
        quiet_collector()
        ready_file.write({"address": str(listener.address)})
        await stopping.wait()
        listener.close()


if __name__ == "__main__":
    name, ready_path, *models = sys.argv[1:]
    keep_freed_memory()  # as the server does
    uvloop.run(serve(name, ReadyFile(Path(ready_path)), Path(models[0]) if models else None))
