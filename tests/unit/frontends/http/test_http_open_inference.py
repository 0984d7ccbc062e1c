"""KServe's routes beside predictions, through the applications of the ports."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from http_calls import call
from starlette.types import ASGIApp

from flambeau.api import Registration
from flambeau.frontends.http.apps import combined_app, inference_app
from flambeau.frontends.http.auth import Tokens
from flambeau.frontends.open_inference import OpenInferenceModels
from flambeau.request import ModelRef
from flambeau.signature import Signature, TensorSpec
from flambeau.testing.inference import FakeInference
from flambeau.testing.management import FakeManagement
from flambeau.version import __version__

SIGNATURE = Signature(
    inputs=(TensorSpec("x", "FP32", (-1, 3)), TensorSpec("text", "BYTES", (-1,), optional=True)),
    outputs=(TensorSpec("y", "BF16", ()),),
)


def management_with(*registrations: Registration) -> FakeManagement:
    management = FakeManagement(
        {"m.mar": ModelRef("m", "1.0"), "two.mar": ModelRef("m", "2.0"), "other": ModelRef("other", "1.0")}
    )

    async def register() -> None:
        for registration in registrations:
            await management.register(registration)

    asyncio.run(register())
    return management


def app_of(management: FakeManagement, tokens: Tokens | None = None, *, model_api_enabled: bool = True) -> ASGIApp:
    models = OpenInferenceModels(management, model_api_enabled=model_api_enabled)
    return inference_app(FakeInference(), tokens, open_inference=models)


@pytest.fixture
def management() -> FakeManagement:
    """Two versions of a model; the first, which has one worker, is the default, the second has none."""
    management = management_with(
        Registration(url="m.mar", initial_workers=1), Registration(url="two.mar", initial_workers=0)
    )
    management.describe(ModelRef("m", "1.0")).signature = SIGNATURE
    return management


@pytest.fixture
def app(management: FakeManagement) -> ASGIApp:
    return app_of(management)


def test_a_server_that_answers_is_live_and_ready(app: ASGIApp):
    assert call(app, "GET /v2/health/ready").content == b'{\n  "ready": true\n}\n'
    assert call(app, "POST /v2/health/live").content == b'{\n  "live": true\n}\n'


def test_a_server_describes_itself_in_torchserves_spelling_and_the_protocols(app: ASGIApp):
    assert call(app, "GET /v2").json() == {
        "name": "Torchserve",
        "version": __version__,
        "extensions": [
            "kserve",
            "kubeflow",
            "binary_tensor_data",
            "model_configuration",
            "model_repository",
            "statistics",
        ],
        "extenstion": ["kserve", "kubeflow"],
    }


def test_a_model_with_a_signature_says_what_it_takes_and_gives(app: ASGIApp):
    for target in ("/v2/models/m", "/v2/models/m/versions/1.0"):
        assert call(app, f"GET {target}").json() == {
            "name": "m",
            "versions": ["1.0", "2.0"],
            "platform": "",
            "inputs": [
                {"name": "x", "datatype": "FP32", "shape": [-1, 3]},
                {"name": "text", "datatype": "BYTES", "shape": [-1]},
            ],
            "outputs": [{"name": "y", "datatype": "BF16", "shape": []}],
        }


def test_of_a_model_without_a_signature_nobody_knows(app: ASGIApp):
    described = call(app, "GET /v2/models/m/versions/2.0").json()
    assert (described["inputs"], described["outputs"]) == ([], [])


def test_the_configuration_has_tritons_words(app: ASGIApp):
    assert call(app, "GET /v2/models/m/config").json() == {
        "name": "m",
        "platform": "",
        "backend": "python",
        "max_batch_size": 0,
        "input": [
            {"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 3]},
            {"name": "text", "data_type": "TYPE_STRING", "dims": [-1], "optional": True},
        ],
        "output": [{"name": "y", "data_type": "TYPE_BF16", "dims": []}],
    }


def test_a_model_is_ready_when_it_has_the_workers_that_it_wants_and_one_at_least(app: ASGIApp):
    ready = call(app, "GET /v2/models/m/ready")
    assert (ready.status_code, ready.json()) == (200, {"name": "m", "ready": True})
    waiting = call(app, "GET /v2/models/m/versions/2.0/ready")
    assert (waiting.status_code, waiting.json()) == (503, {"name": "m", "ready": False})


def test_version_1_lists_models_and_says_which_are_ready(app: ASGIApp):
    assert call(app, "GET /v1/models").json() == {"models": ["m"]}
    assert call(app, "GET /v1/models/m").json() == {"name": "m", "ready": True}
    assert call(app, "GET /v1/models/z").status_code == 404


def test_statistics_are_in_nanoseconds_and_milliseconds_as_triton_has_them(app: ASGIApp):
    (stats,) = call(app, "GET /v2/models/m/versions/1.0/stats").json()["model_stats"]
    none = {"count": 0, "ns": 0}
    assert stats == {
        "name": "m",
        "version": "1.0",
        "last_inference": 1_000_000_000_500,
        "inference_count": 3,
        "execution_count": 3,
        "inference_stats": {
            "success": {"count": 3, "ns": 600_000_000},
            "fail": {"count": 1, "ns": 100_000_000},
            "queue": {"count": 4, "ns": 200_000_000},
            "compute_infer": {"count": 4, "ns": 300_000_000},
            "compute_input": none,
            "compute_output": none,
            "cache_hit": none,
            "cache_miss": none,
        },
        "batch_stats": [
            {
                "batch_size": 1,
                "compute_infer": {"count": 2, "ns": 100_000_000},
                "compute_input": none,
                "compute_output": none,
            },
            {
                "batch_size": 2,
                "compute_infer": {"count": 1, "ns": 100_000_000},
                "compute_input": none,
                "compute_output": none,
            },
        ],
    }


def test_statistics_are_of_one_version_of_all_or_of_all_models(app: ASGIApp):
    for target in ("/v2/models/m/stats", "/v2/models/stats"):
        stats = call(app, f"GET {target}").json()["model_stats"]
        assert [(entry["name"], entry["version"]) for entry in stats] == [("m", "1.0"), ("m", "2.0")]


@pytest.mark.parametrize("rest", ["", "/ready", "/config", "/stats"])
def test_what_is_not_there_is_not_found(app: ASGIApp, rest: str):
    for model in ("z", "m/versions/9"):
        refused = call(app, f"GET /v2/models/{model}{rest}")
        assert refused.status_code == 404
        assert refused.json()["error"] == refused.json()["message"]
    assert call(app, f"GET /v2/models/m{rest}/more").status_code == 404
    assert call(app, "GET /v2/models").status_code == 404


def test_the_repository_holds_what_is_served_and_what_could_be(app: ASGIApp, management: FakeManagement):
    management.describe(ModelRef("m", "1.0")).workers[0].status = "UNLOADING"
    assert call(app, "POST /v2/repository/index").json() == [
        {"name": "m", "version": "1.0", "state": "LOADING", "reason": ""},
        {"name": "m", "version": "2.0", "state": "UNAVAILABLE", "reason": "no workers"},
        {"name": "other", "version": "", "state": "UNAVAILABLE", "reason": "unloaded"},
    ]


def test_the_repository_lists_what_is_ready_alone_where_it_is_asked_to(app: ASGIApp):
    ready = [{"name": "m", "version": "1.0", "state": "READY", "reason": ""}]
    assert call(app, "POST /v2/repository/index", content=b'{"ready": true}').json() == ready
    assert len(call(app, "POST /v2/repository/index", content=b'{"ready": false}').json()) == 3


def test_a_model_that_was_given_up_says_why(app: ASGIApp, management: FakeManagement):
    (worker,) = management.describe(ModelRef("m", "1.0")).workers
    worker.status, worker.state, worker.failure = "UNLOADING", "given up", "no module named x"
    entry = call(app, "POST /v2/repository/index").json()[0]
    assert (entry["state"], entry["reason"]) == ("UNAVAILABLE", "no module named x")


def test_a_model_of_the_store_is_loaded_by_its_name_and_unloaded():
    management = management_with()
    app = app_of(management)
    for name, url in (("m", "m.mar"), ("other", "other")):
        loaded = call(app, f"POST /v2/repository/models/{name}/load", content=b"{}")
        assert (loaded.status_code, loaded.json()) == (200, {})
        assert management.registrations[-1] == Registration(url=url, model_name=name, initial_workers=1)
        assert call(app, f"GET /v2/models/{name}/ready").status_code == 200
    unload = b'{"parameters": {"unload_dependents": false}}'
    assert call(app, "POST /v2/repository/models/m/unload", content=unload).status_code == 200
    assert call(app, "GET /v2/models/m").status_code == 404


def test_to_load_a_model_that_is_registered_gives_it_a_worker(management: FakeManagement):
    app = app_of(management)
    management.set_default("m", "2.0")
    assert call(app, "GET /v2/models/m/ready").status_code == 503
    assert call(app, "POST /v2/repository/models/m/load").status_code == 200
    assert call(app, "GET /v2/models/m/ready").status_code == 200
    assert len(management.registrations) == 2


def test_to_unload_a_model_unregisters_its_default_version_last(app: ASGIApp):
    assert call(app, "POST /v2/repository/models/m/unload").status_code == 200
    assert call(app, "GET /v1/models").json() == {"models": []}


def test_what_cannot_be_loaded_or_unloaded_is_not_found(app: ASGIApp):
    for target in ("z/load", "z/unload", "m.mar.exe/load"):
        assert call(app, f"POST /v2/repository/models/{target}").status_code == 404


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b'{"parameters": {"config": "{}"}}', b'{"parameters": 1}'])
def test_wishes_that_cannot_be_met_or_read_are_refused(app: ASGIApp, body: bytes):
    for target in ("m/load", "m/unload"):
        assert call(app, f"POST /v2/repository/models/{target}", content=body).status_code == 400


def test_models_come_and_go_only_where_the_model_api_is_on(management: FakeManagement):
    app = app_of(management, model_api_enabled=False)
    for target in ("m/load", "other/load", "m/unload"):
        assert call(app, f"POST /v2/repository/models/{target}").status_code == 405
    assert call(app_of(management), "GET /v2/repository/models/m/unload").status_code == 405
    assert call(app, "POST /v2/repository/index").status_code == 200
    assert call(app, "GET /v1/models").json() == {"models": ["m"]}


def test_models_come_and_go_with_the_management_key_whichever_the_port(management: FakeManagement, tmp_path: Path):
    tokens = Tokens(tmp_path / "keys.json", 60.0)
    tokens.publish()
    models = OpenInferenceModels(management, model_api_enabled=True)
    combined = combined_app(FakeInference(), management, None, tokens, model_api_enabled=True, open_inference=models)
    keys = {kind: {"authorization": f"Bearer {key}"} for kind, key in keys_in(tmp_path / "keys.json").items()}
    for app in (app_of(management, tokens), combined):
        change, index = "POST /v2/repository/models/other/load", "POST /v2/repository/index"
        for refused in (call(app, change), call(app, change, headers=keys["inference"])):
            assert (refused.status_code, refused.json()["type"]) == (400, "InvalidKeyException")
        assert call(app, change, headers=keys["management"]).status_code == 200
        assert call(app, index, headers=keys["management"]).status_code == 400
        assert call(app, index, headers=keys["inference"]).status_code == 200


def keys_in(path: Path) -> dict[str, str]:
    return {kind: held["key"] for kind, held in json.loads(path.read_text()).items()}
