"""The management API of a real server: real archives, real workers, TorchServe's replies."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from openapi_spec_validator import validate

from flambeau.archive.plan import ArchiveSpec
from flambeau.archive.writer import write_archive
from tests.compat.scenarios import Scenario, difference, load
from tests.serving import ECHO, ServerProcess, write_model

SCENARIOS = list(load(Path(__file__).parents[1] / "compat" / "management"))

BROKEN = """
raise RuntimeError("no weights here")
"""
DESCRIBED = """
def handle(data, context):
    if data is None:
        return None
    return [{"labels": ["cat", "dog"]} if context.get_request_header(0, "describe") == "True" else "prediction"]
"""


class Servers:
    """One server for each need of the scenarios, started when the first asks for it. All have the same model store."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._running: dict[bool, ServerProcess] = {}
        self.store = folder / "store"
        self.store.mkdir()

    def with_model_api(self, enabled: bool) -> ServerProcess:
        if enabled not in self._running:
            folder = self._folder / f"model-api-{enabled}"
            folder.mkdir()
            options = ["--model-store", str(self.store), *(["--enable-model-api"] if enabled else [])]
            self._running[enabled] = self._stack.enter_context(ServerProcess(folder=folder, options=options))
        return self._running[enabled]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(tmp_path_factory.mktemp("management"), stack)


@pytest.fixture
def server(servers: Servers) -> Iterator[ServerProcess]:
    """A server that lets clients register models, and has none."""
    running = servers.with_model_api(True)
    yield running
    unregister_all(running)


@pytest.fixture
def management(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.management, trust_env=False, timeout=30.0) as client:
        yield client


def pack(store: Path, file_name: str, model_name: str, version: str = "1.0", source: str = ECHO) -> None:
    """Put an archive into the store, unless it is there."""
    if (store / file_name).exists():
        return
    handler = store.parent / "handler.py"
    handler.write_text(source)
    spec = ArchiveSpec(model_name=model_name, version=version, handler=f"{handler}:handle", export_path=store.parent)
    write_archive(spec).rename(store / file_name)


def unregister_all(server: ServerProcess) -> None:
    with httpx.Client(base_url=server.management, trust_env=False, timeout=30.0) as client:
        for name in [model["modelName"] for model in client.get("/models").json()["models"]]:
            numbers = [version["modelVersion"] for version in client.get(f"/models/{name}/all").json()]
            client.put(f"/models/{name}/{numbers[-1]}/set-default")
            for number in numbers:
                client.delete(f"/models/{name}/{number}").raise_for_status()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_real_server_answers_as_torchserve_does(scenario: Scenario, servers: Servers) -> None:
    for file_name, archive in scenario.archives.items():
        pack(servers.store, file_name, archive["model_name"], archive["version"])
    server = servers.with_model_api(scenario.model_api)
    found = []
    with httpx.Client(base_url=server.management, trust_env=False, timeout=30.0) as client:
        for step in scenario.steps:
            url = f"{server.management}{step.target}"
            reply = client.request(step.method, url, headers=step.headers, content=step.body)
            found.append(difference(step, reply.status_code, reply.content))
    if scenario.model_api:
        unregister_all(server)
    assert [one for one in found if one] == []


# --- what is refused --------------------------------------------------------------------------------------------------


def error(status: int, type_name: str, message: str) -> tuple[int, dict[str, object]]:
    return status, {"code": status, "type": type_name, "message": message}


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (
            {"url": "noop.mar", "runtime": "java"},
            error(400, "BadRequestException", "Invalid RuntimeType value: java"),
        ),
        (
            {"url": "noop.mar", "s3_sse_kms": "true"},
            error(
                400,
                "BadRequestException",
                "Parameter s3_sse_kms is not supported: give a URL that is signed already.",
            ),
        ),
        (
            {"url": "noop.mar", "model_name": "a/b"},
            error(400, "InvalidModelException", "Model name 'a/b' cannot stand in a URL."),
        ),
        (
            {"url": "../noop.mar"},
            error(404, "ModelNotFoundException", "Relative path is not allowed in url: ../noop.mar"),
        ),
        (
            {"url": "ftp://example.com/noop.mar"},
            error(404, "ModelNotFoundException", "Model not found at: ftp://example.com/noop.mar"),
        ),
        (
            {"url": "http://127.0.0.1:1/other.mar"},
            error(
                400,
                "DownloadArchiveException",
                "Failed to download archive from: http://127.0.0.1:1/other.mar "
                "(private addresses are not allowed, see allow_private_urls)",
            ),
        ),
        (
            {"url": "http://127.0.0.1:1/noop.mar"},
            error(500, "InternalServerException", "Model file already exists noop.mar"),
        ),
    ],
    ids=lambda value: next(iter(set(value) - {"url"}), value["url"]) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("encoding", ["query", "json"])
