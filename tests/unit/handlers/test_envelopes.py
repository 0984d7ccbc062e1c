"""Service envelopes: what a handler gets of a protocol's request, and what the client gets of its answers."""

from __future__ import annotations

import base64
import json
import sys

import numpy as np
import pytest

from flambeau.errors import InvalidModel
from ts.torch_handler.request_envelope.base import BaseEnvelope

ECHO = "def handle(data, context): return None if data is None else data"
NAMES = "def handle(data, context): return None if data is None else [context.input_names] * len(data)"


def b64(data):
    return {"b64": base64.b64encode(data).decode()}


@pytest.fixture
def enveloped(serve):
    """``enveloped("json", source)``: a handler behind an envelope."""

    def make(envelope, source=ECHO):
        return serve("handler.py", {"handler.py": source}, options={"envelope": envelope})

    return make


# --- body -------------------------------------------------------------------------------------------------------------


def test_body_gives_handlers_values_in_place_of_rows(enveloped, answers, request_of):
    assert answers(enveloped("body"), request_of([1, 2]), request_of(data={"x": 3})) == [[1, 2], {"x": 3}]


# --- json -------------------------------------------------------------------------------------------------------------


def test_json_gives_handlers_all_instances_and_each_client_its_predictions(enveloped, answers, request_of):
    requests = [request_of({"instances": [1, 2]}), request_of(data={"instances": [3]}), request_of({"instances": []})]
    assert answers(enveloped("json"), *requests) == [{"predictions": [1, 2]}, {"predictions": [3]}, {"predictions": []}]


def test_json_decodes_base64_instances_and_columns(enveloped, answers, request_of):
    source = """
def handle(data, context):
    return None if data is None else [repr(instance) for instance in data]
"""
    instances = [b64(b"\x00\x01"), {"image": b64(b"jpeg"), "name": "cat"}, {"b64": "AA==", "more": 1}, 5]
    (answer,) = answers(enveloped("json", source), request_of({"instances": instances}))
    assert answer["predictions"] == [
        repr(b"\x00\x01"),
        repr({"image": b"jpeg", "name": "cat"}),
        repr({"b64": "AA==", "more": 1}),
        "5",
    ]


def test_json_text_is_written_as_torchserve_writes_it(enveloped, request_of):
    (reply,) = enveloped("json").run([request_of({"instances": [1, 2]})])
    assert bytes(reply.body) == b'{"predictions": [1, 2]}'


# --- kserve -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [{"instances": [1, 2]}, b'{"instances": [1, 2]}'])
def test_kserve_takes_json_whatever_the_client_called_it(enveloped, answers, request_of, body):
    assert answers(enveloped("kserve"), request_of(body)) == [{"predictions": [1, 2]}]


def test_kserve_answers_a_batch_of_several_requests_too(enveloped, answers, request_of):
    requests = [request_of({"instances": [1]}), request_of({"instances": [2, 3]})]
    assert answers(enveloped("kserve"), *requests) == [{"predictions": [1]}, {"predictions": [2, 3]}]


def test_kserve_gives_one_request_all_results_however_many_there_are(enveloped, answers, request_of):
    source = "def handle(data, context): return None if data is None else [{'n': len(data)}]"
    handler = enveloped("kserve", source)
    assert answers(handler, request_of({"instances": [1, 2]})) == [{"predictions": [{"n": 2}]}]
    together = answers(handler, request_of({"instances": [1, 2]}), request_of({"instances": [3]}))
    assert together == [{"predictions": [{"n": 2}]}, {"predictions": [{"n": 1}]}]


def test_kserve_calls_explanations_by_their_name(enveloped, answers, request_of):
    assert answers(enveloped("kserve"), request_of({"instances": [1]}, explain=True)) == [{"explanations": [1]}]


