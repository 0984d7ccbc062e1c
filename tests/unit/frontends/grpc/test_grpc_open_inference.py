"""The Open Inference Protocol over gRPC: health, metadata, and tensors to JSON and back."""

from __future__ import annotations

import json
import math
import struct

import msgspec
import pytest
from grpc_sites import Client, HeldModel, Metrics, on_loop, site_of, turn

from flambeau.api import Registration
from flambeau.errors import HandlerFailed, InternalError, Unauthorized
from flambeau.frontends.grpc.open_inference import SERVICE, SERVICES, TRITON_SERVICE, OpenInferenceApi
from flambeau.frontends.grpc.protos import open_inference_extensions_pb2 as ext
from flambeau.frontends.grpc.protos import open_inference_pb2 as pb
from flambeau.frontends.grpc.status import Status
from flambeau.frontends.grpc.tensors import request_json, response_message
from flambeau.frontends.open_inference import OpenInferenceModels
from flambeau.request import InferenceReply, ModelRef, Purpose
from flambeau.signature import Signature, TensorSpec
from flambeau.testing.inference import FakeInference, FakeServedModel
from flambeau.testing.management import FakeManagement
from flambeau.version import __version__

ANSWER = {"id": "7", "model_name": "m", "model_version": "1.0", "outputs": []}


class Port:
    def __init__(
        self,
        reply=lambda request: InferenceReply(msgspec.json.encode(ANSWER)),
        *,
        takes_tensors=False,
        model_api_enabled=True,
    ):
        self.model = FakeServedModel(ModelRef("m", "1.0"), reply, takes_tensors=takes_tensors)
        self.management = FakeManagement({"one.mar": ModelRef("m", "1.0"), "two.mar": ModelRef("m", "2.0")})
        self.metrics = Metrics()
        models = OpenInferenceModels(self.management, model_api_enabled=model_api_enabled)
        api = OpenInferenceApi(FakeInference(self.model), models, self.metrics)
        self.client = Client(site_of(api.methods()))

    async def call(self, method, request, kind, service=SERVICE):
        answer = await self.client.call(f"{service}/{method}", request)
        return answer, [kind.FromString(found) for found in answer.messages]

    async def register(self, url, workers):
        await self.management.register(Registration(url=url, initial_workers=workers))


