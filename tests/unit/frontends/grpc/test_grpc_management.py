"""TorchServe's management API over gRPC: each call as ``api.Management`` gets it, and the answer's text."""

from __future__ import annotations

import msgspec
import pytest
from grpc_sites import Client, on_loop, site_of

from flambeau.api import Registration, Scaling
from flambeau.frontends.grpc.management import SERVICE, ManagementApi
from flambeau.frontends.grpc.protos import management_pb2 as pb
from flambeau.frontends.grpc.status import Status
from flambeau.request import ModelRef
from flambeau.testing.management import FakeManagement

MODEL = "org.pytorch.serve.archive.model"
BAD_REQUEST = "org.pytorch.serve.http.BadRequestException"


class Port:
    """A site of two archives, of which none is registered."""

    def __init__(self, *, model_api_enabled=True, metadata=None):
        archives = {"one.mar": ModelRef("m", "1.0"), "two.mar": ModelRef("m", "2.0")}
        self.management = FakeManagement(archives, metadata)
        methods = ManagementApi(self.management, model_api_enabled=model_api_enabled).methods()
        self.client = Client(site_of(methods))

    async def call(self, method, request):
        """Status and text of the answer, whichever way it went."""
        answer = await self.client.call(f"{SERVICE}/{method}", request)
        if answer.status:
            return Status(answer.status), answer.text
        (found,) = answer.messages
        return Status.OK, pb.ManagementResponse.FromString(found).msg

    async def register(self, *urls, workers=1):
        for url in urls:
            request = pb.RegisterModelRequest(url=url, initial_workers=workers, synchronous=True)
            assert (await self.call("RegisterModel", request))[0] is Status.OK


@on_loop
async def test_a_registration_passes_on_what_is_given_and_nothing_else():
    port = Port()
    status, text = await port.call("RegisterModel", pb.RegisterModelRequest(url="one.mar"))
    assert (status, text.split(" registered")[0]) == (Status.OK, 'Model "m" Version: 1.0')
    everything = pb.RegisterModelRequest(
        url="two.mar",
        batch_size=4,
        handler="h",
        initial_workers=2,
        max_batch_delay=50,
        model_name="named",
        response_timeout=7,
        runtime="python3",
        synchronous=True,
        s3_sse_kms=True,
        startup_timeout=9,
    )
    assert (await port.call("RegisterModel", everything))[0] is Status.OK
    assert port.management.registrations == [
        Registration(url="one.mar", synchronous=False),
        Registration(
            url="two.mar",
            batch_size=4,
            handler="h",
            initial_workers=2,
            max_batch_delay_s=0.05,
            model_name="named",
            response_timeout_s=7,
            runtime="python3",
            synchronous=True,
            s3_sse_kms=True,
            startup_timeout_s=9,
        ),
    ]


@on_loop
async def test_what_goes_on_in_the_background_says_so():
    port = Port()
    request = pb.RegisterModelRequest(url="one.mar", initial_workers=1)
    assert await port.call("RegisterModel", request) == (Status.OK, "Processing worker updates...")


@pytest.mark.parametrize(
    ("request_", "status", "text"),
    [
        (pb.RegisterModelRequest(), Status.INVALID_ARGUMENT, f"Parameter url is required.\n{BAD_REQUEST}"),
        (
            pb.RegisterModelRequest(url="no.mar"),
            Status.NOT_FOUND,
            f"Model not found at: no.mar\n{MODEL}.ModelNotFoundException",
        ),
        (
            pb.RegisterModelRequest(url="one.mar"),
            Status.ALREADY_EXISTS,
            f"Model version 1.0 is already registered for model m\n{MODEL}.ModelException",
        ),
    ],
)
@on_loop
async def test_what_cannot_be_registered_says_why(request_, status, text):
    port = Port()
    await port.register("one.mar")
    assert await port.call("RegisterModel", request_) == (status, text)


@on_loop
async def test_registering_and_unregistering_can_be_switched_off_and_the_rest_cannot():
    port = Port(model_api_enabled=False)
    refusal = (Status.PERMISSION_DENIED, f"Model API disabled\n{MODEL}.ModelException")
    assert await port.call("RegisterModel", pb.RegisterModelRequest(url="one.mar")) == refusal
    assert await port.call("UnregisterModel", pb.UnregisterModelRequest(model_name="m")) == refusal
    assert (await port.call("ListModels", pb.ListModelsRequest(limit=1)))[0] is Status.OK


@on_loop
async def test_a_description_is_the_json_that_http_gives():
    port = Port(metadata={"classes": 3})
    await port.register("one.mar", "two.mar")
    status, text = await port.call("DescribeModel", pb.DescribeModelRequest(model_name="m"))
    assert status is Status.OK
    assert text.startswith('[\n  {\n    "modelName": "m",\n    "modelVersion": "1.0",')
    assert text.endswith("\n]")
    for version, expected in (("2.0", ["2.0"]), ("all", ["1.0", "2.0"])):
        request = pb.DescribeModelRequest(model_name="m", model_version=version)
        _, text = await port.call("DescribeModel", request)
        assert [found["modelVersion"] for found in msgspec.json.decode(text)] == expected
    _, text = await port.call("DescribeModel", pb.DescribeModelRequest(model_name="m", customized=True))
    assert msgspec.json.decode(text)[0]["customizedMetadata"] == {"classes": 3}