@pytest.mark.parametrize("envelope", ["json", "kserve"])
@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({}, "no list 'instances'"),
        ({"instances": 3}, "no list 'instances'"),
        ({"instances": {"b64": "AA=="}}, "no list 'instances'"),
        ([1], "not a JSON object"),
        (b"{", "not JSON"),
        (b"", "no list 'instances'"),
    ],
)
def test_what_breaks_the_protocol_is_a_bad_request(enveloped, refusal, request_of, envelope, body, problem):
    status, sentence = refusal(enveloped(envelope), request_of(body))
    assert status == 400
    assert problem in sentence


@pytest.mark.parametrize("text", ["a", 3, None])
def test_base64_that_is_none_is_a_bad_request(enveloped, refusal, request_of, text):
    status, sentence = refusal(enveloped("json"), request_of({"instances": [{"b64": text}]}))
    assert (status, "b64 is not base64" in sentence) == (400, True)


def test_a_bad_request_costs_only_itself(enveloped, request_of):
    replies = enveloped("kserve").run([request_of({"instances": [1]}), request_of({})])
    assert [reply.status for reply in replies] == [200, 400]


# --- kservev2 ---------------------------------------------------------------------------------------------------------


def tensor(data, shape, name="x", datatype="INT64"):
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def test_v2_gives_handlers_shaped_inputs_and_clients_flat_outputs(enveloped, answers, request_of):
    source = "def handle(data, context): return None if data is None else [tensor['data'] for tensor in data]"
    request = {"id": "r1", "inputs": [tensor([1, 2, 3, 4], [2, 2]), tensor(["text"], [1], "y", "BYTES")]}
    (answer,) = answers(enveloped("kservev2", source), request_of(request))
    assert answer == {
        "id": "r1",
        "model_name": "m",
        "model_version": "1.0",
        "outputs": [
            {"name": "x", "datatype": "INT64", "data": [1, 2, 3, 4], "shape": [4]},
            {"name": "y", "datatype": "BYTES", "data": ["text"], "shape": [1]},
        ],
    }


@pytest.mark.parametrize("given", [None, "", "  "])
def test_v2_takes_the_requests_own_id_where_the_document_has_none(enveloped, answers, request_of, given):
    document = {"inputs": [tensor([1], [1])], **({} if given is None else {"id": given})}
    (answer,) = answers(enveloped("kservev2", NAMES), request_of(document))
    assert answer["id"] == "id-0"


def test_v2_tells_the_handler_the_names_of_the_inputs_and_forgets_them(enveloped, answers, request_of):
    handler = enveloped("kservev2", NAMES)
    (answer,) = answers(handler, request_of({"id": "r", "inputs": [tensor([1], [1], "a"), tensor([1], [1], "b")]}))
    assert [output["data"] for output in answer["outputs"]] == [["a", "b"]] * 2
    assert not hasattr(handler.context, "input_names")
    assert not hasattr(handler.context, "input_request_id")


def test_v2_answers_a_batch_of_several_requests_too(enveloped, answers, request_of):
    source = "def handle(data, context): return None if data is None else [tensor['data'] for tensor in data]"
    requests = [
        request_of({"id": "a", "inputs": [tensor([1], [1])]}),
        request_of({"id": "b", "inputs": [tensor([2], [1], "p"), tensor([3], [1], "q")]}),
    ]
    first, second = answers(enveloped("kservev2", source), *requests)
    assert (first["id"], [output["data"] for output in first["outputs"]]) == ("a", [[1]])
    assert (second["id"], [output["name"] for output in second["outputs"]]) == ("b", ["p", "q"])


def test_v2_names_outputs_beyond_the_inputs_by_their_number(enveloped, answers, request_of):
    source = "def handle(data, context): return None if data is None else [1, 2]"
    (answer,) = answers(enveloped("kservev2", source), request_of({"inputs": [tensor([1], [1])]}))
    assert [output["name"] for output in answer["outputs"]] == ["x", "output-1"]