@on_loop
async def test_a_server_that_answers_is_live_and_ready():
    port = Port()
    _, (live,) = await port.call("ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse)
    _, (ready,) = await port.call("ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse)
    assert (live.live, ready.ready) == (True, True)


@pytest.mark.parametrize("service", SERVICES)
@on_loop
async def test_a_server_describes_itself(service):
    _, (described,) = await Port().call(
        "ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse, service
    )
    assert (described.name, described.version) == ("Torchserve", __version__)
    assert "binary_tensor_data" in described.extensions


@on_loop
async def test_a_model_says_whether_it_is_ready_and_which_versions_it_has():
    port = Port()
    await port.register("one.mar", 1)
    await port.register("two.mar", 0)
    _, (ready,) = await port.call("ModelReady", pb.ModelReadyRequest(name="m"), pb.ModelReadyResponse)
    assert ready.ready
    _, (ready,) = await port.call("ModelReady", pb.ModelReadyRequest(name="m", version="2.0"), pb.ModelReadyResponse)
    assert not ready.ready
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


def test_nan_in_a_handlers_json_is_nan():
    body = json.dumps({**ANSWER, "outputs": [{"name": "o", "datatype": "FP32", "shape": [1], "data": [math.nan]}]})
    (value,) = response_message(body.encode()).outputs[0].contents.fp32_contents
    assert math.isnan(value)


# --- under the name that other clients know ---------------------------------------------------------------------------


@on_loop
async def test_a_model_with_a_signature_says_what_it_takes_and_gives():
    port = Port()
    await port.register("one.mar", 1)
    port.management.describe(ModelRef("m")).signature = Signature(
        inputs=(TensorSpec("x", "BYTES", (-1, 3), optional=True),), outputs=(TensorSpec("y", "BF16", ()),)
    )
    request = pb.ModelMetadataRequest(name="m")
    _, (metadata,) = await port.call("ModelMetadata", request, pb.ModelMetadataResponse, TRITON_SERVICE)
    ((x,), (y,)) = metadata.inputs, metadata.outputs
    assert (x.name, x.datatype, list(x.shape)) == ("x", "BYTES", [-1, 3])
    assert (y.name, y.datatype, list(y.shape)) == ("y", "BF16", [])
    request = ext.ModelConfigRequest(name="m", version="1.0")
    _, (answer,) = await port.call("ModelConfig", request, ext.ModelConfigResponse, TRITON_SERVICE)
    ((x,), (y,)) = answer.config.input, answer.config.output
    assert (x.name, x.data_type, list(x.dims), x.optional) == ("x", ext.TYPE_STRING, [-1, 3], True)
    assert (y.name, y.data_type, list(y.dims)) == ("y", ext.TYPE_BF16, [])


@on_loop
async def test_statistics_are_of_one_model_or_of_all():
    port = Port()
    await port.register("one.mar", 1)
    for request in (ext.ModelStatisticsRequest(name="m"), ext.ModelStatisticsRequest()):
        _, (answer,) = await port.call("ModelStatistics", request, ext.ModelStatisticsResponse, TRITON_SERVICE)
        (stats,) = answer.model_stats
        assert (stats.name, stats.version, stats.inference_count, stats.execution_count) == ("m", "1.0", 3, 3)
        assert stats.last_inference == 1_000_000_000_500
        assert stats.inference_stats.success == ext.StatisticDuration(count=3, ns=600_000_000)
        assert [batch.batch_size for batch in stats.batch_stats] == [1, 2]


@on_loop
async def test_models_are_loaded_and_unloaded_by_their_names():
    port = Port()
    load = ext.RepositoryModelLoadRequest(model_name="one")
    answer, _ = await port.call("RepositoryModelLoad", load, ext.RepositoryModelLoadResponse, TRITON_SERVICE)
    assert answer.status == Status.OK
    request = ext.RepositoryIndexRequest(ready=True)
    _, (index,) = await port.call("RepositoryIndex", request, ext.RepositoryIndexResponse, TRITON_SERVICE)
    assert [(model.name, model.version, model.state) for model in index.models] == [("one", "1.0", "READY")]
    unload = ext.RepositoryModelUnloadRequest(model_name="one")
    unload.parameters["unload_dependents"].bool_param = False
    answer, _ = await port.call("RepositoryModelUnload", unload, ext.RepositoryModelUnloadResponse, TRITON_SERVICE)
    assert answer.status == Status.OK
    _, (index,) = await port.call(
        "RepositoryIndex", ext.RepositoryIndexRequest(), ext.RepositoryIndexResponse, TRITON_SERVICE
    )
    assert [(model.name, model.state) for model in index.models] == [("one", "UNAVAILABLE"), ("two", "UNAVAILABLE")]


@pytest.mark.parametrize(
    ("name", "parameter", "status"),
    [("z", None, Status.NOT_FOUND), ("", None, Status.INVALID_ARGUMENT), ("one", "config", Status.INVALID_ARGUMENT)],
)
@on_loop
async def test_what_cannot_be_loaded_is_refused(name, parameter, status):
    load = ext.RepositoryModelLoadRequest(model_name=name)
    if parameter:
        load.parameters[parameter].string_param = "{}"
    answer, _ = await Port().call("RepositoryModelLoad", load, ext.RepositoryModelLoadResponse, TRITON_SERVICE)
    assert answer.status == status


@on_loop
async def test_models_come_and_go_only_where_the_model_api_is_on():
    port = Port(model_api_enabled=False)
    for method, request in (
        ("RepositoryModelLoad", ext.RepositoryModelLoadRequest(model_name="one")),
        ("RepositoryModelUnload", ext.RepositoryModelUnloadRequest(model_name="one")),
    ):
        answer, _ = await port.call(method, request, ext.RepositoryModelLoadResponse, TRITON_SERVICE)
        assert (answer.status, answer.text) == (Status.PERMISSION_DENIED, "Model API disabled")


@on_loop
async def test_models_come_and_go_with_the_management_key():
    port = Port()

    def refuse(authorization):
        if authorization != b"Bearer inference":
            raise Unauthorized("no")

    def refuse_management(authorization):
        if authorization != b"Bearer management":
            raise Unauthorized("no")

    models = OpenInferenceModels(port.management, model_api_enabled=True)
    api = OpenInferenceApi(FakeInference(port.model), models, port.metrics)
    client = Client(site_of(api.methods(), check=refuse, check_management=refuse_management))
    load, index = ext.RepositoryModelLoadRequest(model_name="one"), ext.RepositoryIndexRequest()
    for method, request, key, status in (
        ("RepositoryModelLoad", load, "inference", Status.PERMISSION_DENIED),
        ("RepositoryModelLoad", load, "management", Status.OK),
        ("RepositoryIndex", index, "management", Status.PERMISSION_DENIED),
        ("RepositoryIndex", index, "inference", Status.OK),
    ):
        headers = [("authorization", f"Bearer {key}")]
        answer = await client.call(f"{TRITON_SERVICE}/{method}", request, headers=headers)
        assert answer.status == status, (method, key)


@pytest.mark.parametrize(
    ("request_", "status", "text"),
    [
        (pb.ModelInferRequest(model_name="z"), Status.NOT_FOUND, "Model not found: z"),
        (pb.ModelInferRequest(), Status.INVALID_ARGUMENT, "Parameter model_name is required."),
        (
            pb.ModelInferRequest(model_name="m", raw_input_contents=[b""]),
            Status.INVALID_ARGUMENT,
            "There are 0 inputs and raw contents of 1.",
        ),
    ],
)
@on_loop
async def test_errors_have_grpcs_meanings_and_no_names_of_classes(request_, status, text):
    answer, _ = await Port().call("ModelInfer", request_, pb.ModelInferResponse, TRITON_SERVICE)
    assert (answer.status, answer.text) == (status, text)


def echo(request):
    """What a worker answers whose handler gives back the tensors that it was given."""
    header, binary = (bytes(value) for _, _, value in request.parameters)
    asked = msgspec.json.decode(header)
    answer = {"id": asked["id"], "model_name": "m", "model_version": "1.0", "outputs": asked["inputs"]}
    described = msgspec.json.encode(answer)
    return InferenceReply(described + binary, headers=[("Inference-Header-Content-Length", str(len(described)))])


def infer_request(*tensors, raw=(), **members):
    inputs = [
        pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape, contents=contents)
        for name, datatype, shape, contents in tensors
    ]
    return pb.ModelInferRequest(model_name="m", inputs=inputs, raw_input_contents=raw, **members)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("takes_tensors", [True, False])
@on_loop
async def test_raw_contents_travel_as_they_are_and_are_answered_with_raw_contents(takes_tensors, service):
    port = Port(echo, takes_tensors=takes_tensors)
    request = infer_request(("a", "FP16", [2], None), ("b", "BYTES", [1], None), raw=[b"abcd", b"\1\0\0\0x"], id="7")
    request.parameters["beams"].int64_param = 4
    request.parameters["heat"].double_param = 0.5
    request.outputs.add(name="a").parameters["binary_data"].bool_param = True
    _, (response,) = await port.call("ModelInfer", request, pb.ModelInferResponse, service)
    (job,) = port.model.requests
    assert job.purpose == Purpose.INFER
    (_, _, header), (_, _, binary) = job.parameters
    assert bytes(binary) == b"abcd\1\0\0\0x"
    asked = msgspec.json.decode(header)
    assert asked["parameters"] == {"beams": 4, "heat": 0.5, "binary_data_output": True}
    assert asked["outputs"] == [{"name": "a", "parameters": {"binary_data": True}}]
    assert asked["inputs"][0] == {
        "name": "a",
        "datatype": "FP16",
        "shape": [2],
        "parameters": {"binary_data_size": 4},
    }
    assert list(response.raw_output_contents) == [b"abcd", b"\1\0\0\0x"]
    assert [(output.name, output.datatype, list(output.shape)) for output in response.outputs] == [
        ("a", "FP16", [2]),
        ("b", "BYTES", [1]),
    ]
    assert (response.id, response.model_name, response.model_version) == ("7", "m", "1.0")


TYPED = [*CONTENTS, ("BYTES", "bytes_contents", [b"", b"\xff", b"abc"])]


@pytest.mark.parametrize(("datatype", "field", "values"), TYPED)
@on_loop
async def test_typed_contents_become_bytes_for_a_model_that_takes_tensors_and_come_back_typed(datatype, field, values):
    port = Port(echo, takes_tensors=True)
    contents = pb.InferTensorContents(**{field: values})
    request = infer_request(("x", datatype, [len(values)], contents))
    _, (response,) = await port.call("ModelInfer", request, pb.ModelInferResponse)
    assert not response.raw_output_contents
    assert list(getattr(response.outputs[0].contents, field)) == values
    assert len(port.model.requests[0].parameters) == 2


@on_loop
async def test_outputs_that_have_no_field_come_raw():
    output = {"name": "y", "datatype": "FP16", "shape": [1], "parameters": {"binary_data_size": 2}}
    header = msgspec.json.encode({**ANSWER, "outputs": [output]})
    reply = InferenceReply(header + b"ab", headers=[("inference-header-content-length", str(len(header)))])
    port = Port(lambda request: reply, takes_tensors=True)
    request = infer_request(("x", "BOOL", [1], pb.InferTensorContents(bool_contents=[True])))
    _, (response,) = await port.call("ModelInfer", request, pb.ModelInferResponse)
    assert list(response.raw_output_contents) == [b"ab"]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (infer_request(("x", "FP32", [1], None), raw=[b"", b""]), "There are 1 inputs and raw contents of 2."),
        (
            infer_request(("x", "FP32", [1], pb.InferTensorContents()), raw=[b"abcd"]),
            "Input 'x' has contents of its own beside the raw contents.",
        ),
        (infer_request(("x", "FP16", [1], None)), "Input 'x': 'FP16' must come as raw contents"),
        (infer_request(("x", "FLOAT", [1], None)), "Input 'x': 'FLOAT' must come as raw contents"),
        (
            infer_request(("x", "INT8", [1], pb.InferTensorContents(int_contents=[128]))),
            "The contents of input 'x' are not INT8",
        ),
        (
            infer_request(("x", "UINT16", [1], pb.InferTensorContents(uint_contents=[2**16]))),
            "The contents of input 'x' are not UINT16",
        ),
    ],
)
@on_loop
async def test_contents_that_do_not_fit_are_refused(request_, text):
    port = Port(takes_tensors=True)
    answer, _ = await port.call("ModelInfer", request_, pb.ModelInferResponse, TRITON_SERVICE)
    assert answer.status == Status.INVALID_ARGUMENT
    assert answer.text.startswith(text)
    assert not port.model.requests


