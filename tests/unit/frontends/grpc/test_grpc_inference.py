"""TorchServe's inference API over gRPC: what the model gets, what the client gets, what is counted."""

from __future__ import annotations

import pytest
from google.protobuf.empty_pb2 import Empty
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_frames import message
from grpc_sites import Client, HeldModel, Limits, Metrics, on_loop, site_of, turn

from flambeau.errors import HandlerFailed, HandlerRejected, NoWorker, OutOfMemory, QueueFull, WorkerDied
from flambeau.frontends.grpc import frames
from flambeau.frontends.grpc.frames import ErrorCode
from flambeau.frontends.grpc.inference import SERVICE, InferenceApi
from flambeau.frontends.grpc.protos.inference_pb2 import (
    PredictionResponse,
    PredictionsRequest,
    TorchServeHealthResponse,
)
from flambeau.frontends.grpc.sequences import SequenceKeys
from flambeau.frontends.grpc.status import Status
from flambeau.request import InferenceReply, ModelRef, Purpose
from flambeau.testing.inference import FakeInference, FakeServedModel

KEYS = SequenceKeys("sequence-id", "sequence-start", "sequence-end")
PREDICT = f"{SERVICE}/Predictions"


def echo(request):
    return InferenceReply(b"".join(bytes(value) for _, _, value in request.parameters))


class Port:
    """A site of models, and one client."""

    def __init__(self, *models, is_healthy=True, **options):
        self.inference = FakeInference(*models, is_healthy=is_healthy)
        self.metrics = Metrics()
        self.site = site_of(InferenceApi(self.inference, self.metrics, KEYS).methods(), **options)
        self.client = Client(self.site)

    async def predict(self, name="", version="", *, method=PREDICT, **fields):
        request = PredictionsRequest(model_name=name, model_version=version, input=fields)
        answer = await self.client.call(method, request)
        return answer, [PredictionResponse.FromString(found).prediction for found in answer.messages]


def model(reply=echo, name="m", version="1.0"):
    return FakeServedModel(ModelRef(name, version), reply)


@on_loop
async def test_every_input_becomes_a_field_without_content_type_and_there_are_no_headers():
    served = model()
    port = Port(served)
    answer, predictions = await port.predict("m", data=b"\x00\xff", body=b"text")
    (request,) = served.requests
    assert sorted(request.parameters) == [("body", "", b"text"), ("data", "", b"\x00\xff")]
    assert (list(request.headers), request.purpose) == ([], Purpose.PREDICT)
    assert len(predictions[0]) == 6
    assert answer.status == 0


@on_loop
async def test_a_version_is_served_where_it_is_named_and_counted_as_it_was_named():
    port = Port(model(lambda _: InferenceReply(b"one")), model(lambda _: InferenceReply(b"two"), version="2.0"))
    for version, expected in (("", b"one"), ("2.0", b"two"), ("", b"one")):
        assert (await port.predict("m", version))[1] == [expected]
    recorded = port.metrics.recorded
    assert recorded["ts_inference_requests_total", "m", "default"] == [1, 1]
    assert recorded["ts_inference_requests_total", "m", "2.0"] == [1]
    assert recorded["QueueTime", "Host"] == [0, 0, 0]


@on_loop
async def test_a_model_that_changes_is_found_anew():
    port = Port(model(lambda _: InferenceReply(b"old")))
    await port.predict("m")
    port.inference._models["m"]["1.0"] = model(lambda _: InferenceReply(b"new"))
    port.inference.generation += 1
    assert (await port.predict("m"))[1] == [b"new"]


@on_loop
async def test_what_a_handler_sets_beside_the_body_is_ignored():
    reply = InferenceReply(bytearray(b"body"), status=404, phrase="Gone", headers=[("a", "b")])
    answer, predictions = await Port(model(lambda _: reply)).predict("m")
    assert (answer.status, predictions) == (0, [b"body"])
    assert "a" not in answer.headers


@on_loop
async def test_an_empty_request_is_an_empty_row():
    served = model()
    answer, predictions = await Port(served).predict("m")
    assert (answer.status, predictions, served.requests[0].parameters) == (0, [b""], [])


@on_loop
async def test_a_stream_of_a_handler_that_does_not_stream_has_its_one_answer():
    answer, predictions = await Port(model()).predict("m", method=f"{SERVICE}/StreamPredictions", data=b"x")
    assert (answer.status, predictions) == (0, [b"x"])