DATATYPES = {
    **{"bool": "BOOL", "float16": "FP16", "float32": "FP32", "float64": "FP64", "str": "BYTES", "object": "BYTES"},
    **{f"{kind}{bits}": f"{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}


@pytest.mark.parametrize(("dtype", "datatype"), DATATYPES.items())
def test_v2_names_the_datatype_of_outputs(dtype, datatype):
    from flambeau.runtime.envelopes.kserve_v2 import KServev2Envelope

    results = [np.zeros((2, 2), dtype=dtype)]
    context = type("Context", (), {"manifest": None, "get_request_id": lambda self, index: f"id-{index}"})()
    envelope = KServev2Envelope(lambda data, context: results)
    (answer,) = envelope.handle([{"body": {"inputs": [tensor([1], [1])]}}], context)
    assert answer["outputs"][0]["datatype"] == datatype
    assert answer["outputs"][0]["shape"] == [4]


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        (None, "no list 'inputs'"),
        ([tensor([1, 2, 3], [2, 2])], "input 'x' does not make its shape [2, 2]"),
        ([tensor([[1], [2, 3]], [3])], "input 'x' does not make its shape"),
        ([tensor([1], "2x2")], "input 'x' does not make its shape"),
        ([tensor([], [0], datatype="BYTES")], "input 'x' does not make its shape"),
        ([{"name": "x", "data": [1]}], "lacks shape, datatype"),
        (["x"], "lacks name, shape, datatype, data"),
    ],
)
def test_v2_says_which_input_cannot_be_read(enveloped, refusal, request_of, inputs, problem):
    status, sentence = refusal(enveloped("kservev2"), request_of({"inputs": inputs}))
    assert status == 400
    assert problem in sentence


# --- envelopes in general ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("envelope", ["body", "json", "kserve", "kservev2"])
def test_the_load_does_not_pass_through_the_envelope(enveloped, envelope):
    source = "def handle(data, context):\n  assert data is None"
    enveloped(envelope, source)


def test_a_ready_made_handler_takes_what_an_envelope_hands_on(serve, scripted, answers, request_of, picture):
    import torch

    net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    handler = serve(
        "image_classifier", {"net.pt": scripted(net)}, options={"envelope": "kserve"}, serializedFile="net.pt"
    )
    text = base64.b64encode(picture()).decode()
    (answer,) = answers(handler, request_of({"instances": [{"data": text}, {"body": text}, text]}))
    assert len(answer["predictions"]) == 3
    assert answer["predictions"][0] == pytest.approx(answer["predictions"][2])


def test_an_envelope_of_ones_own_is_found_beside_the_others(tmp_path, monkeypatch, enveloped, answers, request_of):
    import ts.torch_handler.request_envelope as package

    (tmp_path / "counted.py").write_text(
        "from ts.torch_handler.request_envelope.base import BaseEnvelope\n"
        "class Counted(BaseEnvelope):\n"
        "    def parse_input(self, data): return [len(row['body']) for row in data]\n"
        "    def format_output(self, data): return [{'length': one} for one in data]\n"
    )
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    assert answers(enveloped("counted"), request_of(b"abc")) == [{"length": 3}]


@pytest.mark.parametrize("envelope", ["xml", "no.such"])
def test_an_envelope_that_there_is_not_is_named_with_those_that_there_are(enveloped, envelope):
    with pytest.raises(InvalidModel, match="body, json, kserve, kservev2"):
        enveloped(envelope)


def test_an_envelope_without_the_package_that_it_needs_names_it(enveloped, monkeypatch):
    for module in ("ts.torch_handler.request_envelope.kservev2", "flambeau.runtime.envelopes.kserve_v2"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(InvalidModel, match="pip install numpy"):
        enveloped("kservev2")


def test_nothing_in_and_nothing_out_pass_by_the_envelope():
    seen = []
    envelope = BaseEnvelope(lambda data, context: seen.append((data, context)))
    assert envelope.handle([], "context") is None
    assert seen == [([], "context")]


def test_a_protocol_without_its_two_methods_says_so():
    with pytest.raises(NotImplementedError):
        BaseEnvelope(json.dumps).handle([1], None)
