from __future__ import annotations

from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV30SpecValidator

from flambeau.frontends.http import openapi
from flambeau.version import __version__

DOCUMENTS = {
    "inference": openapi.inference_document(),
    "management": openapi.management_document(),
    "metrics": openapi.metrics_document(),
    "combined": openapi.combined_document(),
    "inference of a model": openapi.inference_model_document("m"),
    "management of a model": openapi.management_model_document("m"),
}

INFERENCE = {
    ("/", "options", "apiDescription"),
    ("/ping", "get", "ping"),
    ("/v1/models/{model_name}:predict", "post", "v1_predictions"),
    ("/v2/models/{model_name}/infer", "post", "v2_predictions"),
    ("/predictions/{model_name}", "post", "predictions"),
    ("/predictions/{model_name}/{model_version}", "post", "version_predictions"),
    ("/api-description", "get", "api-description"),
    ("/metrics", "get", "metrics"),
}
MANAGEMENT = {
    ("/", "options", "apiDescription"),
    ("/models", "get", "listModels"),
    ("/models", "post", "registerModel"),
    ("/models/{model_name}", "get", "describeModel"),
    ("/models/{model_name}", "put", "setAutoScale"),
    ("/models/{model_name}", "delete", "unregisterModel"),
    ("/models/{model_name}/{model_version}", "get", "version_describeModel"),
    ("/models/{model_name}/{model_version}", "put", "version_setAutoScale"),
    ("/models/{model_name}/{model_version}", "delete", "version_unregisterModel"),
    ("/models/{model_name}/{model_version}/set-default", "put", "setDefault"),
    ("/api-description", "get", "api-description"),
    ("/metrics", "get", "metrics"),
}


def operations(name: str) -> set[tuple[str, str, str]]:
    return {
        (path, method, operation["operationId"])
        for path, methods in DOCUMENTS[name]["paths"].items()
        for method, operation in methods.items()
    }


def defaults(operation: dict[str, Any]) -> dict[str, object]:
    return {
        parameter["name"]: parameter["schema"]["default"]
        for parameter in operation["parameters"]
        if "default" in parameter["schema"]
    }


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_are_valid(name: str):
    assert list(OpenAPIV30SpecValidator(DOCUMENTS[name]).iter_errors()) == []


def test_documents_name_the_api_and_the_servers_version():
    for name in ("inference", "management", "metrics", "combined"):
        assert DOCUMENTS[name]["openapi"] == "3.0.1"
        assert DOCUMENTS[name]["info"]["title"] == "TorchServe APIs"
        assert DOCUMENTS[name]["info"]["version"] == __version__


def test_documents_have_torchserves_operations():
    assert operations("inference") >= INFERENCE
    assert operations("management") >= MANAGEMENT
    assert operations("metrics") == {("/metrics", "get", "metrics")}
    assert operations("combined") == operations("inference") | operations("management")
    assert DOCUMENTS["inference"]["paths"]["/api-description"]["get"]["deprecated"] is True


def test_defaults_are_those_of_this_server():
    paths = DOCUMENTS["management"]["paths"]
    assert defaults(paths["/models"]["get"]) == {"limit": 100}
    assert defaults(paths["/models"]["post"]) == {"synchronous": True, "s3_sse_kms": False}
    assert defaults(paths["/models/{model_name}"]["put"]) == {"number_gpu": 0, "synchronous": False, "timeout": -1}
    assert defaults(paths["/models/{model_name}"]["get"]) == {"customized": False}


def test_a_models_documents_are_about_it_alone():
    assert DOCUMENTS["inference of a model"]["info"] | {"description": ""} == {
        "title": "RESTful API for: m",
        "description": "",
        "version": "1.0.0",
    }
    assert DOCUMENTS["management of a model"]["info"]["title"] == "RESTful Management API for: m"
    assert {path for path, _, _ in operations("inference of a model")} == {
        "/predictions/m",
        "/v1/models/m:predict",
        "/v2/models/m/infer",
    }
    assert all(path.startswith("/models/m") for path, _, _ in operations("management of a model"))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_reply_has_the_request_id_and_errors_their_schema(name: str):
    for methods in DOCUMENTS[name]["paths"].values():
        for operation in methods.values():
            for status, reply in operation["responses"].items():
                assert "x-request-id" in reply["headers"]
                if int(status) >= 400 and operation["operationId"] != "ping":
                    schema = reply["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Error"}
