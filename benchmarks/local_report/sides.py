"""The processes that are compared: each side is started, warm, for as long as a block lasts, and measured on order."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contestants import write_echo_model
from benchmarks.flambeau_server import FlambeauServer, flambeau_serving
from benchmarks.local_report.load import LoadFailed
from benchmarks.local_report.measured import READY_WITHIN_S, ROOT, measure_together, measured_processes
from benchmarks.local_report.orders import Measure
from benchmarks.local_report.work import cores
from benchmarks.processes import POLL_S, ServerFailed, ServerProcess, free_port, running

WORK_MODULE = "benchmarks.local_report.work"


@dataclass(frozen=True)
class Setup:
    """What a side is started with."""

    batch_size: int
    row: Path
    """A file with the one row that is sent again and again."""
    archive: Path | None
    """The section's model as an archive, where it has one."""
    peers_python: Path


Start = Callable[[Setup], AbstractContextManager[Measure]]


@contextmanager
def _one_process(command: Sequence[str]) -> Iterator[Measure]:
    """A process in which each client is a thread."""
    with measured_processes([command]) as processes:
        yield lambda clients, window: measure_together(processes, clients, window)


@contextmanager
def _client_processes(command: Sequence[str], most: int) -> Iterator[Measure]:
    """A process a client; those beyond the clients of an order stay idle."""
    with measured_processes([command] * most) as processes:
        yield lambda clients, window: measure_together(processes[:clients], 1, window)


def _module(python: Path | str, name: str, *arguments: object) -> list[str]:
    return [str(python), "-m", name, *map(str, arguments)]


def bare(work: str, *, processes: int | None = None) -> Start:
    """The work in loops, as many as there are clients but no more than cores, or in ``processes`` whatever comes."""

    @contextmanager
    def start(setup: Setup) -> Iterator[Measure]:
        options = {"work": work, "row": str(setup.row), "batch_size": setup.batch_size}
        command = _module(sys.executable, "benchmarks.local_report.bare_side", json.dumps(options))
        with measured_processes([command] * (processes or cores())) as started:
            yield lambda clients, window: measure_together(started if processes else started[:clients], clients, window)

    return start


def flambeau_local(work: str | None = None, *, delay_ms: int = 0, **workers: int) -> Start:
    """``flambeau.load`` of the work, or of the section's archive where no work is named.

    Args:
        workers: ``workers`` or ``processes``, as ``load`` takes them; neither: one worker of the calling process.
    """

    @contextmanager
    def start(setup: Setup) -> Iterator[Measure]:
        load = {"batch_size": setup.batch_size, "max_batch_delay_ms": delay_ms, **workers}
        source = f"{WORK_MODULE}:{work}" if work else str(setup.archive)
        options = {"source": source, "row": str(setup.row), "load": load}
        with _one_process(
            _module(sys.executable, "benchmarks.local_report.flambeau_side", json.dumps(options))
        ) as measure:
            yield measure

    return start


def torchpipe(
    work: str, *, delay_ms: int = 0, instances: int = 1, backend: str = "python", caller: str = "dict"
) -> Start:
    """torchpipe in the peers' environment; see ``benchmarks/peers/torchpipe_side.py``."""

    @contextmanager
    def start(setup: Setup) -> Iterator[Measure]:
        options = {
            "work": work,
            "row": str(setup.row),
            "batch_size": setup.batch_size,
            "delay_ms": delay_ms,
            "instances": instances,
            "backend": backend,
            "caller": caller,
        }
        with _one_process(_module(_peers(setup), "benchmarks.peers.torchpipe_side", json.dumps(options))) as measure:
            yield measure

    return start


def thrift(kind: str, *, clients: int) -> Start:
    """A thrift server, ``alone`` or with ``torchpipe`` behind it, and clients in processes of their own."""

    @contextmanager
    def start(setup: Setup) -> Iterator[Measure]:
        port = free_port()
        python = _peers(setup)
        with tempfile.TemporaryDirectory(prefix="thrift-") as folder:
            command = _module(python, "benchmarks.peers.thrift_server", port, kind)
            with running(command, folder=Path(folder), environment={"PYTHONPATH": str(ROOT)}) as server:
                _wait_for_port(server, port)
                client = _module(python, "benchmarks.peers.thrift_client", port, setup.row)
                with _client_processes(client, clients) as measure:
                    yield measure

    return start


def flambeau_http(model_name: str, *, clients: int) -> Start:
    """``flambeau serve`` of the section's archive, and clients in processes of their own."""

    @contextmanager
    def start(setup: Setup) -> Iterator[Measure]:
        with _serving(setup) as server:
            command = _module(
                sys.executable, "benchmarks.local_report.http_client", server.predictions(model_name), setup.row
            )
            with _client_processes(command, clients) as measure:
                yield measure

    return start


def flambeau_grpc(model_name: str, *, clients: int) -> Start:
    """The same over gRPC."""

    @contextmanager
    def start(setup: Setup) -> Iterator[Measure]:
        with _serving(setup) as server:
            command = _module(
                sys.executable, "benchmarks.local_report.grpc_client", server.grpc_target, model_name, setup.row
            )
            with _client_processes(command, clients) as measure:
                yield measure

    return start


@contextmanager
def _serving(setup: Setup) -> Iterator[FlambeauServer]:
    """The section's archive, or the echo model where it has none, with one worker."""
    with tempfile.TemporaryDirectory(prefix="served-") as name:
        folder = Path(name)
        model = setup.archive or write_echo_model(folder, batch_size=setup.batch_size)
        with flambeau_serving(model, folder) as server:
            yield server


def _wait_for_port(server: ServerProcess, port: int) -> None:
    """Raises ServerFailed when the server ends, or nobody listens after a while."""
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        server.check_alive()
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise ServerFailed(f"nobody listens at port {port}\n{server.recent_output()}") from None
        time.sleep(POLL_S)


def _peers(setup: Setup) -> Path:
    if not setup.peers_python.exists():
        raise LoadFailed(f"no peers' environment at {setup.peers_python}: make bench-peers")
    return setup.peers_python


def peer_versions(peers_python: Path, packages: Sequence[str]) -> dict[str, str]:
    """Versions of what is installed in the peers' environment; ``missing`` for what is not."""
    if not peers_python.exists():
        return dict.fromkeys(packages, "missing")
    question = (
        "import importlib.metadata as m, json, sys\n"
        "installed = {d.name: d.version for d in m.distributions()}\n"
        "print(json.dumps({name: installed.get(name, 'missing') for name in sys.argv[1:]}))"
    )
    answer = subprocess.run([peers_python, "-c", question, *packages], capture_output=True, text=True, check=True)
    versions: dict[str, str] = json.loads(answer.stdout)
    return versions