@on_loop
async def test_a_description_of_a_model_without_workers_cannot_be_customized():
    port = Port()
    await port.register("one.mar", workers=0)
    status, text = await port.call("DescribeModel", pb.DescribeModelRequest(model_name="m", customized=True))
    assert status is Status.INTERNAL
    assert text.startswith('Model "m" has no worker to serve describe request.')
    assert text.endswith("\nInternalServerException.()")


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("DescribeModel", pb.DescribeModelRequest(model_name="x")),
        ("DescribeModel", pb.DescribeModelRequest(model_name="x", model_version="all")),
        ("ScaleWorker", pb.ScaleWorkerRequest(model_name="x")),
        ("SetDefault", pb.SetDefaultRequest(model_name="x", model_version="1.0")),
        ("UnregisterModel", pb.UnregisterModelRequest(model_name="x")),
    ],
)
@on_loop
async def test_a_model_that_is_not_there_is_not_found(method, request_):
    expected = (Status.NOT_FOUND, f"Model not found: x\n{MODEL}.ModelNotFoundException")
    assert await Port().call(method, request_) == expected


@pytest.mark.parametrize(
    ("method", "request_", "sentence"),
    [
        (
            "DescribeModel",
            pb.DescribeModelRequest(model_name="m", model_version="9"),
            "Model version: 9 does not exist for model: m",
        ),
        (
            "SetDefault",
            pb.SetDefaultRequest(model_name="m", model_version="9"),
            "Model version 9 does not exist for model m",
        ),
    ],
)
@on_loop
async def test_a_version_that_is_not_there_is_not_found(method, request_, sentence):
    port = Port()
    await port.register("one.mar")
    expected = (Status.NOT_FOUND, f"{sentence}\n{MODEL}.ModelVersionNotFoundException")
    assert await port.call(method, request_) == expected


@pytest.mark.parametrize(
    ("limit", "token", "expected"),
    [
        (0, 0, {"nextPageToken": "0", "models": []}),
        (5, 0, {"models": [{"modelName": "m", "modelUrl": "one.mar"}]}),
        (1000, -5, {"models": [{"modelName": "m", "modelUrl": "one.mar"}]}),
        (-1, 0, {"models": [{"modelName": "m", "modelUrl": "one.mar"}]}),
        (5, 1, {"models": []}),
    ],
)
@on_loop
async def test_a_list_has_as_many_models_as_were_asked_for(limit, token, expected):
    port = Port()
    await port.register("one.mar")
    _, text = await port.call("ListModels", pb.ListModelsRequest(limit=limit, next_page_token=token))
    assert msgspec.json.decode(text) == expected


@pytest.mark.parametrize(
    ("request_", "scaling", "text"),
    [
        (pb.ScaleWorkerRequest(model_name="m"), Scaling(min_worker=1), "Processing worker updates..."),
        (
            pb.ScaleWorkerRequest(
                model_name="m", min_worker=2, max_worker=3, synchronous=True, number_gpu=9, timeout=9
            ),
            Scaling(min_worker=2, max_worker=3, synchronous=True),
            "Workers scaled to 2 for model: m",
        ),
        (
            pb.ScaleWorkerRequest(model_name="m", model_version="1.0", min_worker=-4, max_worker=0, synchronous=True),
            Scaling(min_worker=1, synchronous=True),
            "Workers scaled to 1 for model: m, version: 1.0",
        ),
    ],
)
@on_loop
async def test_numbers_of_workers_that_are_not_positive_are_not_given(request_, scaling, text):
    port = Port()
    await port.register("one.mar")
    assert await port.call("ScaleWorker", request_) == (Status.OK, text)
    assert port.management.scalings == [(ModelRef("m", request_.model_version or None), scaling)]


@on_loop
async def test_fewer_workers_at_most_than_at_least_is_an_argument_that_is_wrong():
    port = Port()
    await port.register("one.mar")
    request = pb.ScaleWorkerRequest(model_name="m", min_worker=3, max_worker=2)
    expected = (Status.INVALID_ARGUMENT, f"max_worker cannot be less than min_worker.\n{BAD_REQUEST}")
    assert await port.call("ScaleWorker", request) == expected


@on_loop
async def test_a_default_is_set_and_a_version_unregistered():
    port = Port()
    await port.register("one.mar", "two.mar")
    request = pb.SetDefaultRequest(model_name="m", model_version="2.0")
    sentence = 'Default version successfully updated for model "m" to "2.0"'
    assert await port.call("SetDefault", request) == (Status.OK, sentence)
    status, text = await port.call("UnregisterModel", pb.UnregisterModelRequest(model_name="m"))
    assert (status, text.splitlines()[0]) == (
        Status.FAILED_PRECONDITION,
        "Cannot remove default version for model m",
    )
    request = pb.UnregisterModelRequest(model_name="m", model_version="1.0")
    assert await port.call("UnregisterModel", request) == (Status.OK, 'Model "m" unregistered')
    expected = (Status.INVALID_ARGUMENT, f"Parameter url is required.\n{BAD_REQUEST}")
    assert await port.call("UnregisterModel", pb.UnregisterModelRequest()) == expected
