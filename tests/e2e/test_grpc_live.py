"""A real server and gRPC's own client: what TorchServe's clients do, what bad ones try, and how it all ends."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from flambeau.frontends.grpc.protos import health_pb2, inference_pb2, management_pb2, open_inference_pb2
from tests.e2e.conftest import Gate, order
from tests.serving import ServerProcess, wait_for, write_model

INFERENCE = "org.pytorch.serve.grpc.inference.InferenceAPIsService"
MANAGEMENT = "org.pytorch.serve.grpc.management.ManagementAPIsService"
HEALTH = "grpc.health.v1.Health"
TIMEOUT_S = 30.0

PredictionsRequest = inference_pb2.PredictionsRequest
PredictionResponse = inference_pb2.PredictionResponse


class Client:
    """One channel, and calls on it by name."""

    def __init__(self, target: str | None, credentials: grpc.ChannelCredentials | None = None) -> None:
        assert target is not None
        # A connection of its own; one shared with other tests would carry over how those ended.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
        if credentials is None:
            self.channel = grpc.insecure_channel(target, options)
        else:
            self.channel = grpc.secure_channel(target, credentials, options)

    def call(self, path: str, request: Message | bytes, kind: type[Message], **options: Any) -> Any:
        return self.future(path, request, kind, **options).result()

    def future(self, path: str, request: Message | bytes, kind: type[Message], **options: Any) -> Any:
        method = self.channel.unary_unary(f"/{path}", _encode, kind.FromString)
        return method.future(request, **{"timeout": TIMEOUT_S, "wait_for_ready": True, **options})

    def predict(self, body: bytes, model: str = "obedient", version: str = "", **options: Any) -> bytes:
        response = self.call(
            f"{INFERENCE}/Predictions", request_of(body, model, version), PredictionResponse, **options
        )
        prediction: bytes = response.prediction
        return prediction

    def manage(self, method: str, request: Message, **options: Any) -> str:
        message: str = self.call(f"{MANAGEMENT}/{method}", request, management_pb2.ManagementResponse, **options).msg
        return message


def _encode(request: Message | bytes) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()


def request_of(body: bytes, model: str = "obedient", version: str = "") -> PredictionsRequest:
    return PredictionsRequest(model_name=model, model_version=version, input={"body": body})


def failure(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    """How a call fails."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def connect(target: str | None, credentials: grpc.ChannelCredentials | None = None) -> Client:
        clients.append(Client(target, credentials))
        return clients[-1]

    yield connect
    for client in clients:
        client.channel.close()


@pytest.fixture
def client(server: ServerProcess, connect: Callable[..., Client]) -> Client:
    return connect(server.grpc_inference)


@pytest.fixture
def manager(server: ServerProcess, connect: Callable[..., Client]) -> Client:
    return connect(server.grpc_management)


# --- predictions ------------------------------------------------------------------------------------------------------


def test_a_prediction_is_the_bytes_that_http_gives(server: ServerProcess, client: Client) -> None:
    body = bytes(range(1, 256))
    over_http = httpx.post(f"{server.inference}/predictions/obedient", content=body, trust_env=False).content
    assert client.predict(body) == over_http == body


def test_what_a_handler_sets_beside_the_body_is_ignored(client: Client) -> None:
    assert client.predict(order(status=404, phrase="Gone", headers={"a": "b"}, size=3)) == bytes(3)


@pytest.mark.parametrize("size", [1, 16_384, 65_536, 300_000, 6_000_000])
def test_messages_of_any_size_go_both_ways(client: Client, size: int) -> None:
    body = b"x" * size
    assert client.predict(body) == body
    assert client.predict(order(size=size)) == bytes(size)


def test_many_calls_at_a_time_on_one_connection_each_have_their_own_answer(client: Client) -> None:
    bodies = [b"%d" % number * (number % 50 + 1) for number in range(1, 100)]
    calls = [client.future(f"{INFERENCE}/Predictions", request_of(body), PredictionResponse) for body in bodies]
    assert [call.result().prediction for call in calls] == bodies


