"""A real server in a process of its own, and the certainty that nothing of it is left when the test is over.

Every process of one server carries a mark in its environment, so that a worker which outlived its server is found even
though it leads a session of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import httpx
import psutil

from flambeau.archive.manifest import MANIFEST_PATH, Manifest

START_TIMEOUT_S = 60.0
"""For listeners, then again for models: generous, because several test runs may share two cores."""
STOP_TIMEOUT_S = 30.0
POLL_S = 0.01

ECHO = """
def handle(data, context):
    return None if data is None else [row.get("body", row.get("data")) for row in data]
"""
"""Source of a handler that answers with what it was sent."""

_LISTENERS = {"inference": "--port", "management": "--management-port", "metrics": "--metrics-port"}
_GRPC_LISTENERS = {"grpc_inference": "--grpc-port", "grpc_management": "--grpc-management-port"}
_MARK = "FLAMBEAU_TEST_SERVER"
_SETTINGS_PREFIXES = ("TS_", "LOG_", "METRICS_")

_Value = TypeVar("_Value")


def write_model(
    parent: Path, name: str = "echo", source: str = ECHO, *, version: str = "1.0", config: str | None = None
) -> Path:
    """A model folder.

    Args:
        parent: folder that it is made in, as ``{name}-{version}``.
        source: of ``handler.py``, whose entry point is ``handle(data, context)``.
        config: text of ``model-config.yaml``.
    """
    folder = parent / f"{name}-{version}"
    manifest = Manifest(
        model_name=name,
        model_version=version,
        handler="handler.py:handle",
        config_file=None if config is None else "model-config.yaml",
    )
    (folder / MANIFEST_PATH).parent.mkdir(parents=True)
    (folder / MANIFEST_PATH).write_text(manifest.to_json())
    (folder / "handler.py").write_text(source)
    if config is not None:
        (folder / "model-config.yaml").write_text(config)
    return folder


def wait_for(what: str, probe: Callable[[], _Value | None], timeout_s: float = 10.0) -> _Value:
    """Call ``probe`` until it returns something true, and return that. Raises AssertionError at the deadline."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"no {what} within {timeout_s:g} s")
        time.sleep(POLL_S)