JSON_OUTPUTS = [
    ("FP32", [1, 2.5], struct.pack("<2f", 1, 2.5)),
    ("FP16", [[1], [2.5]], struct.pack("<2e", 1, 2.5)),
    ("BF16", [1.0], b"\x80\x3f"),
    ("INT64", [-1], b"\xff" * 8),
    ("BOOL", [True, False], b"\1\0"),
    ("BYTES", ["é"], b"\2\0\0\0\xc3\xa9"),
]


@pytest.mark.parametrize(("datatype", "data", "raw"), JSON_OUTPUTS)
@on_loop
async def test_a_handlers_json_answers_raw_contents_with_raw_contents(datatype, data, raw):
    output = {"name": "y", "datatype": datatype, "shape": [len(data)], "data": data}
    port = Port(lambda request: InferenceReply(msgspec.json.encode({**ANSWER, "outputs": [output]})))
    request = infer_request(("x", "BOOL", [1], None), raw=[b"\1"])
    _, (response,) = await port.call("ModelInfer", request, pb.ModelInferResponse)
    assert list(response.raw_output_contents) == [raw]


@pytest.mark.parametrize(("datatype", "data"), [("INT8", [300]), ("FP32", ["x"]), ("BYTES", [{}]), ("FLOAT", [1])])
@on_loop
async def test_a_handlers_json_that_is_not_of_its_type_is_an_error(datatype, data):
    output = {"name": "y", "datatype": datatype, "shape": [1], "data": data}
    port = Port(lambda request: InferenceReply(msgspec.json.encode({**ANSWER, "outputs": [output]})))
    request = infer_request(("x", "BOOL", [1], None), raw=[b"\1"])
    answer, _ = await port.call("ModelInfer", request, pb.ModelInferResponse, TRITON_SERVICE)
    assert answer.status == Status.INTERNAL
    assert answer.text.startswith(f"The handler's output 'y' is not {datatype}")


