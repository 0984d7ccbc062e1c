"""The Open Inference Protocol over gRPC: health, metadata, and tensors to JSON and back."""

from __future__ import annotations

import msgspec
import pytest
from grpc_sites import Client, Metrics, on_loop, site_of

from flambeau.api import Registration
from flambeau.errors import HandlerFailed, InternalError
from flambeau.frontends.grpc.open_inference import SERVICE, OpenInferenceApi
from flambeau.frontends.grpc.protos import open_inference_pb2 as pb
from flambeau.frontends.grpc.status import Status
from flambeau.frontends.grpc.tensors import request_json, response_message
from flambeau.request import InferenceReply, ModelRef
from flambeau.testing.inference import FakeInference, FakeServedModel
from flambeau.testing.management import FakeManagement

ANSWER = {"id": "7", "model_name": "m", "model_version": "1.0", "outputs": []}


class Port:
    def __init__(self, reply=lambda request: InferenceReply(msgspec.json.encode(ANSWER))):
        self.model = FakeServedModel(ModelRef("m", "1.0"), reply)
        self.management = FakeManagement({"one.mar": ModelRef("m", "1.0"), "two.mar": ModelRef("m", "2.0")})
        self.metrics = Metrics()
        api = OpenInferenceApi(FakeInference(self.model), self.management, self.metrics)
        self.client = Client(site_of(api.methods()))

    async def call(self, method, request, kind):
        answer = await self.client.call(f"{SERVICE}/{method}", request)
        return answer, [kind.FromString(found) for found in answer.messages]

    async def register(self, url, workers):
        await self.management.register(Registration(url=url, initial_workers=workers))