def test_many_clients_at_a_time_are_served(server: ServerProcess, connect: Callable[..., Client]) -> None:
    clients = [connect(server.grpc_inference) for _ in range(8)]

    def use(client: Client) -> list[bytes]:
        return [client.predict(b"hello %d" % number, timeout=TIMEOUT_S) for number in range(20)]

    with ThreadPoolExecutor(len(clients)) as threads:
        for answers in threads.map(use, clients):
            assert answers == [b"hello %d" % number for number in range(20)]


def test_compressed_requests_are_read(client: Client) -> None:
    assert client.predict(b"x" * 10_000, compression=grpc.Compression.Gzip) == b"x" * 10_000


def test_a_stream_of_a_handler_that_does_not_stream_has_its_one_answer(client: Client) -> None:
    stream = client.channel.unary_stream(f"/{INFERENCE}/StreamPredictions", _encode, PredictionResponse.FromString)
    assert [answer.prediction for answer in stream(request_of(b"one"), timeout=TIMEOUT_S)] == [b"one"]


def test_a_stream_of_requests_has_an_answer_to_each(client: Client) -> None:
    stream = client.channel.stream_stream(f"/{INFERENCE}/StreamPredictions2", _encode, PredictionResponse.FromString)
    requests = [
        PredictionsRequest(model_name="obedient", sequence_id="s", input={"body": b"%d" % number})
        for number in range(200)
    ]
    answers = list(stream(iter([*requests, request_of(b"no id")]), timeout=TIMEOUT_S))
    assert [answer.prediction for answer in answers if answer.prediction] == [b"%d" % number for number in range(200)]
    (refused,) = [answer for answer in answers if answer.HasField("status")]
    assert (refused.status.code, refused.status.message) == (13, "Parameter sequenceId is required.")


def test_ping_and_the_health_protocol_say_that_the_server_is_well(client: Client, manager: Client) -> None:
    health = client.call(f"{INFERENCE}/Ping", Empty(), inference_pb2.TorchServeHealthResponse).health
    assert json.loads(health) == {"status": "Healthy"}
    for port, name in ((client, INFERENCE), (manager, MANAGEMENT)):
        for asked in ("", name):
            request = health_pb2.HealthCheckRequest(service=asked)
            response = port.call(f"{HEALTH}/Check", request, health_pb2.HealthCheckResponse)
            assert response.status == health_pb2.HealthCheckResponse.SERVING


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_errors_have_torchserves_status_and_http_s_sentence(server: ServerProcess, client: Client) -> None:
    code, text = failure(lambda: client.predict(b"x", "nobody"))
    over_http = httpx.post(f"{server.inference}/predictions/nobody", content=b"x", trust_env=False).json()["message"]
    assert code is grpc.StatusCode.INTERNAL
    assert text.splitlines() == [over_http, "org.pytorch.serve.archive.model.ModelNotFoundException"]
    code, text = failure(lambda: client.predict(b"{no order"))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert text.startswith("Prediction failed")


def test_bad_calls_have_a_clear_status_and_the_server_lives(client: Client) -> None:
    predictions = f"{INFERENCE}/Predictions"
    for path, request, code, words in (
        (predictions, b"\xff\xff\xff\xff", grpc.StatusCode.INTERNAL, "not a org.pytorch.serve"),
        (predictions, b"", grpc.StatusCode.INTERNAL, "Parameter model_name is required."),
        (f"{INFERENCE}/Explain", b"", grpc.StatusCode.UNIMPLEMENTED, f"Method not found: {INFERENCE}/Explain"),
        (f"{MANAGEMENT}/ListModels", b"", grpc.StatusCode.UNIMPLEMENTED, "Method not found"),
    ):
        found, text = failure(lambda path=path, request=request: client.call(path, request, PredictionResponse))
        assert found is code
        assert words in text
    assert client.predict(b"well") == b"well"