class ServerProcess:
    """``flambeau serve`` with free ports, for as long as a ``with`` block lasts.

    On entry it waits until the listeners are bound and all workers of all the models are ready. At the end of the block
    it stops the server with SIGTERM, unless the test did, and asserts that it ended well and left nothing behind. If
    the block fails, the server's output is printed for pytest to show.
    """

    inference: str
    """Base URL, without ``/`` at its end; ``unix:/path`` where the options say so."""
    management: str
    metrics: str
    grpc_inference: str | None
    """Host and port, as gRPC's channels take them; None where gRPC is off."""
    grpc_management: str | None

    def __init__(
        self,
        *models: Path | str,
        folder: Path,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        waits_for_models: bool = True,
    ) -> None:
        """
        Args:
            models: folders, archives or ``name=path``, as the command line takes them.
            folder: the server's working directory, logs, output and temporary files go here.
            options: further ones of ``flambeau serve``; ``--{listener}-address`` with a ``unix:`` path among them.
            environment: variables beside the inherited ones, of which none is a setting.
            waits_for_models: False where models cannot become ready, or management needs a token.
        """
        self.folder = folder
        self.log_dir = folder / "logs"
        self._model_count = len(models)
        self._waits_for_models = waits_for_models
        self._ready_file = folder / "ready.json"
        self._temp_dir = folder / "tmp"
        self._mark = uuid.uuid4().hex
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS_PREFIXES)}
        self._environment = {
            **inherited,
            "TMPDIR": str(self._temp_dir),
            "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),  # torch's, which it keeps by design
            "COLUMNS": "200",
            **(environment or {}),
            _MARK: self._mark,
        }
        command = [str(Path(sys.executable).with_name("flambeau")), "serve", *map(str, models)]
        command += ["--ready-file", str(self._ready_file), "--log-dir", str(self.log_dir), *options]
        for listener, port_option in {**_LISTENERS, **_GRPC_LISTENERS}.items():
            if port_option not in options and f"--{listener}-address" not in options:
                command += [port_option, "0"]
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ServerProcess:
        self._temp_dir.mkdir(parents=True, exist_ok=True)
        self._ready_file.unlink(missing_ok=True)  # that of a server which was killed says nothing of this one
        with (self.folder / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            ready = json.loads(self._wait("ready file", self._read_ready_file))
            self.inference, self.management, self.metrics = (ready[f"{listener}_address"] for listener in _LISTENERS)
            self.grpc_inference, self.grpc_management = (
                ready[f"{listener}_address"].partition("://")[2] if f"{listener}_address" in ready else None
                for listener in _GRPC_LISTENERS
            )
            if self._waits_for_models and self._model_count:
                self.wait_until_ready()
        except BaseException:
            self._print_output()
            self._end_all()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and self.is_running:
                self.stop()
        except BaseException:
            self._print_output()
            raise
        finally:
            if kind is not None:
                self._print_output()
            self._end_all()

    # --- the process --------------------------------------------------------------------------------------------------

    @property
    def process(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("not started: use it as a context manager")
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server alone."""
        self.process.send_signal(number)

    def processes(self) -> list[psutil.Process]:
        """Everything that runs on behalf of this server, itself included."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def wait_ended(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Wait for the server to end by itself. Returns its exit status, negative for a signal."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"server did not end within {timeout_s:g} s") from None

    def stop(self) -> None:
        """SIGTERM; then assert that it ended with status 0 and :meth:`assert_nothing_is_left`."""
        self.signal(signal.SIGTERM)
        status = self.wait_ended()
        assert status == 0, f"server ended with status {status}"
        self.assert_nothing_is_left()

    def kill(self) -> None:
        """SIGKILL to the server alone; then assert that its workers end, too. What is in its temp dir stays."""
        self.process.kill()
        self.process.wait(STOP_TIMEOUT_S)
        wait_for("end of the workers", lambda: not self.processes())

    def assert_nothing_is_left(self) -> None:
        """No process, no temporary file, no socket file, no ready file."""
        assert not self.processes()
        left = [path.name for path in self._temp_dir.iterdir()]
        assert not left, f"left in the temporary directory: {left}"
        assert not [path for path in self.folder.rglob("*") if path.is_socket()]
        assert not self._ready_file.exists()

    # --- what it serves -----------------------------------------------------------------------------------------------

    def describe(self, model: str) -> list[dict[str, object]]:
        """Every version of a model, as the management API describes it."""
        reply = httpx.get(f"{self.management}/models/{model}/all", trust_env=False, timeout=10.0)
        reply.raise_for_status()
        descriptions: list[dict[str, object]] = reply.json()
        return descriptions

    def wait_until_ready(self, *names: str, workers: int = 1, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until models have workers and all of those are READY.

        Args:
            names: none: as many models as were named at start, whatever they are called.
            workers: the least number that each version must have.
        """
        with httpx.Client(base_url=self.management, trust_env=False, timeout=10.0) as client:
            self._wait("ready workers", lambda: self._is_ready(client, names, workers), timeout_s)

    def output(self) -> str:
        """What the server printed."""
        return (self.folder / "output.log").read_text(errors="replace")

    def log(self, name: str = "ts_log.log") -> str:
        """A log file's text; empty while there is none."""
        path = self.log_dir / name
        return path.read_text(errors="replace") if path.exists() else ""

    # --- inside -------------------------------------------------------------------------------------------------------

    def _wait(self, what: str, probe: Callable[[], _Value | None], timeout_s: float = START_TIMEOUT_S) -> _Value:
        def probe_living() -> _Value | None:
            value = probe()
            assert value or self.is_running, f"server ended with status {self.process.returncode}, {what} awaited"
            return value

        return wait_for(what, probe_living, timeout_s)

    def _read_ready_file(self) -> str | None:
        return self._ready_file.read_text() if self._ready_file.exists() else None

    def _is_ready(self, client: httpx.Client, names: Sequence[str], least: int) -> bool:
        expected = len(names) or self._model_count
        versions = []
        for name in names or [model["modelName"] for model in client.get("/models").json()["models"]]:
            reply = client.get(f"/models/{name}/all")
            if reply.status_code != 200:
                return False
            versions += reply.json()
        states = [[worker["status"] for worker in version["workers"]] for version in versions]
        return len(states) >= expected and all(len(of_one) >= least and set(of_one) == {"READY"} for of_one in states)

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(_MARK) == self._mark and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def _end_all(self) -> None:
        for process in self.processes():
            process.kill()
        self.process.wait(STOP_TIMEOUT_S)

    def _print_output(self) -> None:
        print(f"--- {' '.join(self._command)}\n{self.output()}--- ts_log.log\n{self.log()}")
