from __future__ import annotations

import json
import logging
from collections.abc import Collection
from pathlib import Path

import pytest
from http_calls import REQUEST_ID, call
from starlette.types import ASGIApp

from flambeau.api import Done
from flambeau.frontends.http.apps import combined_app, inference_app, management_app, metrics_app
from flambeau.frontends.http.auth import Tokens
from flambeau.frontends.open_inference import OpenInferenceModels
from flambeau.request import InferenceReply, ModelRef
from flambeau.testing.inference import FakeInference, FakeServedModel
from flambeau.testing.management import FakeManagement

NOT_FOUND = {
    "code": 404,
    "type": "ResourceNotFoundException",
    "message": "Requested resource is not found, please refer to API document.",
}
V2_NOT_FOUND = {**NOT_FOUND, "error": NOT_FOUND["message"]}
ECHO = FakeServedModel(ModelRef("echo", "1.0"), lambda request: InferenceReply(b""))


class FakeRenderer:
    def __init__(self) -> None:
        self.asked: list[Collection[str] | None] = []

    def render(self, names: Collection[str] | None) -> str:
        self.asked.append(names)
        return 'Requests2XX{Level="Host",} 1.0\n'


def inference_of(*, tokens: Tokens | None = None, is_healthy: bool = True) -> ASGIApp:
    return inference_app(FakeInference(ECHO, is_healthy=is_healthy), tokens)


def management_of(fake: FakeManagement, tokens: Tokens | None = None) -> ASGIApp:
    return management_app(fake, tokens, model_api_enabled=True)


def combined_of(tokens: Tokens | None, renderer: FakeRenderer | None) -> ASGIApp:
    return combined_app(
        FakeInference(ECHO),
        FakeManagement({}),
        renderer,
        tokens,
        model_api_enabled=True,
        open_inference=OpenInferenceModels(FakeManagement({}), model_api_enabled=True),
    )


@pytest.fixture
def archives() -> FakeManagement:
    return FakeManagement({"echo.mar": ModelRef("echo", "1.0")}, {"labels": ["cat"]})


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "key_file.json"


@pytest.fixture
def tokens(key_file: Path) -> Tokens:
    tokens = Tokens(key_file, 3600)
    tokens.publish()
    return tokens


