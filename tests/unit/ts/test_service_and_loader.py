"""TorchServe's loader and service, driven by a program."""

from __future__ import annotations

import json
import struct
import sys

import pytest

from flambeau.errors import InvalidModel
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.model_loader import ModelLoader, ModelLoaderFactory
from ts.model_service.model_service import ModelService, SingleNodeService
from ts.protocol.otf_message_handler import create_predict_response
from ts.service import Service

HANDLER = """
class Handler:
    def initialize(self, context):
        self.greeting = context.model_yaml_config["greeting"]

    def handle(self, data, context):
        body = data[0]["body"]
        if isinstance(body, str):
            raise {"memory": MemoryError(), "own": PredictionException("no", 422), "bug": KeyError()}[body]
        if body == 0:
            return "no list"
        context.metrics.add_counter("Calls", 1)
        return [f"{self.greeting} {row['body']} {context.get_request_header(0, 'who')}" for row in data]


from ts.utils.util import PredictionException
"""


@pytest.fixture
def archive(tmp_path, monkeypatch):
    (tmp_path / "offline_handler.py").write_text(HANDLER)
    (tmp_path / "config.yaml").write_text("greeting: hello")
    (tmp_path / "MAR-INF").mkdir()
    model = {"modelName": "m", "handler": "offline_handler.py", "configFile": "config.yaml"}
    (tmp_path / "MAR-INF" / "MANIFEST.json").write_text(json.dumps({"model": model}))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("offline_handler", None)


@pytest.fixture
def service(archive):
    return ModelLoaderFactory.get_model_loader().load("m", str(archive), "offline_handler.py", None, 2)


def message(body, request_id=b"r"):
    parameters = [{"name": "body", "contentType": "application/json", "value": body}]
    return {"requestId": request_id, "headers": [{"name": b"who", "value": b"me"}], "parameters": parameters}


def code_of(response):
    return struct.unpack("!i", response[:4])[0]


def test_a_service_answers_a_batch_with_one_message(service):
    response = service.predict([message(1, b"a"), message(2, b"b")])
    expected = ["hello 1 me", "hello 2 me"]
    assert response == create_predict_response(expected, {0: "a", 1: "b"}, "Prediction success", 200, service.context)
    assert service.context.system_properties["batch_size"] == 2


@pytest.mark.parametrize(
    ("body", "code", "sentence"),
    [
        ("memory", 507, b"Out of resources"),
        ("own", 422, b"no"),
        ("bug", 503, b"Prediction failed"),
        (0, 503, b"Invalid model predict output"),
    ],
)
def test_what_goes_wrong_is_the_code_of_the_batch(service, body, code, sentence):
    response = service.predict([message(body)])
    assert code_of(response) == code
    assert sentence in response


def test_metrics_go_to_the_cache_that_was_given(archive, caplog):
    metrics = MetricsCacheYamlImpl(None)
    loader = ModelLoaderFactory.get_model_loader()
    service = loader.load("m", str(archive), "offline_handler", metrics_cache=metrics)
    with caplog.at_level("INFO"):
        service.predict([message(1)])
    assert "[METRICS]Calls.Count:1.0|#ModelName:m,Level:Model|#type:COUNTER" in caplog.text
    assert "[METRICS]PredictionTime.Milliseconds:" in caplog.text
    assert service.context.metrics is metrics


def test_the_manifest_names_the_handler_and_an_envelope_goes_round_it(archive):
    service = ModelLoaderFactory.get_model_loader().load("m", str(archive), envelope="body")
    assert code_of(service.predict([message(1)])) == 503  # the handler wants rows, and gets values


def test_a_loader_without_any_handler_says_so(tmp_path):
    with pytest.raises(InvalidModel, match="no handler"):
        ModelLoaderFactory.get_model_loader().load("m", str(tmp_path))


def test_the_base_loader_loads_nothing():
    with pytest.raises(NotImplementedError):
        ModelLoader().load("m", "")


def test_headers_rows_and_ids_of_a_batch():
    headers, rows, ids = Service.retrieve_data_for_inference([message([1])])
    assert headers[0].get_request_properties() == {"body": {"content-type": "application/json"}, "who": "me"}
    assert (rows, ids) == ([{"body": [1]}], {0: "r"})
    with pytest.raises(ValueError, match="invalid inputs"):
        Service.retrieve_data_for_inference(None)


def test_the_context_knows_the_socket(service):
    service.set_cl_socket("socket")
    assert service.context.cl_socket == "socket"


# --- handlers of TorchServe's ancestor --------------------------------------------------------------------------------


class Summing(SingleNodeService):
    def _preprocess(self, data):
        return data[0]

    def _inference(self, data):
        return sum(data)


@pytest.fixture
def summing(tmp_path, request):
    def make(signature, manifest=None):
        (tmp_path / "signature.json").write_text(json.dumps(signature))
        context = type("Context", (), {})()
        context.system_properties = {"model_dir": str(tmp_path)}
        context.manifest = {"Model": {"Signature": "signature.json"}} if manifest is None else manifest
        service = Summing("m", str(tmp_path), context.manifest)
        service.initialize(context)
        return service

    return make


@pytest.mark.parametrize("row", [{"numbers": b"[1, 2]"}, {"body": b"[1, 2]"}, {"data": [1, 2]}])
def test_the_signature_says_where_the_input_is_and_what(summing, row):
    service = summing({"input_type": "application/json", "inputs": [{"data_name": "numbers"}]})
    assert service.handle([row], None) == [3]
    assert service.signature()["input_type"] == "application/json"


@pytest.mark.parametrize("manifest", [{}, {"Model": {"Signature": "other.json"}}])
def test_a_missing_signature_is_named(summing, manifest):
    with pytest.raises(InvalidModel, match="Signature file is not found"):
        summing({}, manifest)


def test_a_service_is_a_model_service():
    assert issubclass(SingleNodeService, ModelService)