# --- streams ----------------------------------------------------------------------------------------------------------

STREAM = f"{TRITON_SERVICE}/ModelStreamInfer"


def streamed(answer):
    return [ext.ModelStreamInferResponse.FromString(found) for found in answer.messages]


@on_loop
async def test_each_request_of_a_stream_has_its_answer_and_errors_do_not_end_it():
    port = Port(echo, takes_tensors=True)
    good = infer_request(("x", "BOOL", [1], None), raw=[b"\1"], id="good")
    final = infer_request(("x", "BOOL", [1], None), raw=[b"\1"], id="final")
    final.parameters["triton_enable_empty_final_response"].bool_param = True
    bad = infer_request(("x", "FP32", [1], None), raw=[b"", b""], id="bad")
    unknown = pb.ModelInferRequest(model_name="z", id="unknown")
    answer = await port.client.call(STREAM, good, bad, unknown, final)
    assert answer.status == Status.OK
    said = {response.infer_response.id: response for response in streamed(answer)}
    assert said["good"].error_message == ""
    assert list(said["good"].infer_response.raw_output_contents) == [b"\1"]
    assert "triton_final_response" not in said["good"].infer_response.parameters
    assert said["final"].infer_response.parameters["triton_final_response"].bool_param
    assert said["bad"].error_message == "There are 1 inputs and raw contents of 2."
    assert said["unknown"].error_message == "Model not found: z"