@pytest.mark.parametrize(
    ("name", "version", "text"),
    [
        ("", "", "Parameter model_name is required.\nBadRequestException.()"),
        ("x", "", "Model not found: x\norg.pytorch.serve.archive.model.ModelNotFoundException"),
        (
            "m",
            "9",
            "Model version: 9 does not exist for model: m\n"
            "org.pytorch.serve.archive.model.ModelVersionNotFoundException",
        ),
    ],
)
@on_loop
async def test_a_model_that_is_not_there_is_an_error_that_names_it_and_is_not_counted(name, version, text):
    port = Port(model())
    answer, predictions = await port.predict(name, version, data=b"x")
    assert (answer.status, answer.text, predictions) == (Status.INTERNAL, text, [])
    assert not any(values for values in port.metrics.recorded.values())


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (HandlerFailed(), Status.UNAVAILABLE),
        (HandlerRejected("not that", 404), Status.NOT_FOUND),
        (HandlerRejected("slow down", 429), Status.RESOURCE_EXHAUSTED),
        (OutOfMemory(), Status.INTERNAL),
        (WorkerDied(), Status.INTERNAL),
    ],
)
@on_loop
async def test_what_goes_wrong_in_a_worker_has_its_status(error, status):
    answer, _ = await Port(model(lambda _: error)).predict("m")
    assert answer.status == status
    assert answer.text == f"{error.message}\norg.pytorch.serve.http.InternalServerException"


class Refusing(FakeServedModel):
    def submit(self, request, caller, arrived_at):
        raise self.reply(request)


@on_loop
async def test_a_model_without_workers_is_named_with_its_version_where_the_client_named_one():
    port = Port(Refusing(ModelRef("m", "1.0"), lambda _: NoWorker("m")))
    plain, _ = await port.predict("m")
    versioned, _ = await port.predict("m", "1.0")
    assert plain.status == versioned.status == Status.INTERNAL
    assert plain.text == f"{NoWorker('m').message}\nInternalServerException.()"
    assert versioned.text == f"{NoWorker('m', '1.0').message}\nInternalServerException.()"
    assert port.metrics.recorded["ts_inference_requests_total", "m", "default"] == [1]


@on_loop
async def test_a_full_queue_says_so():
    answer, _ = await Port(Refusing(ModelRef("m", "1.0"), lambda _: QueueFull("m", "5 jobs"))).predict("m")
    assert answer.status == Status.INTERNAL
    assert "queue is full: 5 jobs" in answer.text


@on_loop
async def test_bytes_that_are_not_the_message_are_refused():
    port = Port(model())
    answer = await port.client.call(PREDICT, b"\xff\xff\xff")
    assert answer.status == Status.INTERNAL
    assert answer.text == "The message is not a org.pytorch.serve.grpc.inference.PredictionsRequest."
    assert (await port.predict("m", data=b"well"))[1] == [b"well"]


@on_loop
async def test_a_client_that_leaves_leaves_the_queue():
    held = HeldModel()
    port = Port(held)
    port.client.start(PREDICT, PredictionsRequest(model_name="held"))
    port.client.send(frames.reset(port.client.last_id, ErrorCode.CANCEL))
    assert [ticket.is_abandoned for ticket in held.tickets] == [True]


@on_loop
async def test_a_deadline_leaves_the_queue():
    held = HeldModel()
    port = Port(held)
    request = PredictionsRequest(model_name="held")
    answer = await port.client.call(PREDICT, request, headers=[("grpc-timeout", "0n")])
    assert answer.status == Status.DEADLINE_EXCEEDED
    assert [ticket.is_abandoned for ticket in held.tickets] == [True]


@pytest.mark.parametrize(("is_healthy", "status"), [(True, "Healthy"), (False, "Unhealthy")])
@on_loop
async def test_ping_says_how_the_server_is(is_healthy, status):
    answer = await Port(is_healthy=is_healthy).client.call(f"{SERVICE}/Ping", Empty())
    (found,) = answer.messages
    assert TorchServeHealthResponse.FromString(found).health == f'{{\n  "status": "{status}"\n}}'
    assert answer.status == 0


# --- StreamPredictions2 -----------------------------------------------------------------------------------------------


class Sequence:
    """One call of ``StreamPredictions2``."""

    def __init__(self, *models, **options):
        self.port = Port(*models, **options)
        self.client = self.port.client
        self.client.send(self.client.headers(path=f"/{SERVICE}/StreamPredictions2"))
        self.answer = self.client.answer

    def send(self, name="m", sequence_id=None, **fields):
        fields = {key.replace("_", "-"): value for key, value in fields.items()}
        request = PredictionsRequest(model_name=name, sequence_id=sequence_id, input=fields)
        self.client.send(self.client.data(message(request.SerializeToString()), ended=False))

    def end(self):
        self.client.send(self.client.data(b""))

    async def answers(self, count):
        await self.client.until(lambda: len(self.answer.messages) >= count)
        return [PredictionResponse.FromString(found) for found in self.answer.messages]

    async def finished(self):
        await self.client.finished(self.answer)
        return self.answer.status