@on_loop
async def test_a_server_that_answers_is_live_and_ready():
    port = Port()
    _, (live,) = await port.call("ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse)
    _, (ready,) = await port.call("ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse)
    assert (live.live, ready.ready) == (True, True)


@on_loop
async def test_metadata_of_the_server_is_not_implemented():
    answer, _ = await Port().call("ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse)
    assert (answer.status, answer.text) == (Status.UNIMPLEMENTED, f"Method {SERVICE}/ServerMetadata is unimplemented")


@on_loop
async def test_a_model_says_whether_it_is_ready_and_which_versions_it_has():
    port = Port()
    await port.register("one.mar", 1)
    await port.register("two.mar", 0)
    _, (ready,) = await port.call("ModelReady", pb.ModelReadyRequest(name="m", version="2.0"), pb.ModelReadyResponse)
    assert ready.ready
    request = pb.ModelMetadataRequest(name="m")
    _, (metadata,) = await port.call("ModelMetadata", request, pb.ModelMetadataResponse)
    assert (metadata.name, list(metadata.versions), metadata.platform) == ("m", ["1.0", "2.0"], "")


@on_loop
async def test_a_model_whose_workers_are_not_ready_is_not_ready():
    port = Port()
    await port.register("one.mar", 2)
    description = port.management.describe(ModelRef("m"))
    description.workers[0] = msgspec.structs.replace(description.workers[0], status="UNLOADING")
    _, (ready,) = await port.call("ModelReady", pb.ModelReadyRequest(name="m"), pb.ModelReadyResponse)
    assert not ready.ready


@pytest.mark.parametrize("method", ["ModelReady", "ModelMetadata"])
@on_loop
async def test_a_model_that_is_not_there_is_not_found(method):
    port = Port()
    await port.register("one.mar", 1)
    kind, parameter = getattr(pb, f"{method}Request"), {"ModelReady": "name", "ModelMetadata": "model_name"}[method]
    for request, status in ((kind(name="x"), Status.NOT_FOUND), (kind(name="m", version="9"), Status.NOT_FOUND)):
        assert (await port.call(method, request, kind))[0].status == status
    answer, _ = await port.call(method, kind(), kind)
    assert (answer.status, answer.text) == (
        Status.INTERNAL,
        f"Parameter {parameter} is required.\nBadRequestException.()",
    )


@on_loop
async def test_an_inference_is_json_to_the_handler_and_tensors_to_the_client():
    output = {"name": "o", "datatype": "FP64", "shape": [2], "data": [1.0, 2.5]}
    port = Port(lambda request: InferenceReply(msgspec.json.encode({**ANSWER, "outputs": [output]})))
    tensor = pb.ModelInferRequest.InferInputTensor(
        name="i", datatype="FP32", shape=[2], contents=pb.InferTensorContents(fp32_contents=[1, 2.5])
    )
    request = pb.ModelInferRequest(model_name="m", model_version="1.0", id="7", inputs=[tensor])
    answer, (response,) = await port.call("ModelInfer", request, pb.ModelInferResponse)
    assert answer.status == 0
    ((name, content_type, body),) = port.model.requests[0].parameters
    assert (name, content_type) == ("body", "application/json")
    assert msgspec.json.decode(body) == {
        "id": "7",
        "model_name": "m",
        "inputs": [{"name": "i", "shape": [2], "datatype": "FP32", "data": [1.0, 2.5]}],
    }
    assert (response.id, response.model_name, response.model_version) == ("7", "m", "1.0")
    assert list(response.outputs[0].contents.fp64_contents) == [1.0, 2.5]
    assert port.metrics.recorded["ts_inference_requests_total", "m", "1.0"] == []


@pytest.mark.parametrize(
    ("reply", "status", "text"),
    [
        (InferenceReply(b"no json"), Status.INTERNAL, "The handler's answer is not one of the Open Inference Protocol"),
        (HandlerFailed(), Status.UNAVAILABLE, "Prediction failed"),
    ],
)
@on_loop
async def test_an_inference_that_fails_says_why(reply, status, text):
    answer, _ = await Port(lambda request: reply).call("ModelInfer", pb.ModelInferRequest(model_name="m"), None)
    assert answer.status == status
    assert answer.text.startswith(text)
    assert answer.text.endswith("\norg.pytorch.serve.http.InternalServerException")


CONTENTS = [
    ("BOOL", "bool_contents", [True, False]),
    ("INT8", "int_contents", [-1, 2]),
    ("INT16", "int_contents", [-1, 2]),
    ("INT32", "int_contents", [-(2**31), 2]),
    ("INT64", "int64_contents", [-(2**63), 2]),
    ("UINT8", "uint_contents", [0, 255]),
    ("UINT16", "uint_contents", [0, 2]),
    ("UINT32", "uint_contents", [0, 2**32 - 1]),
    ("UINT64", "uint64_contents", [0, 2**64 - 1]),
    ("FP32", "fp32_contents", [0.5, -2.0]),
    ("FP64", "fp64_contents", [0.1, -2.0]),
]


@pytest.mark.parametrize(("datatype", "field", "values"), CONTENTS)
def test_every_data_type_has_its_field_both_ways(datatype, field, values):
    contents = pb.InferTensorContents(**{field: values})
    tensor = pb.ModelInferRequest.InferInputTensor(name="t", datatype=datatype, shape=[2], contents=contents)
    (given,) = msgspec.json.decode(request_json(pb.ModelInferRequest(inputs=[tensor])))["inputs"]
    assert given["data"] == values
    (output,) = response_message(msgspec.json.encode({**ANSWER, "outputs": [given]})).outputs
    assert output.contents == contents
    assert (output.name, output.datatype, list(output.shape)) == ("t", datatype, [2])


def test_bytes_are_base64_on_the_way_in_and_json_text_on_the_way_out():
    contents = pb.InferTensorContents(bytes_contents=[b"ab", b"\xff"])
    tensor = pb.ModelInferRequest.InferInputTensor(name="t", datatype="BYTES", shape=[2], contents=contents)
    (given,) = msgspec.json.decode(request_json(pb.ModelInferRequest(inputs=[tensor])))["inputs"]
    assert given["data"] == ["YWI=", "/w=="]
    (output,) = response_message(msgspec.json.encode({**ANSWER, "outputs": [{**given, "data": ["YWI=", 1]}]})).outputs
    assert list(output.contents.bytes_contents) == [b'"YWI="', b"1"]


def test_a_data_type_that_nobody_knows_has_no_data():
    tensor = pb.ModelInferRequest.InferInputTensor(name="t", datatype="FP16", shape=[2])
    (given,) = msgspec.json.decode(request_json(pb.ModelInferRequest(inputs=[tensor])))["inputs"]
    assert given == {"name": "t", "shape": [2], "datatype": "FP16"}
    (output,) = response_message(msgspec.json.encode({**ANSWER, "outputs": [{**given, "data": [1]}]})).outputs
    assert output.contents == pb.InferTensorContents()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        msgspec.json.encode({**ANSWER, "outputs": [{"name": "o"}]}),
        msgspec.json.encode({**ANSWER, "outputs": [{"name": "o", "datatype": "INT32", "shape": [1], "data": ["x"]}]}),
        msgspec.json.encode({**ANSWER, "outputs": [{"name": "o", "datatype": "UINT8", "shape": [1], "data": [-1]}]}),
        msgspec.json.encode({**ANSWER, "outputs": [{"name": "o", "datatype": "INT8", "shape": [2**70], "data": []}]}),
    ],
)
def test_what_is_no_answer_of_the_protocol_is_an_error(answer):
    with pytest.raises(InternalError, match="not one of the Open Inference Protocol"):
        response_message(answer)