def bearer(key_file: Path, key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {json.loads(key_file.read_bytes())[key]['key']}"}


# Health, descriptions, metrics


@pytest.mark.parametrize("send", ["GET /ping", "POST /ping", "PUT /ping/a/b", "OPTIONS /ping/"])
def test_ping_answers_any_method_and_longer_paths(send: str):
    response = call(inference_of(), send)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.content == b'{\n  "status": "Healthy"\n}\n'


def test_ping_is_500_but_no_error_where_a_model_lacks_workers():
    response = call(inference_of(is_healthy=False), "GET /ping")
    assert response.status_code == 500
    assert response.content == b'{\n  "status": "Unhealthy"\n}\n'


def test_head_is_get_without_a_body():
    response = call(inference_of(), "HEAD /ping")
    assert response.status_code == 200
    assert response.headers["content-length"] == str(len(b'{\n  "status": "Healthy"\n}\n'))
    assert response.content == b""


@pytest.mark.parametrize("app", [inference_of(), management_of(FakeManagement({})), metrics_app(FakeRenderer())])
def test_every_port_describes_itself(app: ASGIApp):
    described = call(app, "OPTIONS /")
    assert described.status_code == 200
    assert described.json()["openapi"] == "3.0.1"
    for send in ("GET /api-description", "POST /api-description/", "DELETE /api-description/x"):
        assert call(app, send).content == described.content
    assert call(app, "GET /").json()["type"] == "MethodNotAllowedException"
    assert call(app, "GET /no/such/route").json() == NOT_FOUND


@pytest.mark.parametrize(
    "target",
    ["/predictions/echo", "/predictions/echo/1.0", "/explanations/echo", "/v1/models/echo:predict", "/echo/predict"],
)
def test_options_describes_a_model(target: str):
    response = call(inference_of(), f"OPTIONS {target}")
    assert response.status_code == 200
    assert response.json()["info"]["title"] == "RESTful API for: echo"


def test_options_of_a_model_that_is_not_there_is_404():
    assert call(inference_of(), "OPTIONS /predictions/nope").json()["message"] == "Model not found: nope"
    assert call(inference_of(), "OPTIONS /predictions/echo/9").json()["type"] == "ModelVersionNotFoundException"
    assert call(inference_of(), "OPTIONS /invocations").json()["message"] == "Parameter model_name is required."
    assert call(inference_of(), "OPTIONS /nowhere").json() == NOT_FOUND


def test_management_describes_a_model(archives: FakeManagement):
    app = management_of(archives)
    call(app, "POST /models?url=echo.mar")
    for target in ("/models/echo", "/models/echo/1.0"):
        assert call(app, f"OPTIONS {target}").json()["info"]["title"] == "RESTful Management API for: echo"


@pytest.mark.parametrize("target", ["/v2", "/v2/health/ready", "/v2/health/live", "/v2/models/echo/versions/1/infer"])
def test_open_inference_protocol_is_404_where_it_is_off(target: str):
    assert call(inference_of(), f"GET {target}").json() == V2_NOT_FOUND


def test_metrics_are_text_and_may_be_chosen_by_name():
    renderer = FakeRenderer()
    response = call(metrics_app(renderer), "GET /metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.text == 'Requests2XX{Level="Host",} 1.0\n'
    call(metrics_app(renderer), "POST /metrics/a?name[]=A&name[]=B")
    assert renderer.asked == [None, {"A", "B"}]


def test_metrics_are_elsewhere_only_on_a_combined_port(archives: FakeManagement):
    for app in (inference_of(), management_of(archives), combined_of(None, None)):
        assert call(app, "GET /metrics").json() == NOT_FOUND
    assert call(combined_of(None, FakeRenderer()), "GET /metrics").status_code == 200


# Management beside what tests/compat plays


def test_json_and_query_register_alike(archives: FakeManagement):
    app = management_of(archives)
    body = b'{"url": "echo.mar", "batch_size": 2}'
    call(app, "POST /models", content=body, headers={"content-type": "Application/JSON; charset=utf-8"})
    call(app, "POST /models?url=echo.mar&batch_size=2", content=body, headers={"content-type": "text/plain"})
    assert archives.registrations[0] == archives.registrations[1]


def test_live_settings_reach_the_model(archives: FakeManagement):
    app = management_of(archives)
    call(app, "POST /models?url=echo.mar")
    call(app, "PUT /models/echo?batch_size=4&max_batch_delay=20")
    model, scaling = archives.scalings[0]
    assert model == ModelRef("echo")
    assert (scaling.min_worker, scaling.batch_size, scaling.max_batch_delay_s) == (None, 4, 0.02)
    assert call(app, "PUT /models/echo?batch_size=0").status_code == 400


def test_a_version_in_the_path_goes_before_one_in_the_query(archives: FakeManagement):
    app = management_of(archives)
    call(app, "POST /models?url=echo.mar")
    call(app, "PUT /models/echo/1.0?model_version=2.0&min_worker=1")
    assert archives.scalings[0][0] == ModelRef("echo", "1.0")


@pytest.mark.parametrize(("query", "status"), [("synchronous=true", 206), ("", 202)])
def test_scaling_that_is_not_complete_says_so(query: str, status: int):
    class Unhurried(FakeManagement):
        async def scale(self, *_: object) -> Done:
            return Done("Workers scaling in progress...", is_complete=False)

    response = call(management_of(Unhurried({})), f"PUT /models/echo?{query}")
    assert response.status_code == status
    assert response.json() == {"status": "Workers scaling in progress..."}


def test_a_handler_may_add_to_its_description(archives: FakeManagement):
    app = management_of(archives)
    call(app, "POST /models?url=echo.mar&initial_workers=1")
    assert call(app, "GET /models/echo?customized=true").json()[0]["customizedMetadata"] == {"labels": ["cat"]}
    assert "customizedMetadata" not in call(app, "GET /models/echo").json()[0]
    assert "customizedMetadata" not in call(app, "GET /models/echo/all?customized=true").json()[0]


def test_a_handler_that_says_nothing_adds_nothing():
    app = management_of(FakeManagement({"echo.mar": ModelRef("echo", "1.0")}))
    call(app, "POST /models?url=echo.mar&initial_workers=1")
    assert "customizedMetadata" not in call(app, "GET /models/echo?customized=true").json()[0]


def test_a_fault_of_ours_is_answered_with_the_request_id_and_logged_once(caplog: pytest.LogCaptureFixture):
    class Broken(FakeManagement):
        def list_models(self, limit: int, offset: int) -> None:  # type: ignore[override]
            raise ZeroDivisionError("secret")

    with caplog.at_level(logging.DEBUG):
        response = call(management_of(Broken({})), "GET /models")
    assert response.json() == {
        "code": 500,
        "type": "InternalServerException",
        "message": f"Internal server error, see the log for request {REQUEST_ID}.",
    }
    logged = [record for record in caplog.records if record.exc_info]
    assert len(logged) == 1
    assert REQUEST_ID in logged[0].getMessage()


# Tokens


@pytest.mark.parametrize("target", ["/ping", "/no/such/route", "/models"])
def test_the_inference_port_needs_its_key_even_for_unknown_paths(tokens: Tokens, key_file: Path, target: str):
    app = inference_of(tokens=tokens)
    refused = call(app, f"GET {target}")
    assert refused.status_code == 400
    assert refused.json() == {
        "code": 400,
        "type": "InvalidKeyException",
        "message": "Token Authorization failed. Token either incorrect, expired, or not provided correctly",
    }
    assert call(app, f"GET {target}", headers=bearer(key_file, "management")).status_code == 400
    allowed = call(app, f"GET {target}", headers=bearer(key_file, "inference"))
    assert allowed.status_code == (200 if target == "/ping" else 404)


def test_the_management_port_needs_its_key(tokens: Tokens, key_file: Path, archives: FakeManagement):
    app = management_of(archives, tokens)
    assert call(app, "GET /models").status_code == 400
    assert call(app, "GET /models", headers=bearer(key_file, "inference")).status_code == 400
    assert call(app, "GET /models", headers=bearer(key_file, "management")).status_code == 200


def test_descriptions_need_no_key(tokens: Tokens, archives: FakeManagement):
    for app in (inference_of(tokens=tokens), management_of(archives, tokens), combined_of(tokens, None)):
        assert call(app, "OPTIONS /").status_code == 200
        assert call(app, "GET /api-description").status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_key_is_renewed_with_the_api_key(tokens: Tokens, key_file: Path, archives: FakeManagement, method: str):
    app = management_of(archives, tokens)
    old = bearer(key_file, "management")
    renewed = call(app, f"{method} /token?type=management", headers=bearer(key_file, "API"))
    assert renewed.status_code == 200
    assert renewed.headers["content-type"] == "application/json"
    assert renewed.content == b"\n"
    assert call(app, "GET /models", headers=old).status_code == 400
    assert call(app, "GET /models", headers=bearer(key_file, "management")).status_code == 200


def test_a_key_is_not_renewed_with_another(tokens: Tokens, key_file: Path, archives: FakeManagement):
    app = management_of(archives, tokens)
    for target, key in (("/token?type=management", "management"), ("/token?type=API", "API"), ("/token", "API")):
        refused = call(app, f"GET {target}", headers=bearer(key_file, key))
        assert refused.status_code == 400
        assert refused.json()["message"].startswith("Token Authentication failed.")


def test_there_is_no_token_route_without_authorization(archives: FakeManagement):
    assert call(management_of(archives), "GET /token?type=management").json() == NOT_FOUND


def test_metrics_on_their_own_port_need_no_key():
    assert call(metrics_app(FakeRenderer()), "GET /metrics").status_code == 200


@pytest.mark.parametrize(
    ("target", "key", "other"),
    [
        ("/ping", "inference", "management"),
        ("/v2/health/ready", "inference", "management"),
        ("/models", "management", "inference"),
        ("/metrics", "management", "inference"),
    ],
)
def test_a_combined_port_asks_for_the_key_of_the_port_that_a_route_is_from(
    tokens: Tokens, key_file: Path, target: str, key: str, other: str
):
    app = combined_of(tokens, FakeRenderer())
    assert call(app, f"GET {target}").status_code == 400
    assert call(app, f"GET {target}", headers=bearer(key_file, other)).status_code == 400
    assert call(app, f"GET {target}", headers=bearer(key_file, key)).status_code == 200


def test_a_combined_port_asks_for_the_inference_key_to_describe_a_model(tokens: Tokens, key_file: Path):
    app = combined_of(tokens, None)
    assert call(app, "OPTIONS /predictions/echo", headers=bearer(key_file, "management")).status_code == 400
    assert call(app, "OPTIONS /predictions/echo", headers=bearer(key_file, "inference")).status_code == 200
