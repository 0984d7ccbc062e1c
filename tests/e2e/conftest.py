"""Servers that several tests share, and a model that does what its request says."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving import ServerProcess, wait_for, write_model

OBEDIENT = """
import json
import pathlib
import time


def handle(data, context):
    return None if data is None else [answer(row, context) for row in data]


def answer(row, context):
    body = bytes(row["body"])
    if not body.startswith(b"{"):
        return body
    order = json.loads(body)
    if "gate" in order:
        gate = pathlib.Path(order["gate"])
        gate.with_suffix(".reached").touch()
        deadline = time.monotonic() + 60
        while not gate.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
    if "note" in order:
        with open(order["note"], "a") as notes:
            notes.write("ran\\n")
    for name, value in order.get("headers", {}).items():
        context.set_response_header(0, name, value)
    if "status" in order:
        context.set_response_status(order["status"], order.get("phrase", ""))
    return bytes(order.get("size", 0))
"""
"""Echoes what is not JSON; else waits for a file, leaves a note, sets headers and status, answers with zeros."""

PREDICT = "/predictions/obedient"


class Gate:
    """Holds the model up in the middle of a request until it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def wait_until_reached(self) -> None:
        wait_for("request at the gate", self.path.with_suffix(".reached").exists)

    def open(self) -> None:
        self.path.touch()


def order(**what: Any) -> bytes:
    """A request body for the model."""
    return json.dumps(what, default=str).encode()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models"), "obedient", OBEDIENT)


@pytest.fixture(scope="session")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One worker, one row a batch, default limits."""
    folder = tmp_path_factory.mktemp("server")
    with ServerProcess(model, folder=folder, options=["--workers", "1"]) as running:
        yield running


@pytest.fixture(scope="session")
def strict_server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Limits so low that tests can meet them."""
    settings = {
        "http_idle_timeout_s": 1,
        "http_request_timeout_s": 1,
        "http_write_timeout_s": 1,
        "http_max_connections": 5,
        "http_max_header_bytes": 4096,
        "http_max_headers": 16,
        "max_request_size": 200_000,
    }
    options = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    folder = tmp_path_factory.mktemp("strict-server")
    with ServerProcess(model, folder=folder, options=["--workers", "1", *options]) as running:
        yield running


@pytest.fixture
def start(model: Path, tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts a server of the test's own with further options; it is stopped after the test unless the test did."""
    started: list[ServerProcess] = []

    def start(*options: str) -> ServerProcess:
        server = ServerProcess(model, folder=tmp_path / f"server-{len(started)}", options=["--workers", "1", *options])
        started.append(server.__enter__())
        return server

    yield start
    for server in started:
        server.__exit__(None)


@pytest.fixture
def unused_url() -> str:
    """An address of this machine that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.open()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Certificate and key for localhost, signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(key)]
    subprocess.run(
        ["openssl", "req", "-x509", "-days", "2", *new_key, *subject, "-out", str(certificate)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return certificate, key
