"""The inference port of a real server with real workers: TorchServe's scenarios, and what a scenario cannot say."""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from openapi_spec_validator import validate

from tests.compat.prediction_scenarios import HANDLERS, PredictionScenario, load, play, send
from tests.serving import ServerProcess, write_model

SCENARIOS = list(load(HANDLERS.with_name("predictions")))


class Servers:
    """One server for all scenarios that have the same models and options, started when the first asks for it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._running: dict[tuple[tuple[str, ...], tuple[str, ...]], ServerProcess] = {}

    def serving(self, models: tuple[str, ...], options: tuple[str, ...] = ()) -> ServerProcess:
        key = models, options
        if key not in self._running:
            folder = self._folder / str(len(self._running))
            folder.mkdir()
            folders = [self._write(folder, *model.split(":")) for model in models]
            workers = ["--workers", "1"]
            self._running[key] = self._stack.enter_context(
                ServerProcess(*folders, folder=folder, options=[*workers, *options])
            )
        return self._running[key]

    @staticmethod
    def _write(folder: Path, name: str, version: str = "1.0") -> Path:
        return write_model(folder, name, (HANDLERS / f"{name}.py").read_text(), version=version)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(tmp_path_factory.mktemp("predictions"), stack)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_predictions_are_answered_as_torchserve_does(scenario: PredictionScenario, servers: Servers) -> None:
    server = servers.serving(scenario.models, scenario.options)
    found = [play(step, server.inference) for step in scenario.steps]
    assert [one for one in found if one] == []


# --- one server for what follows --------------------------------------------------------------------------------------

MODELS = ("seen", "script", "seen:2.0")
COMMON_HEADERS = {
    "Pragma": "no-cache",
    "Cache-Control": "no-cache; no-store, must-revalidate, private",
    "Expires": "Thu, 01 Jan 1970 00:00:00 UTC",
}


@pytest.fixture
def server(servers: Servers) -> ServerProcess:
    return servers.serving(MODELS)


@pytest.fixture
def connection(server: ServerProcess) -> Iterator[http.client.HTTPConnection]:
    """A connection to the inference port that a test may keep."""
    opened = http.client.HTTPConnection(urlsplit(server.inference).netloc, timeout=30.0)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "further"),
    [
        ("POST", "/predictions/seen", b"x", 200, {}),
        ("POST", "/predictions/script", b"raise ValueError", 503, {"content-type": "application/json"}),
        ("POST", "/predictions/nope", b"x", 404, {"content-type": "application/json"}),
        ("GET", "/ping", b"", 200, {"content-type": "application/json"}),
        ("GET", "/nowhere", b"", 404, {"content-type": "application/json"}),
        ("OPTIONS", "/", b"", 200, {"content-type": "application/json"}),
    ],
)
def test_every_reply_has_the_common_headers_and_no_others(
    server: ServerProcess, method: str, target: str, body: bytes, status: int, further: Mapping[str, str]
) -> None:
    reply = send(server.inference, method, target, {"Content-Type": "text/plain"}, body)
    headers = dict(reply.headers)
    assert len(headers) == len(reply.headers)
    request_id = headers.pop("x-request-id")
    assert uuid.UUID(request_id).version == 4
    assert reply.status == status
    assert headers == {
        **COMMON_HEADERS,
        "content-length": str(len(reply.body)),
        "connection": "keep-alive" if status < 400 else "close",
        **further,
    }


def test_request_ids_differ(server: ServerProcess) -> None:
    ids = [dict(send(server.inference, "GET", "/ping").headers)["x-request-id"] for _ in range(3)]
    assert len(set(ids)) == 3


def test_the_client_of_a_chunked_upload_need_not_know_its_length(connection: http.client.HTTPConnection) -> None:
    connection.request("POST", "/predictions/seen", iter([b"in ", b"two"]), encode_chunked=True)
    seen = json.loads(connection.getresponse().read())
    assert seen["row"] == {"body": ["bytearray", "in two"]}
    assert seen["headers"]["content-length"] == "6"


def test_a_connection_lasts_from_answer_to_answer_and_ends_after_an_error(
    connection: http.client.HTTPConnection,
) -> None:
    connection.request("POST", "/predictions/seen", b"x")
    connection.getresponse().read()
    first = connection.sock
    connection.request("POST", "/predictions/nope", b"x")
    assert connection.sock is first
    reply = connection.getresponse()
    reply.read()
    assert reply.will_close


def test_a_body_over_the_limit_is_refused(servers: Servers) -> None:
    (settings,) = (scenario for scenario in SCENARIOS if scenario.name == "settings")
    server = servers.serving(settings.models, settings.options)
    assert send(server.inference, "POST", "/predictions/seen", body=bytes(1000)).status == 200
    reply = send(server.inference, "POST", "/predictions/seen", body=bytes(1001))
    assert (reply.status, reply.phrase) == (413, "Request Entity Too Large")
    assert json.loads(reply.body)["type"] == "PayloadTooLargeException"


# --- OpenAPI ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method_and_target", ["OPTIONS /", "GET /api-description", "POST /api-description"])
@pytest.mark.parametrize("listener", ["inference", "management", "metrics"])
def test_each_port_describes_itself_in_valid_openapi(
    server: ServerProcess, listener: str, method_and_target: str
) -> None:
    reply = send(getattr(server, listener), *method_and_target.split())
    document = json.loads(reply.body)
    validate(document)
    assert (reply.status, document["openapi"], document["info"]["title"]) == (200, "3.0.1", "TorchServe APIs")
    own_path = {"inference": "/predictions/{model_name}", "management": "/models", "metrics": "/metrics"}
    assert own_path[listener] in document["paths"]


@pytest.mark.parametrize(
    "target",
    [
        "/predictions/seen",
        "/predictions/seen/2.0",
        "/explanations/seen",
        "/v1/models/seen:predict",
        "/v2/models/seen/infer",
        "/seen/predict",
        "/models/seen/invoke",
    ],
)
def test_every_route_of_a_model_describes_it_in_valid_openapi(server: ServerProcess, target: str) -> None:
    reply = send(server.inference, "OPTIONS", target)
    document = json.loads(reply.body)
    validate(document)
    assert (reply.status, document["info"]["title"]) == (200, "RESTful API for: seen")


@pytest.mark.parametrize("target", ["/predictions/nope", "/predictions/seen/3.0", "/v1/models/nope:predict"])
def test_what_is_not_served_is_not_described(server: ServerProcess, target: str) -> None:
    assert send(server.inference, "OPTIONS", target).status == 404


@pytest.mark.parametrize("target", ["/ping", "/api-description", "/predictions/nope"])
def test_head_is_get_without_a_body(server: ServerProcess, target: str) -> None:
    head, get = (send(server.inference, method, target) for method in ("HEAD", "GET"))
    assert (head.status, head.body) == (get.status, b"")
    assert dict(head.headers)["content-length"] == str(len(get.body))