def test_a_message_over_the_limit_is_refused_with_the_setting_s_name(client: Client) -> None:
    code, text = failure(lambda: client.predict(b"x" * 7_000_000))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert text == "Message of more than 6553500 bytes (max_request_size)."
    assert client.predict(b"well") == b"well"


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /ping HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
    ],
    ids=["HTTP/1.1", "TLS", "garbage"],
)
def test_clients_of_other_protocols_are_cut_off_and_the_server_lives(
    server: ServerProcess, client: Client, sent: bytes
) -> None:
    host, _, port = (server.grpc_inference or "").rpartition(":")
    with socket.create_connection((host, int(port)), TIMEOUT_S) as connection:
        connection.sendall(sent)
        received = b""
        try:
            while chunk := connection.recv(65_536):
                received += chunk
        except ConnectionResetError:
            pass
    assert received
    assert client.predict(b"well") == b"well"


@pytest.fixture
def behind_the_gate(client: Client, gate: Gate) -> Iterator[Client]:
    """A client whose next prediction waits in the queue: the worker is held up, and has what it may be given ahead."""
    calls = [client.future(f"{INFERENCE}/Predictions", request_of(order(gate=gate.path)), PredictionResponse)]
    gate.wait_until_reached()
    calls += [client.future(f"{INFERENCE}/Predictions", request_of(b"x"), PredictionResponse) for _ in range(20)]
    wait_until_received(client)
    yield client
    gate.open()
    assert [call.result().prediction for call in calls] == [b"", *[b"x"] * 20]


def wait_until_received(client: Client) -> None:
    """Until the server has seen what was sent before on the same connection."""
    client.call(f"{INFERENCE}/Ping", Empty(), inference_pb2.TorchServeHealthResponse)


def test_a_call_whose_deadline_is_over_costs_the_worker_nothing(
    behind_the_gate: Client, gate: Gate, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    code, _ = failure(lambda: behind_the_gate.predict(order(note=note), timeout=0.1))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    wait_until_received(behind_the_gate)
    gate.open()
    assert behind_the_gate.predict(b"after") == b"after"
    assert not note.exists()


def test_a_call_that_is_cancelled_costs_the_worker_nothing(behind_the_gate: Client, gate: Gate, tmp_path: Path) -> None:
    note = tmp_path / "note"
    request = request_of(order(note=note))
    waiting = behind_the_gate.future(f"{INFERENCE}/Predictions", request, PredictionResponse)
    wait_until_received(behind_the_gate)
    waiting.cancel()
    wait_until_received(behind_the_gate)
    gate.open()
    assert behind_the_gate.predict(b"after") == b"after"
    assert not note.exists()


# --- management, tokens, TLS ------------------------------------------------------------------------------------------


def test_a_model_is_registered_scaled_described_and_unregistered(
    tmp_path: Path, connect: Callable[..., Client]
) -> None:
    folder = write_model(tmp_path, "other")
    options = ["--enable-model-api", "--model-store", str(tmp_path)]
    with ServerProcess(folder=tmp_path / "server", options=options) as server:
        client, manager = connect(server.grpc_inference), connect(server.grpc_management)
        register = management_pb2.RegisterModelRequest(url=folder.name, initial_workers=1, synchronous=True)
        text = manager.manage("RegisterModel", register)
        assert text == 'Model "other" Version: 1.0 registered with 1 initial workers'
        assert client.predict(b"x", "other", "1.0") == b"x"
        scale = management_pb2.ScaleWorkerRequest(model_name="other", min_worker=2, synchronous=True)
        assert manager.manage("ScaleWorker", scale) == "Workers scaled to 2 for model: other"
        described = manager.manage("DescribeModel", management_pb2.DescribeModelRequest(model_name="other"))
        over_http = httpx.get(f"{server.management}/models/other", trust_env=False).text
        assert json.loads(described)[0].keys() == json.loads(over_http)[0].keys()
        assert [worker["status"] for worker in json.loads(described)[0]["workers"]] == ["READY", "READY"]
        default = management_pb2.SetDefaultRequest(model_name="other", model_version="1.0")
        assert manager.manage("SetDefault", default).startswith("Default version successfully updated")
        listed = manager.manage("ListModels", management_pb2.ListModelsRequest(limit=10))
        assert [model["modelName"] for model in json.loads(listed)["models"]] == ["other"]
        unregister = management_pb2.UnregisterModelRequest(model_name="other")
        assert manager.manage("UnregisterModel", unregister) == 'Model "other" unregistered'
        code, _ = failure(lambda: manager.manage("UnregisterModel", unregister))
        assert code is grpc.StatusCode.NOT_FOUND


def test_the_model_api_is_off_unless_it_is_switched_on(manager: Client) -> None:
    code, text = failure(lambda: manager.manage("RegisterModel", management_pb2.RegisterModelRequest(url="x.mar")))
    assert (code, text.splitlines()[0]) == (grpc.StatusCode.PERMISSION_DENIED, "Model API disabled")


def test_each_port_wants_its_own_token(
    start: Callable[..., ServerProcess], tmp_path: Path, model: Path, connect: Callable[..., Client]
) -> None:
    folder = tmp_path / "tokens"
    with ServerProcess(model, folder=folder, options=["--token-auth"], waits_for_models=False) as server:
        keys = json.loads((folder / "key_file.json").read_text())
        inference, management = (
            [("authorization", f"Bearer {keys[name]['key']}")] for name in ("inference", "management")
        )
        client, manager = connect(server.grpc_inference), connect(server.grpc_management)
        refusal = (
            grpc.StatusCode.PERMISSION_DENIED,
            "Token Authorization failed. Token either incorrect, expired, or not provided correctly",
        )
        ping = f"{INFERENCE}/Ping"
        listing = management_pb2.ListModelsRequest(limit=1)
        for metadata in (None, management):
            called = {} if metadata is None else {"metadata": metadata}
            call = lambda called=called: client.call(ping, Empty(), PredictionResponse, **called)  # noqa: E731
            assert failure(call) == refusal
        for metadata in (None, inference):
            called = {} if metadata is None else {"metadata": metadata}
            assert failure(lambda called=called: manager.manage("ListModels", listing, **called)) == refusal
        assert "obedient" in manager.manage("ListModels", listing, metadata=management)
        client.call(ping, Empty(), inference_pb2.TorchServeHealthResponse, metadata=inference)


def test_calls_can_be_encrypted(
    start: Callable[..., ServerProcess], certificate: tuple[Path, Path], connect: Callable[..., Client]
) -> None:
    files = {"certificate_file": certificate[0], "private_key_file": certificate[1], "enable_grpc_ssl": "true"}
    server = start(*(word for key, value in files.items() for word in ("--set", f"{key}={value}")))
    client = connect(server.grpc_inference, grpc.ssl_channel_credentials(certificate[0].read_bytes()))
    assert client.predict(b"secret" * 20_000) == b"secret" * 20_000
    context = ssl.create_default_context(cafile=str(certificate[0]))
    context.set_alpn_protocols(["h2"])
    host, _, port = (server.grpc_inference or "").rpartition(":")
    with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain, server_hostname=host) as tls:
        assert tls.selected_alpn_protocol() == "h2"


