"""Workflows on a real server with real workers."""

from __future__ import annotations

import shutil
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx
import pytest

from tests.process.calls import TIMEOUT_S, manage, message_of, open_request
from tests.process.workflow_calls import (
    TELL,
    predict,
    register,
    running,
    wait_until_reached,
    write_models,
    write_workflow,
)
from tests.serving import ServerProcess, wait_for, write_model

CHAIN = """
models:
  a: {url: orders-1.0}
  b: {url: orders-1.0}
dag:
  a: [b]
"""
DIAMOND = """
models:
  a: {url: tell-1.0}
  b: {url: tell-1.0}
dag:
  first: [a, b]
  a: [last]
  b: [last]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workflows")
    store = folder / "store"
    store.mkdir()
    write_models(store)
    options = ["--enable-model-api", "--model-store", str(store), "--set", "unregister_model_timeout=5"]
    (folder / "server").mkdir()
    with ServerProcess(folder=folder / "server", options=options) as server:
        yield server


@pytest.fixture(scope="module")
def chain(server):
    """Two models, one after the other."""
    assert register(server, "chain", CHAIN).status_code == 200
    return server


@pytest.fixture(scope="module")
def diamond(server):
    """A function, two models side by side, and a function that is given the answers of both."""
    assert register(server, "diamond", DIAMOND).status_code == 200
    return server


def served(server):
    """Names of all models and workflows, and how many processes and unpacked archives there are."""
    models = manage(server, "GET", "/models").json()["models"]
    workflows = manage(server, "GET", "/workflows").json()["workflows"]
    unpacked = list((server.folder / "tmp").glob("*/models/*"))
    return [model["modelName"] for model in models], workflows, len(server.processes()), len(unpacked)


# --- requests ---------------------------------------------------------------------------------------------------------


def test_the_first_node_is_given_the_clients_row_and_a_join_the_answer_of_each_parent_under_its_name(diamond):
    reply = predict(diamond, "diamond", b"hello", **{"X-Asked": "why"})
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    told = {"row": {"body": ["bytearray", "hello"]}, "asked": "why"}
    assert reply.json() == {"a": {"node": "diamond__a", **told}, "b": {"node": "diamond__b", **told}}


def test_one_parents_answer_is_the_body_of_the_next_node(server):
    spec = "models: {t: {url: tell-1.0}}\ndag: {t: [last]}"
    assert register(server, "pair", spec).status_code == 200
    form = httpx.post(
        f"{server.inference}/WFpredict/pair/more?x=1", data={"one": "1", "two": "2"}, trust_env=False, timeout=TIMEOUT_S
    )
    row = {"one": ["bytearray", "1"], "two": ["bytearray", "2"]}
    assert form.json() == {"body": {"node": "pair__t", "row": row, "asked": None}}


def test_several_last_nodes_answer_together(server):
    spec = "models: {a: {url: tell-1.0}, b: {url: orders-1.0}}\ndag: {first: [a, b]}"
    assert register(server, "leaves", spec).status_code == 200
    reply = predict(server, "leaves", b'{"n": 1}')
    assert reply.status_code == 200, reply.text
    assert reply.json()["b"] == {"n": 1}
    assert reply.json()["a"]["row"] == {"body": ["bytearray", '{"n": 1}']}
    assert reply.text.startswith('{\n  "a": {\n')
    assert reply.text.endswith("}\n")


def test_of_several_last_nodes_each_must_answer_with_json(server):
    spec = "models: {b: {url: orders-1.0}}\ndag: {first: [b, plain]}"
    assert register(server, "mixed", spec).status_code == 200
    reply = predict(server, "mixed")
    assert reply.status_code == 500
    assert message_of(reply).startswith("Error executing plain (it answers with something else than JSON")


def test_large_values_pass_from_node_to_node(chain):
    body = b'{"large": "' + b"x" * 3_000_000 + b'"}'
    assert predict(chain, "chain", body).content == body


def test_the_answer_is_the_last_nodes_bytes_whatever_status_and_headers_its_handler_sets(chain):
    body = b'{"b": {"status": 418}}'
    reply = predict(chain, "chain", body)
    assert (reply.status_code, reply.content) == (200, body)
    assert "x-node" not in reply.headers


def test_an_unknown_workflow_is_not_found(server):
    reply = predict(server, "nowhere")
    assert (reply.status_code, reply.json()["type"]) == (404, "WorkflowNotFoundException")
    assert message_of(reply) == "Workflow not found: nowhere"


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("failures", "status", "attempts"), [(1, 200, 2), (2, 500, 2)])
def test_a_node_that_fails_is_tried_again_as_often_as_its_settings_say(chain, tmp_path, failures, status, attempts):
    notes = tmp_path / "notes"
    reply = predict(chain, "chain", {"b": {"notes": notes, "failures": failures}})
    assert reply.status_code == status
    assert notes.read_text().splitlines() == ["chain__b"] * attempts
    if status == 500:
        assert reply.json()["type"] == "InternalServerException"
        assert message_of(reply) == "Error executing b (Prediction failed)"


def test_a_node_that_takes_too_long_fails(server, tmp_path):
    spec = "models: {retry-attempts: 1, timeout-ms: 300, max-workers: 2, a: {url: orders-1.0}}\ndag: {a: []}"
    assert register(server, "hasty", spec).status_code == 200
    gate, notes = tmp_path / "gate", tmp_path / "notes"
    reply = predict(server, "hasty", {"a": {"gate": gate, "notes": notes}})
    assert (reply.status_code, message_of(reply)) == (500, "Error executing a (no answer within 0.3 s)")
    gate.touch()
    wait_for("both attempts", lambda: notes.exists() and notes.read_text().count("hasty__a") == 2)
    wait_for("answer in time", lambda: predict(server, "hasty").status_code == 200)


def test_the_death_of_a_worker_costs_a_request_nothing(chain, tmp_path):
    notes = tmp_path / "notes"
    body = {"b": {"notes": notes, "deaths": 1}}
    assert predict(chain, "chain", body).json()["b"]["deaths"] == 1
    assert notes.read_text().count("chain__b") == 2


def test_a_request_that_ends_every_worker_fails_and_the_workflow_goes_on(chain, tmp_path):
    reply = predict(chain, "chain", {"a": {"notes": tmp_path / "notes", "deaths": 9}})
    assert reply.status_code == 500
    assert message_of(reply).startswith("Error executing a (Worker died.")
    assert predict(chain, "chain").status_code == 200


def test_a_node_without_workers_fails_at_once_until_it_has_one(chain):
    assert manage(chain, "PUT", "/models/chain__b", min_worker=0, synchronous="true").status_code == 200
    reply = predict(chain, "chain")
    assert reply.status_code == 500
    assert message_of(reply).startswith('Error executing b (Model "chain__b" has no worker')
    assert manage(chain, "PUT", "/models/chain__b", min_worker=1, synchronous="true").status_code == 200
    assert predict(chain, "chain").status_code == 200


def test_a_queue_that_is_full_is_said_as_it_is_for_models(server, tmp_path):
    spec = "models: {a: {url: tight-1.0}}\ndag: {a: []}"
    shutil.copytree(server.folder.parent / "store/orders-1.0", server.folder.parent / "store/tight-1.0")
    folder = server.folder.parent / "store/tight-1.0"
    manifest = folder / "MAR-INF/MANIFEST.json"
    manifest.write_text(manifest.read_text().replace('"handler"', '"configFile": "model-config.yaml", "handler"'))
    (folder / "model-config.yaml").write_text("jobQueueSize: 1\n")
    assert register(server, "tight", spec).status_code == 200
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(2) as clients:
        held = clients.submit(predict, server, "tight", {"a": {"gate": gate}})
        wait_until_reached(gate)
        waiting = clients.submit(predict, server, "tight")
        wait_for("request in the queue", lambda: running(server, "tight") == 2)
        refused = predict(server, "tight")
        gate.touch()
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert message_of(refused).startswith("Error executing a (")
    assert (held.result().status_code, waiting.result().status_code) == (200, 200)


def test_when_a_client_leaves_no_further_node_is_run_for_it(chain, tmp_path):
    gate, notes = tmp_path / "gate", tmp_path / "notes"
    body = f'{{"a": {{"gate": "{gate}"}}, "b": {{"notes": "{notes}"}}}}'.encode()
    with open_request(chain.inference, "POST", "/wfpredict/chain", body):
        wait_until_reached(gate)
        assert running(chain, "chain") == 1
    wait_for("end of the run", lambda: running(chain, "chain") == 0)
    gate.touch()
    assert predict(chain, "chain").status_code == 200
    assert not notes.exists()


# --- registration -----------------------------------------------------------------------------------------------------


def test_a_workflow_is_listed_and_described_and_its_nodes_are_models(diamond):
    workflows = manage(diamond, "GET", "/workflows", limit=100).json()["workflows"]
    assert {"workflowName": "diamond", "workflowUrl": "diamond.war"} in workflows
    (description,) = manage(diamond, "GET", "/workflows/diamond").json()
    assert list(description.items())[:7] == [
        ("workflowName", "diamond"),
        ("workflowUrl", "diamond.war"),
        ("minWorkers", 1),
        ("maxWorkers", 1),
        ("batchSize", 1),
        ("maxBatchDelay", 50),
        ("workflowDag", "{first=[a, b], a=[last], b=[last]}"),
    ]
    listed = {model["modelName"] for model in manage(diamond, "GET", "/models").json()["models"]}
    assert {name for name in listed if name.startswith("diamond")} == {"diamond__a", "diamond__b"}
    (function,) = diamond.describe("diamond__first")
    assert (function["batchSize"], function["maxBatchDelay"], function["minWorkers"]) == (1, 0, 1)


def test_the_settings_of_the_specification_win_over_the_archives_own(server):
    spec = """
        models:
          max-workers: 2
          batch-size: 4
          max-batch-delay: 20
          a: {url: set-1.0}
          b: {url: set-1.0, max-workers: 1, batch-size: 2}
        dag:
          a: [b]
    """
    folder = server.folder.parent / "store/set-1.0"
    shutil.copytree(server.folder.parent / "store/orders-1.0", folder)
    manifest = folder / "MAR-INF/MANIFEST.json"
    manifest.write_text(manifest.read_text().replace('"handler"', '"configFile": "model-config.yaml", "handler"'))
    (folder / "model-config.yaml").write_text("minWorkers: 3\nmaxWorkers: 3\nbatchSize: 9\n")
    assert register(server, "settings", spec, workflow_name="mine", response_timeout=7).status_code == 200
    (a,), (b,) = server.describe("mine__a"), server.describe("mine__b")
    assert (len(a["workers"]), a["batchSize"], a["maxBatchDelay"]) == (2, 4, 20)
    assert (len(b["workers"]), b["batchSize"], b["maxBatchDelay"]) == (1, 2, 20)
    assert manage(server, "DELETE", "/workflows/mine").json() == {"status": 'Workflow "mine" unregistered'}


def test_a_node_goes_with_its_workflow_alone(diamond):
    reply = manage(diamond, "DELETE", "/models/diamond__a")
    assert (reply.status_code, reply.json()["type"]) == (409, "ConflictStatusException")
    assert message_of(reply) == "Model diamond__a is a node of workflow diamond: unregister the workflow."
    assert predict(diamond, "diamond").status_code == 200


def test_a_node_can_be_given_a_new_version_while_its_workflow_is_served(server):
    write_model(server.folder.parent / "store", "tell", TELL.replace("context.model_name", "'renewed'"), version="2.0")
    assert register(server, "renewed", "models: {t: {url: tell-1.0}}\ndag: {t: []}").status_code == 200
    assert predict(server, "renewed").json()["node"] == "renewed__t"
    reply = manage(server, "POST", "/models", url="tell-2.0", model_name="renewed__t", initial_workers=1)
    assert reply.status_code == 200
    assert manage(server, "PUT", "/models/renewed__t/2.0/set-default").status_code == 200
    assert predict(server, "renewed").json()["node"] == "renewed"
    assert manage(server, "DELETE", "/workflows/renewed").status_code == 200
    assert manage(server, "GET", "/models/renewed__t/all").status_code == 404


def test_a_workflow_that_comes_and_goes_leaves_nothing_behind(server):
    before = served(server)
    write_workflow(server.folder.parent / "store", "visitor", DIAMOND)
    for _ in range(2):
        reply = manage(server, "POST", "/workflows", url="visitor.war")
        assert reply.json() == {"status": "Workflow visitor has been registered and scaled successfully."}
        assert predict(server, "visitor", b"x").status_code == 200
        assert manage(server, "DELETE", "/workflows/visitor").status_code == 200
        assert served(server) == before
    assert manage(server, "GET", "/workflows/visitor").status_code == 404
    assert manage(server, "DELETE", "/workflows/visitor").status_code == 404


@pytest.mark.parametrize(
    ("name", "spec", "failures"),
    [
        (
            "unloadable",
            "models: {a: {url: tell-1.0}, x: {url: breaks-1.0}}\ndag: {first: [a, x]}",
            "[Failed to start workers for model unloadable__x version: 1.0. RuntimeError: cannot load]",
        ),
        (
            "absent",
            "models: {a: {url: tell-1.0}, x: {url: nowhere.mar}}\ndag: {first: [a, x]}",
            "[Workflow Node absent__x failed to register. Details: Model not found at: nowhere.mar]",
        ),
        (
            "undefined",
            "models: {a: {url: tell-1.0}}\ndag: {missing: [a]}",
            "[Failed to start workers for model undefined__missing version: 1.0. ",
        ),
    ],
)
def test_one_node_that_cannot_be_served_takes_the_whole_registration_back(server, name, spec, failures):
    before = served(server)
    reply = register(server, name, spec)
    assert (reply.status_code, reply.json()["type"]) == (500, "WorkflowException")
    assert message_of(reply).startswith(f"Workflow {name} has failed to register. Failures: {failures}")
    assert served(server) == before
    assert manage(server, "GET", f"/models/{name}__a").status_code == 404


def test_a_model_that_has_a_nodes_name_already_keeps_it(server):
    assert (
        manage(server, "POST", "/models", url="tell-1.0", model_name="taken__a", initial_workers=1).status_code == 200
    )
    reply = register(server, "taken", "models: {a: {url: orders-1.0}}\ndag: {a: []}")
    assert reply.status_code == 500
    assert "Model version 1.0 is already registered for model taken__a" in message_of(reply)
    assert manage(server, "DELETE", "/models/taken__a").status_code == 200


@pytest.mark.parametrize(
    ("parameters", "status", "kind", "message"),
    [
        ({}, 400, "BadRequestException", "Parameter url is required."),
        ({"url": ""}, 404, "WorkflowNotFoundException", "Workflow not found at: "),
        (
            {"url": "nowhere.war"},
            404,
            "WorkflowNotFoundException",
            "Workflow not found in workflow store: nowhere.war",
        ),
        (
            {"url": "../x.war"},
            404,
            "WorkflowNotFoundException",
            "Relative path is not allowed in url: ../x.war",
        ),
        (
            {"url": "tell-1.0"},
            400,
            "InvalidWorkflowException",
            "Workflow name is not defined. (no WAR-INF/MANIFEST.json",
        ),
        (
            {"url": "chain.war", "s3_sse_kms": "true"},
            400,
            "BadRequestException",
            "Parameter s3_sse_kms is not supported",
        ),
        ({"url": "chain.war"}, 409, "ConflictStatusException", "Workflow chain is already registered."),
    ],
)
def test_a_registration_that_cannot_be_is_refused_in_torchserves_words(chain, parameters, status, kind, message):
    before = served(chain)
    reply = manage(chain, "POST", "/workflows", **parameters)
    assert (reply.status_code, reply.json()["type"]) == (status, kind)
    assert message_of(reply).startswith(message)
    assert served(chain) == before


def test_of_two_registrations_of_one_name_at_once_one_is_refused(server):
    write_workflow(server.folder.parent / "store", "twice", CHAIN)
    with ThreadPoolExecutor(2) as operators:
        replies = list(operators.map(lambda _: manage(server, "POST", "/workflows", url="twice.war"), range(2)))
    assert sorted(reply.status_code for reply in replies) == [200, 409]
    assert predict(server, "twice").status_code == 200
    assert manage(server, "DELETE", "/workflows/twice").status_code == 200


def test_a_registration_need_not_be_waited_for(server):
    reply = register(server, "later", CHAIN, synchronous="false")
    assert (reply.status_code, reply.json()) == (202, {"status": "Processing worker updates..."})
    wait_for("workflow", lambda: manage(server, "GET", "/workflows/later").status_code == 200)
    assert predict(server, "later").status_code == 200
    assert manage(server, "DELETE", "/workflows/later").status_code == 200


def test_a_registration_that_nobody_waits_for_says_in_the_log_why_it_failed(server):
    before = served(server)
    reply = register(server, "unheard", "models: {x: {url: breaks-1.0}}\ndag: {x: []}", synchronous="false")
    assert reply.status_code == 202
    wait_for("line in the log", lambda: "Failed to register workflow: unheard.war" in server.log())
    assert served(server) == before


def test_a_registration_by_url_is_a_copy_that_goes_with_the_workflow(server, tmp_path):
    archive = write_workflow(tmp_path, "fetched", CHAIN)
    body = {"url": archive.as_uri(), "synchronous": True}
    reply = httpx.post(f"{server.management}/workflows", json=body, trust_env=False, timeout=TIMEOUT_S)
    assert reply.status_code == 200
    assert (server.folder.parent / "store/fetched.war").exists()
    assert manage(server, "DELETE", "/workflows/fetched").status_code == 200
    assert not (server.folder.parent / "store/fetched.war").exists()
    assert archive.exists()


def test_what_was_accepted_before_a_workflow_is_unregistered_is_answered(server, tmp_path):
    assert register(server, "leaving", CHAIN).status_code == 200
    gate = tmp_path / "gate"
    with ThreadPoolExecutor(2) as callers:
        held = callers.submit(predict, server, "leaving", {"a": {"gate": gate}})
        wait_until_reached(gate)
        unregistered = callers.submit(manage, server, "DELETE", "/workflows/leaving")
        wait_for("no such workflow", lambda: manage(server, "GET", "/workflows/leaving").status_code == 404)
        assert manage(server, "POST", "/workflows", url="leaving.war").status_code == 409
        gate.touch()
        assert held.result(TIMEOUT_S).status_code == 200
        assert unregistered.result(TIMEOUT_S).status_code == 200


def test_unregistering_under_load_fails_no_request_that_was_accepted(server):
    assert register(server, "busy", CHAIN).status_code == 200
    outcomes: Counter[int] = Counter()
    stop = Event()

    def send():
        while not stop.is_set():
            outcomes[predict(server, "busy").status_code] += 1

    with ThreadPoolExecutor(4) as clients:
        for _ in range(4):
            clients.submit(send)
        wait_for("answers", lambda: outcomes[200] >= 40)
        assert manage(server, "DELETE", "/workflows/busy").status_code == 200
        wait_for("refusals", lambda: outcomes[404] >= 4)
        stop.set()
    assert set(outcomes) == {200, 404}


# --- the server -------------------------------------------------------------------------------------------------------


def test_a_server_that_stops_takes_accepted_requests_through_all_their_nodes(tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    write_models(store)
    (tmp_path / "server").mkdir()
    gate, notes = tmp_path / "gate", tmp_path / "notes"
    with (
        ServerProcess(folder=tmp_path / "server", options=["--model-store", str(store)]) as server,
        ThreadPoolExecutor(1) as client,
    ):
        assert register(server, "chain", CHAIN).status_code == 200
        held = client.submit(predict, server, "chain", {"a": {"gate": gate}, "b": {"notes": notes}})
        wait_until_reached(gate)
        server.signal(signal.SIGTERM)
        wait_for("closed listener", lambda: _is_refused(server))
        gate.touch()
        assert held.result(TIMEOUT_S).status_code == 200
        assert notes.read_text() == "chain__b\n"
        assert server.wait_ended() == 0
        server.assert_nothing_is_left()


def test_a_server_that_stops_gives_up_a_registration_under_way(tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    write_models(store)
    (tmp_path / "server").mkdir()
    waits = "import time\ndef slow(data, context):\n    time.sleep(60)\n"
    write_workflow(store, "slow", "dag: {slow: []}", waits)
    with ServerProcess(folder=tmp_path / "server", options=["--model-store", str(store)]) as server:
        assert manage(server, "POST", "/workflows", url="slow.war", synchronous="false").status_code == 202
        wait_for("worker", lambda: len(server.processes()) > 1)
        server.stop()


def test_workflows_have_a_store_of_their_own_and_are_in_no_snapshot(tmp_path):
    for name in ("store", "wars", "server"):
        (tmp_path / name).mkdir()
    write_models(tmp_path / "store")
    write_workflow(tmp_path / "wars", "chain", CHAIN)
    options = ["--model-store", str(tmp_path / "store"), "--workflow-store", str(tmp_path / "wars"), "--snapshots"]
    with ServerProcess("tell-1.0", folder=tmp_path / "server", options=options) as server:
        assert manage(server, "POST", "/workflows", url="chain.war").status_code == 200
        assert predict(server, "chain").status_code == 200
        server.stop()
    *_, last = sorted((tmp_path / "server/logs/config").glob("*-shutdown.cfg"))
    assert "tell" in last.read_text()
    assert "chain" not in last.read_text()


def test_calls_need_the_token_of_their_port(tmp_path):
    (tmp_path / "server").mkdir()
    (tmp_path / "store").mkdir()
    options = ["--model-store", str(tmp_path / "store"), "--token-auth"]
    with ServerProcess(folder=tmp_path / "server", options=options, waits_for_models=False) as server:
        for reply in (predict(server, "nowhere"), manage(server, "GET", "/workflows")):
            assert (reply.status_code, reply.json()["type"]) == (400, "InvalidKeyException")


def _is_refused(server: ServerProcess) -> bool:
    try:
        httpx.get(f"{server.inference}/ping", trust_env=False, timeout=TIMEOUT_S)
    except httpx.TransportError:
        return True
    return False