def reason(answer):
    info = ErrorInfo()
    assert answer.status.details[0].Unpack(info)
    return info.reason


@on_loop
async def test_each_request_of_a_sequence_has_its_answer_and_the_handler_sees_the_sequence():
    served = model()
    call = Sequence(served)
    call.send(sequence_id="s", data=b"1", sequence_start=b"true")
    call.send(sequence_id="s", data=b"2")
    call.send(sequence_id="s", data=b"3", sequence_end=b"True")
    call.end()
    assert await call.finished() == 0
    answers = await call.answers(3)
    assert [set(answer.prediction) & set(b"123") for answer in answers] == [{0x31}, {0x32}, {0x33}]
    assert not any(answer.HasField("sequence_id") or answer.HasField("status") for answer in answers)
    headers = [dict(request.headers) for request in served.requests]
    assert headers == [
        {b"sequence-id": b"s", b"sequence-start": b"true"},
        {b"sequence-id": b"s"},
        {b"sequence-id": b"s", b"sequence-end": b"true"},
    ]


@on_loop
async def test_requests_of_one_sequence_go_one_by_one_and_those_of_others_do_not_wait():
    held = HeldModel()
    call = Sequence(held)
    for sequence_id, data in (("a", b"a1"), ("a", b"a2"), ("b", b"b1")):
        call.send("held", sequence_id, data=data)
    await turn()
    assert [request.parameters[0][2] for request in held.requests] == [b"a1", b"b1"]
    held.release()
    await turn()
    assert [request.parameters[0][2] for request in held.requests] == [b"a1", b"b1", b"a2"]
    call.end()
    await turn()
    assert not call.answer.has_ended
    held.release()
    assert await call.finished() == 0
    assert len(await call.answers(3)) == 3


@on_loop
async def test_what_is_wrong_with_one_request_is_its_answer_and_the_call_goes_on():
    call = Sequence(model(), model(lambda _: HandlerFailed(), name="bad"))
    call.send(data=b"no id")
    call.send("nobody", "s")
    call.send("bad", "s")
    call.send("m", "s", data=b"fine")
    answers = await call.answers(4)
    refused = [
        (answer.status.code, answer.status.message, reason(answer)) for answer in answers if not answer.prediction
    ]
    assert sorted(refused) == [
        (13, "Model not found: nobody", "org.pytorch.serve.archive.model.ModelNotFoundException"),
        (13, "Parameter sequenceId is required.", "BadRequestException.()"),
        (14, "Prediction failed", "org.pytorch.serve.http.InternalServerException"),
    ]
    assert [answer.prediction for answer in answers if not answer.HasField("status")] == [b"fine"]
    call.end()
    assert await call.finished() == 0


@on_loop
async def test_a_start_key_without_an_id_begins_a_sequence_for_what_follows_it():
    served = model()
    call = Sequence(served)
    call.send(data=b"1", sequence_start=b"true")
    call.send(data=b"2")
    call.send(data=b"3", sequence_start=b"true")
    call.end()
    assert await call.finished() == 0
    ids = [dict(request.headers)[b"sequence-id"] for request in served.requests]
    assert sorted(map(ids.count, set(ids))) == [1, 2]


@on_loop
async def test_a_client_that_is_far_ahead_of_its_answers_has_to_wait():
    held = HeldModel()
    call = Sequence(held, limits=Limits(max_request_bytes=100_000))
    stream = call.client.connection._http2.streams()[0]
    for _ in range(63):
        call.send("held", "s")
    assert not stream.is_held
    call.send("held", "s")
    assert stream.is_held
    await turn()
    held.release()
    assert not stream.is_held


@on_loop
async def test_a_client_that_leaves_takes_its_sequences_along():
    held = HeldModel()
    call = Sequence(held)
    for sequence_id in ("a", "a", "b"):
        call.send("held", sequence_id)
    call.client.send(frames.reset(call.client.last_id, ErrorCode.CANCEL))
    assert [ticket.is_abandoned for ticket in held.tickets] == [True, True]
    await turn()
    assert len(held.requests) == 2


@on_loop
async def test_a_server_that_stops_answers_what_has_come_and_ends_the_call():
    held = HeldModel()
    call = Sequence(held)
    call.send("held", "a")
    await turn()
    call.port.site.drain()
    held.release()
    assert await call.finished() == Status.UNAVAILABLE
    assert len(call.answer.messages) == 1


@on_loop
async def test_bytes_that_are_no_request_end_the_call():
    call = Sequence(model())
    call.client.send(call.client.data(message(b"\xff\xff"), ended=False))
    assert await call.finished() == Status.INTERNAL
