"""The servers that are compared: how each is started with one worker and one batch size.

Each is a context manager that gives the address of its predictions and leaves no process behind.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.flambeau_server import flambeau_serving
from benchmarks.processes import ServerFailed, ServerProcess, free_port, running, wait_for_reply

HERE = Path(__file__).parent
PEERS = HERE / "peers"
ECHO_MODEL = HERE / "echo_model"
ECHO = "echo"
DELAY_MS = 1
"""mosec's and LitServe's longest wait for a batch. Longer ones cost mosec throughput here, so this is its best."""
TORCHSERVE_DELAY_MS = 5


@dataclass(frozen=True, kw_only=True)
class EchoSetup:
    """What all contestants are given in one run."""

    batch_size: int
    body: bytes
    """A JSON object without white space, so that LitServe's reply can be compared byte by byte as well."""
    peers_python: Path


@dataclass(frozen=True)
class Contestant:
    """One server of the comparison."""

    name: str
    distribution: str
    """The package whose version is reported."""
    serve: Callable[[EchoSetup, Path], AbstractContextManager[tuple[ServerProcess, str]]]
    """Takes the set-up and an empty folder; gives the server and its URL for predictions, which may not answer yet."""
    content_type: str = "application/octet-stream"
    is_peer: bool = True
    """Whether it runs in the peers' environment."""

    def version(self, peers_python: Path) -> str:
        """The installed version; ``missing`` where there is none."""
        if not self.is_peer:
            return importlib.metadata.version(self.distribution)
        question = f"import importlib.metadata as m; print(m.version({self.distribution!r}))"
        answer = subprocess.run([peers_python, "-c", question], capture_output=True, text=True, check=False)
        return answer.stdout.strip() or "missing"

    def missing(self, peers_python: Path) -> str | None:
        """What must be installed before it can run, as a sentence; None when it can."""
        if self.is_peer and not peers_python.exists():
            return f"{self.name} needs the peers' environment at {peers_python}: make bench-peers"
        if self.name == "torchserve" and shutil.which("java") is None:
            return "torchserve needs Java; on Debian or Ubuntu: apt-get install openjdk-17-jre-headless"
        return None

    @contextmanager
    def echoing(self, setup: EchoSetup) -> Iterator[str]:
        """Serve, and give the URL once what it answers is an echo. Raises ServerFailed where it is not."""
        with tempfile.TemporaryDirectory(prefix="echo-") as folder, self.serve(setup, Path(folder)) as (server, url):
            reply = wait_for_reply(server, url, setup.body, self.content_type)
            if reply != setup.body:
                raise ServerFailed(f"{self.name} does not echo: {reply[:80]!r}")
            yield url


def write_echo_model(store: Path, *, batch_size: int, max_batch_delay_ms: int | None = None) -> Path:
    """An unpacked archive of the echo handler, with one worker and the given or the default delay. Returns its path."""
    model = store / ECHO
    (model / "MAR-INF").mkdir(parents=True)
    shutil.copy(ECHO_MODEL / "handler.py", model)
    settings: dict[str, int] = {"minWorkers": 1, "maxWorkers": 1, "batchSize": batch_size}
    if max_batch_delay_ms is not None:
        settings["maxBatchDelay"] = max_batch_delay_ms
    (model / "model-config.yaml").write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
    manifest = {
        "createdOn": "01/01/2025 00:00:00",
        "runtime": "python",
        "archiverVersion": "0.12.0",
        "model": {"modelName": ECHO, "modelVersion": "1.0", "handler": "handler.py", "configFile": "model-config.yaml"},
    }
    (model / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest))
    return model


@contextmanager
def _serve_flambeau(setup: EchoSetup, folder: Path) -> Iterator[tuple[ServerProcess, str]]:
    model = write_echo_model(folder, batch_size=setup.batch_size)
    with flambeau_serving(model, folder) as server:
        yield server.process, server.predictions(ECHO)


@contextmanager
def _serve_torchserve(setup: EchoSetup, folder: Path) -> Iterator[tuple[ServerProcess, str]]:
    store = folder / "store"
    write_echo_model(store, batch_size=setup.batch_size, max_batch_delay_ms=TORCHSERVE_DELAY_MS)
    port, others = free_port(), [free_port() for _ in range(4)]
    properties = {
        "inference_address": f"http://127.0.0.1:{port}",
        "management_address": f"http://127.0.0.1:{others[0]}",
        "metrics_address": f"http://127.0.0.1:{others[1]}",
        "grpc_inference_port": others[2],
        "grpc_management_port": others[3],
    }
    config = folder / "config.properties"
    config.write_text("".join(f"{key}={value}\n" for key, value in properties.items()))
    command = [setup.peers_python, "-m", "ts.model_server", "--start", "--foreground", "--disable-token-auth", "--ncs"]
    command += ["--model-store", store, "--models", ECHO, "--ts-config", config]
    search_path = os.pathsep.join([str(setup.peers_python.parent), os.environ["PATH"]])
    environment = {"TEMP": str(folder), "PATH": search_path}
    with running([str(word) for word in command], folder=folder, environment=environment) as server:
        yield server, f"http://127.0.0.1:{port}/predictions/{ECHO}"


@contextmanager
def _serve_peer_script(
    script: str, options: Sequence[str], url: str, setup: EchoSetup, folder: Path
) -> Iterator[tuple[ServerProcess, str]]:
    command = [str(setup.peers_python), str(PEERS / script), *options]
    environment = {"ECHO_BATCH_SIZE": str(setup.batch_size), "ECHO_DELAY_MS": str(DELAY_MS)}
    with running(command, folder=folder, environment=environment) as server:
        yield server, url


def _serve_mosec(setup: EchoSetup, folder: Path) -> AbstractContextManager[tuple[ServerProcess, str]]:
    port = free_port()
    options = ["--address", "127.0.0.1", "--port", str(port)]
    return _serve_peer_script("mosec_echo.py", options, f"http://127.0.0.1:{port}/inference", setup, folder)


def _serve_litserve(setup: EchoSetup, folder: Path) -> AbstractContextManager[tuple[ServerProcess, str]]:
    port = free_port()
    return _serve_peer_script("litserve_echo.py", [str(port)], f"http://127.0.0.1:{port}/predict", setup, folder)


@contextmanager
def _serve_bare(setup: EchoSetup, folder: Path) -> Iterator[tuple[ServerProcess, str]]:
    port = free_port()
    with running([sys.executable, str(PEERS / "bare_echo.py"), str(port)], folder=folder) as server:
        yield server, f"http://127.0.0.1:{port}/"


CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant("flambeau", "flambeau", _serve_flambeau, is_peer=False),
        Contestant("mosec", "mosec", _serve_mosec),
        Contestant("litserve", "litserve", _serve_litserve, content_type="application/json"),
        Contestant("torchserve", "torchserve", _serve_torchserve),
        Contestant("bare", "httptools", _serve_bare, is_peer=False),
    )
}