def test_a_registration_that_cannot_be_is_refused(
    management: httpx.Client,
    servers: Servers,
    parameters: dict[str, str],
    expected: tuple[int, dict[str, object]],
    encoding: str,
) -> None:
    pack(servers.store, "noop.mar", "noop")
    given = {"params": parameters} if encoding == "query" else {"json": parameters}
    reply = management.post("/models", **given)
    assert (reply.status_code, reply.json()) == expected
    assert management.get("/models").json() == {"models": []}


def test_an_archive_whose_name_no_url_can_have_is_refused(management: httpx.Client, tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    manifest = folder / "MAR-INF" / "MANIFEST.json"
    manifest.write_text(manifest.read_text().replace('"echo"', '"../echo"'))
    reply = management.post("/models", params={"url": str(folder)})
    assert (reply.status_code, reply.json()) == error(
        400, "InvalidModelException", "Model name '../echo' cannot stand in a URL."
    )


def test_a_version_whose_worker_cannot_load_is_taken_back(management: httpx.Client, servers: Servers) -> None:
    pack(servers.store, "broken.mar", "broken", source=BROKEN)
    reply = management.post("/models", params={"url": "broken.mar", "initial_workers": 1})
    assert reply.status_code == 500
    assert reply.json()["type"] == "InternalServerException"
    assert reply.json()["message"].startswith("Failed to start workers for model broken version: 1.0")
    assert management.get("/models/broken").status_code == 404


# --- what a registered model says -------------------------------------------------------------------------------------


def test_a_handler_describes_itself(management: httpx.Client, servers: Servers) -> None:
    pack(servers.store, "described.mar", "described", source=DESCRIBED)
    management.post("/models", params={"url": "described.mar", "initial_workers": 1}).raise_for_status()
    reply = management.get("/models/described", params={"customized": "TRUE"})
    assert reply.json()[0]["customizedMetadata"] == {"labels": ["cat", "dog"]}
    assert "customizedMetadata" not in management.get("/models/described").json()[0]
    assert "customizedMetadata" not in management.get("/models/described/all?customized=true").json()[0]


def test_every_document_of_the_api_is_valid_openapi(management: httpx.Client, servers: Servers) -> None:
    pack(servers.store, "noop.mar", "noop")
    management.post("/models", params={"url": "noop.mar"}).raise_for_status()
    documents = [
        management.options("/"),
        management.get("/api-description"),
        management.options("/models/noop"),
        management.options("/models/noop/1.0"),
    ]
    for reply in documents:
        assert reply.headers["content-type"] == "application/json"
        validate(reply.json())
    titles = [reply.json()["info"]["title"] for reply in documents]
    assert titles == ["TorchServe APIs"] * 2 + ["RESTful Management API for: noop"] * 2
    assert documents[0].json()["openapi"] == "3.0.1"


def test_head_is_get_without_a_body(management: httpx.Client) -> None:
    reply = management.head("/models")
    assert (reply.status_code, reply.content) == (200, b"")
    assert reply.headers["content-length"] == str(len(management.get("/models").content))


# --- one port for all -------------------------------------------------------------------------------------------------


def test_one_port_serves_everything_where_the_addresses_are_equal(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    options = ["--port", port, "--management-port", port, "--metrics-mode", "prometheus"]
    with (
        ServerProcess(write_model(tmp_path), folder=tmp_path, options=options) as server,
        httpx.Client(base_url=server.inference, trust_env=False) as client,
    ):
        assert server.management == server.inference
        assert client.post("/predictions/echo", content=b"x").content == b"x"
        assert client.get("/ping").json() == {"status": "Healthy"}
        assert client.get("/models").json()["models"][0]["modelName"] == "echo"
        assert client.put("/models/echo?min_worker=1&synchronous=true").status_code == 200
        assert client.post("/models/echo/invoke", content=b"y").content == b"y"
        assert client.get("/v1/models/echo").json() == {"name": "echo", "ready": True}
        assert client.get("/metrics").text.startswith("# HELP ")
        assert httpx.get(f"{server.metrics}/metrics", trust_env=False).text.startswith("# HELP ")
        described = client.options("/").json()
        validate(described)
        assert {"/predictions/{model_name}", "/models", "/metrics"} <= set(described["paths"])
        assert client.options("/models/echo").json()["info"]["title"] == "RESTful Management API for: echo"
        assert client.options("/predictions/echo").json()["info"]["title"] == "RESTful API for: echo"
        assert client.get("/nowhere").status_code == 404
