"""Token authorization of a real server: where the keys are, which call needs which, how long they are good."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.serving import ServerProcess, wait_for, write_model

REFUSED = {
    "code": 400,
    "type": "InvalidKeyException",
    "message": "Token Authorization failed. Token either incorrect, expired, or not provided correctly",
}
NOT_RENEWED = {**REFUSED, "message": REFUSED["message"].replace("Authorization", "Authentication")}


def keys(folder: Path) -> dict[str, str]:
    """The keys by what they are for."""
    content = json.loads((folder / "key_file.json").read_text())
    return {name: entry["key"] for name, entry in content.items()}


def bearer(folder: Path, name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {keys(folder)[name]}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("tokens")
    options = ["--token-auth", "--workers", "1"]
    with ServerProcess(write_model(folder), folder=folder, options=options, waits_for_models=False) as running:
        described = f"{running.management}/models/echo"
        allowed = bearer(folder, "management")
        with httpx.Client(headers=allowed, trust_env=False) as client:
            wait_for("worker", lambda: '"READY"' in client.get(described).text, timeout_s=60.0)
        yield running


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=30.0) as opened:
        yield opened


def test_only_their_owner_may_read_the_keys(server: ServerProcess) -> None:
    assert stat.S_IMODE((server.folder / "key_file.json").stat().st_mode) == 0o600
    assert keys(server.folder).keys() == {"management", "inference", "API"}


@pytest.mark.parametrize("target", ["/predictions/echo", "/predictions/nope", "/ping", "/nowhere", "/seen/predict"])
def test_calls_of_the_inference_port_need_its_key(server: ServerProcess, client: httpx.Client, target: str) -> None:
    url = f"{server.inference}{target}"
    for headers in ({}, bearer(server.folder, "management"), bearer(server.folder, "API"), {"Authorization": "x"}):
        reply = client.post(url, headers=headers)
        assert (reply.status_code, reply.json()) == (400, REFUSED)
        assert reply.headers["connection"] == "close"
    assert client.post(url, headers=bearer(server.folder, "inference")).status_code in (200, 404)


@pytest.mark.parametrize("call", ["GET /models", "GET /models/echo", "PUT /models/echo?min_worker=1", "GET /nowhere"])
def test_calls_of_the_management_port_need_its_key(server: ServerProcess, client: httpx.Client, call: str) -> None:
    method, target = call.split()
    url = f"{server.management}{target}"
    for headers in ({}, bearer(server.folder, "inference"), bearer(server.folder, "API")):
        reply = client.request(method, url, headers=headers)
        assert (reply.status_code, reply.json()) == (400, REFUSED)
    allowed = client.request(method, url, headers=bearer(server.folder, "management"))
    assert allowed.status_code in (200, 202, 404)


def test_a_prediction_with_the_key_is_answered_every_time(server: ServerProcess, client: httpx.Client) -> None:
    for body in (b"first", b"second"):
        url = f"{server.inference}/predictions/echo"
        assert client.post(url, content=body, headers=bearer(server.folder, "inference")).content == body
        assert client.post(url, content=body).status_code == 400


def test_metrics_and_descriptions_of_the_api_are_open(server: ServerProcess, client: httpx.Client) -> None:
    assert client.get(f"{server.metrics}/metrics").status_code == 200
    for port in (server.inference, server.management, server.metrics):
        assert client.options(port).status_code == 200
        assert client.get(f"{port}/api-description").status_code == 200


@pytest.mark.parametrize("kind", ["inference", "management"])
def test_a_key_is_renewed_with_the_api_key(server: ServerProcess, client: httpx.Client, kind: str) -> None:
    old = keys(server.folder)
    renewed = client.get(f"{server.management}/token?type={kind}", headers=bearer(server.folder, "API"))
    assert (renewed.status_code, renewed.content) == (200, b"\n")
    assert renewed.headers["content-type"] == "application/json"
    new = keys(server.folder)
    assert {name for name in old if old[name] != new[name]} == {kind}
    assert stat.S_IMODE((server.folder / "key_file.json").stat().st_mode) == 0o600
    url = {"inference": f"{server.inference}/ping", "management": f"{server.management}/models"}[kind]
    assert client.get(url, headers={"Authorization": f"Bearer {old[kind]}"}).json() == REFUSED
    assert client.get(url, headers={"Authorization": f"Bearer {new[kind]}"}).status_code == 200


@pytest.mark.parametrize(
    ("target", "key"),
    [("/token?type=inference", "management"), ("/token?type=API", "API"), ("/token", "API")],
)
def test_a_key_is_not_renewed_otherwise(server: ServerProcess, client: httpx.Client, target: str, key: str) -> None:
    before = keys(server.folder)
    reply = client.get(f"{server.management}{target}", headers=bearer(server.folder, key))
    assert (reply.status_code, reply.json()) == (400, NOT_RENEWED)
    assert keys(server.folder) == before


def test_keys_expire_and_are_gone_with_their_server(tmp_path: Path, client: httpx.Client) -> None:
    (tmp_path / "store").mkdir()
    options = ["--token-auth", "--model-store", str(tmp_path / "store"), "--set", "token_expiration_min=0.04"]
    with ServerProcess(folder=tmp_path, options=options) as server:
        models = f"{server.management}/models"
        expired = bearer(tmp_path, "management")
        wait_for("expiry", lambda: client.get(models, headers=expired).json() == REFUSED)
        renewal = client.get(f"{server.management}/token?type=management", headers=bearer(tmp_path, "API"))
        assert renewal.status_code == 200
        assert client.get(models, headers=bearer(tmp_path, "management")).json() == {"models": []}
    assert not (tmp_path / "key_file.json").exists()


def test_on_loopback_no_token_is_asked_for(tmp_path: Path, client: httpx.Client) -> None:
    (tmp_path / "store").mkdir()
    with ServerProcess(folder=tmp_path, options=["--model-store", str(tmp_path / "store")]) as server:
        assert client.get(f"{server.management}/models").status_code == 200
        assert client.get(f"{server.management}/token?type=management").status_code == 404
        assert not (tmp_path / "key_file.json").exists()