def test_the_open_inference_protocol_is_served_where_it_is_on(
    tmp_path: Path, server: ServerProcess, client: Client, connect: Callable[..., Client]
) -> None:
    service = "org.pytorch.serve.grpc.openinference.GRPCInferenceService"
    live = open_inference_pb2.ServerLiveRequest()
    code, _ = failure(lambda: client.call(f"{service}/ServerLive", live, open_inference_pb2.ServerLiveResponse))
    assert code is grpc.StatusCode.UNIMPLEMENTED
    source = """
import json

def handle(data, context):
    return None if data is None else [answer(row["body"]) for row in data]

def answer(body):
    (given,) = body["inputs"]
    output = {**given, "data": [2 * value for value in given["data"]]}
    return json.dumps({**body, "model_version": "1.0", "outputs": [output]}).encode()
"""
    folder = write_model(tmp_path, "double", source)
    options = ["--workers", "1", "--set", "ts_open_inference_protocol=true"]
    with ServerProcess(folder, folder=tmp_path / "server", options=options) as running:
        contents = open_inference_pb2.InferTensorContents(fp32_contents=[1.5, 2])
        tensor = open_inference_pb2.ModelInferRequest.InferInputTensor(
            name="x", datatype="FP32", shape=[2], contents=contents
        )
        request = open_inference_pb2.ModelInferRequest(model_name="double", id="7", inputs=[tensor])
        response = connect(running.grpc_inference).call(
            f"{service}/ModelInfer", request, open_inference_pb2.ModelInferResponse
        )
        assert (response.id, list(response.outputs[0].contents.fp32_contents)) == ("7", [3.0, 4.0])