@on_loop
async def test_a_failure_of_the_handler_and_an_answer_that_is_none_are_told_in_the_stream():
    for reply, text in ((HandlerFailed(), "Prediction failed"), (InferenceReply(b"no"), "The handler's answer is not")):
        port = Port(lambda request, reply=reply: reply)
        answer = await port.client.call(STREAM, infer_request(id="1"))
        (response,) = streamed(answer)
        assert response.error_message.startswith(text)
        assert answer.status == Status.OK


@on_loop
async def test_a_stream_that_is_cancelled_abandons_its_requests():
    model = HeldModel("m")
    models = OpenInferenceModels(FakeManagement({}), model_api_enabled=False)
    client = Client(site_of(OpenInferenceApi(FakeInference(model), models, Metrics()).methods()))
    client.start(STREAM, infer_request(id="1"))
    await client.until(lambda: model.tickets)
    client.connection.abort()
    await turn()
    assert model.tickets[0].is_abandoned


@on_loop
async def test_a_stream_may_have_many_requests_under_way_and_ends_with_the_last():
    model = HeldModel("m")
    models = OpenInferenceModels(FakeManagement({}), model_api_enabled=False)
    client = Client(site_of(OpenInferenceApi(FakeInference(model), models, Metrics()).methods()))
    answer = client.start(STREAM, *(infer_request(id=str(number)) for number in range(3)))
    await client.until(lambda: len(model.callers) == 3)
    assert not answer.has_ended
    model.release(InferenceReply(msgspec.json.encode(ANSWER)))
    await client.finished(answer)
    assert (answer.status, len(answer.messages)) == (Status.OK, 3)
