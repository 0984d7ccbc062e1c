"""The ``torchserve`` command as an operator uses it: an archive served with tokens, logs, snapshots and a restart."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.serving import ECHO, START_TIMEOUT_S, STOP_TIMEOUT_S, wait_for

BIN = Path(sys.executable).parent


class TorchServe:
    """A folder with a model store, a properties file and an environment, in which the commands are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        self._starts = 0
        (folder / "tmp").mkdir()
        inherited = {key: text for key, text in os.environ.items() if not key.startswith(("TS_", "LOG_", "METRICS_"))}
        self._environment = {**inherited, "TMPDIR": str(folder / "tmp"), "COLUMNS": "200"}
        self.inference, self.management, metrics = (f"http://127.0.0.1:{port}" for port in _free_ports(3))
        (folder / "config.properties").write_text(
            f"inference_address={self.inference}\n"
            f"management_address={self.management}\n"
            f"metrics_address={metrics}\n"
            "grpc_inference_port=0\n"
            "grpc_management_port=0\n"
            f"model_store={self.store}\n"
            "default_workers_per_model=1\n"
        )

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [str(BIN / command[0]), *command[1:]],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    @contextmanager
    def serving(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """``torchserve --foreground`` until the block ends; ended by SIGTERM, status 0."""
        with (self.folder / "output.log").open("ab") as output:
            server = subprocess.Popen(
                [str(BIN / "torchserve"), "--foreground", *options],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            self._starts += 1
            wait_for("start", lambda: self.output().count("Model server started.") == self._starts, START_TIMEOUT_S)
            yield server
            server.send_signal(signal.SIGTERM)
            assert server.wait(STOP_TIMEOUT_S) == 0
        finally:
            server.kill()
            server.wait(STOP_TIMEOUT_S)

    def output(self) -> str:
        """What the servers printed."""
        return (self.folder / "output.log").read_text(errors="replace")

    def bearer(self, name: str) -> dict[str, str]:
        content = json.loads((self.folder / "key_file.json").read_text())
        return {"Authorization": f"Bearer {content[name]['key']}"}

    def workers(self, model: str, headers: dict[str, str] | None = None) -> list[str]:
        """The states of a model's workers; empty while it is not registered."""
        reply = httpx.get(f"{self.management}/models/{model}", headers=headers, trust_env=False, timeout=10.0)
        return [worker["status"] for worker in reply.json()[0]["workers"]] if reply.status_code == 200 else []


def _free_ports(count: int) -> Sequence[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.fixture
def torchserve(tmp_path: Path) -> TorchServe:
    """With ``echo.mar`` in its store, made by ``torch-model-archiver``."""
    command = TorchServe(tmp_path)
    (tmp_path / "handler.py").write_text(ECHO)
    options = ("--model-name", "echo", "--version", "1.0", "--handler", "handler.py", "--export-path", "store")
    made = command.run("torch-model-archiver", *options)
    assert made.returncode == 0, made.stderr
    return command


def test_calls_need_tokens_unless_the_operator_says_otherwise(torchserve: TorchServe) -> None:
    with torchserve.serving("--models", "echo=echo.mar", "--ncs"):
        management, inference = torchserve.bearer("management"), torchserve.bearer("inference")
        wait_for("worker", lambda: torchserve.workers("echo", management) == ["READY"], START_TIMEOUT_S)
        url = f"{torchserve.inference}/predictions/echo"
        assert httpx.post(url, content=b"x", trust_env=False).status_code == 400
        assert httpx.post(url, content=b"x", headers=inference, trust_env=False).content == b"x"
    assert not (torchserve.folder / "key_file.json").exists()


def test_the_console_shows_all_logs_in_torchserves_format(torchserve: TorchServe) -> None:
    with torchserve.serving("--models", "all", "--disable-token-auth", "--ncs"):
        wait_for("worker", lambda: torchserve.workers("echo") == ["READY"], START_TIMEOUT_S)
        httpx.post(f"{torchserve.inference}/predictions/echo", content=b"x", trust_env=False)
    output = torchserve.output()
    stamp = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d,\d{3} \[INFO \] "
    for line in (
        rf'{stamp}main ACCESS_LOG - /127\.0\.0\.1:\d+ "POST /predictions/echo HTTP/1\.1" 200 \d+$',
        rf"{stamp}main TS_METRICS - Requests2XX\.Count:\d+\.0\|#Level:Host\|#hostname:[^,]+,timestamp:\d+$",
        rf"{stamp}main MODEL_METRICS - PredictionTime\.ms:\d+\.\d+\|#ModelName:echo,Level:Model\|#hostname:",
        rf"{stamp}\S+ \S+ - Model echo loaded\.$",
        rf"{stamp}\S+ \S+ - Torch worker started\.$",
        rf"{stamp}\S+ \S+ - W-9000-echo_1\.0 State change WORKER_STARTED -> WORKER_MODEL_LOADED$",
    ):
        assert re.search(line, output, re.MULTILINE), line


def test_a_restart_brings_back_what_was_served(torchserve: TorchServe) -> None:
    options = ("--disable-token-auth", "--enable-model-api")
    with torchserve.serving(*options):
        assert torchserve.workers("echo") == []
        register = f"{torchserve.management}/models?url=echo.mar&model_name=mine&initial_workers=1&batch_size=3"
        httpx.post(register, trust_env=False, timeout=30.0).raise_for_status()
        scale = f"{torchserve.management}/models/mine?min_worker=2&synchronous=true"
        httpx.put(scale, trust_env=False, timeout=30.0).raise_for_status()
    with torchserve.serving(*options):
        wait_for("workers", lambda: torchserve.workers("mine") == ["READY"] * 2, START_TIMEOUT_S)
        [version] = httpx.get(f"{torchserve.management}/models/mine", trust_env=False).json()
        assert (version["batchSize"], version["minWorkers"], version["modelUrl"]) == (3, 2, "echo.mar")
    with torchserve.serving(*options, "--ncs"):
        assert httpx.get(f"{torchserve.management}/models", trust_env=False).json() == {"models": []}


def test_options_without_a_meaning_here_are_accepted(torchserve: TorchServe) -> None:
    (torchserve.folder / "log4j2.xml").write_text("<Configuration/>")
    (torchserve.folder / "workflows").mkdir()
    accepted = ("--log-config", "log4j2.xml", "--workflow-store", "workflows", "--plugins-path", "nowhere")
    with torchserve.serving(*accepted, "--disable-token-auth", "--ncs"):
        assert httpx.get(f"{torchserve.inference}/ping", trust_env=False).json() == {"status": "Healthy"}