# --- logs, metrics, start and stop ------------------------------------------------------------------------------------


def test_every_call_has_a_line_in_the_access_log(server: ServerProcess, client: Client) -> None:
    client.predict(b"x")
    failure(lambda: client.predict(b"x", "nobody"))
    line = f'"gRPC {INFERENCE}/Predictions HTTP/2.0"'
    wait_for("lines", lambda: f"{line} 0 " in (log := server.log("access_log.log")) and f"{line} 13 " in log)


def test_predictions_are_counted_and_replies_of_http_are_not(
    start: Callable[..., ServerProcess], connect: Callable[..., Client]
) -> None:
    server = start("--metrics-mode", "prometheus")
    client = connect(server.grpc_inference)
    before = metrics(server)
    for version in ("", "1.0", ""):
        client.predict(b"x", version=version)
    after = metrics(server)
    for label, count in (("default", 2.0), ("1.0", 1.0)):
        (value,) = [
            value for name, value in after.items()
            if name.startswith("ts_inference_requests_total") and f'model_version="{label}"' in name
        ]  # fmt: skip
        assert value == count
    assert not [name for name in after if name.startswith("ts_inference_latency")]
    (replies,) = [name for name in after if name.startswith("Requests2XX{")]
    assert after[replies] - before[replies] <= 1  # the first look at the metrics


def metrics(server: ServerProcess) -> dict[str, float]:
    text = httpx.get(f"{server.metrics}/metrics", trust_env=False).text
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def test_a_server_that_stops_finishes_what_is_under_way_and_takes_nothing_new(
    start: Callable[..., ServerProcess], connect: Callable[..., Client], gate: Gate
) -> None:
    server = start()
    client = connect(server.grpc_inference)
    watch = client.channel.unary_stream(f"/{HEALTH}/Watch", _encode, health_pb2.HealthCheckResponse.FromString)
    states = watch(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
    assert next(states).status == health_pb2.HealthCheckResponse.SERVING
    held = client.future(f"{INFERENCE}/Predictions", request_of(order(gate=gate.path, size=5)), PredictionResponse)
    gate.wait_until_reached()
    server.signal(subprocess.signal.SIGTERM)
    assert next(states).status == health_pb2.HealthCheckResponse.NOT_SERVING
    code, _ = failure(lambda: client.predict(b"new", wait_for_ready=False))
    assert code is grpc.StatusCode.UNAVAILABLE
    gate.open()
    assert held.result().prediction == bytes(5)
    assert server.wait_ended() == 0
    server.assert_nothing_is_left()


def test_a_port_that_is_taken_is_named_with_the_setting_that_moves_it(tmp_path: Path, model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [str(Path(sys.executable).with_name("flambeau")), "serve", str(model), "--grpc-port", str(port)]
        for option in ("--port", "--management-port", "--metrics-port", "--grpc-management-port"):
            command += [option, "0"]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    error, hint = ended.stderr.splitlines()
    assert error == (
        f"error: cannot listen on grpc://127.0.0.1:{port}: Address already in use (setting grpc_inference_port)"
    )
    assert "choose another port" in hint


def test_grpc_can_be_switched_off(start: Callable[..., ServerProcess]) -> None:
    server = start("--no-grpc")
    assert (server.grpc_inference, server.grpc_management) == (None, None)
    assert "gRPC" not in server.log()


def test_a_server_without_what_grpc_needs_starts_without_it_and_says_so_once(tmp_path: Path, model: Path) -> None:
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "hpack.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'hpack'\", name='hpack')"
    )
    environment = {"PYTHONPATH": str(tmp_path / "hidden")}
    with ServerProcess(
        model, folder=tmp_path / "server", options=["--workers", "1"], environment=environment
    ) as server:
        assert server.grpc_inference is None
        reply = httpx.post(f"{server.inference}/predictions/obedient", content=b"x", trust_env=False)
        assert reply.content == b"x"
        assert server.log().count("gRPC is off: it needs flambeau[grpc] (No module named 'hpack')") == 1
