"""The routes of workflows, on the management port and on the inference port."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from http_calls import call
from http_connections import connect, post
from http_sites import FakeMetrics, Limits, parse_replies, turn

from flambeau.api import (
    Done,
    ListedWorkflow,
    WorkflowDescription,
    WorkflowManagement,
    WorkflowPage,
    WorkflowRegistration,
)
from flambeau.errors import InvalidGraph, NodeFailed, QueueFull, WorkflowExists, WorkflowNotFound, WorkflowNotRegistered
from flambeau.frontends.http.apps import combined_app, management_app
from flambeau.frontends.http.auth import Tokens
from flambeau.frontends.http.responder import Responder
from flambeau.frontends.http.routes import workflow_route
from flambeau.frontends.http.site import HttpSite
from flambeau.frontends.http.workflow_predictions import WorkflowPredictions
from flambeau.request import InferenceReply
from flambeau.testing.inference import FakeInference, FakeTicket
from flambeau.testing.management import FakeManagement

JSON = (("content-type", "application/json"),)
DESCRIPTION = WorkflowDescription(
    workflow_name="w",
    workflow_url="w.war",
    min_workers=1,
    max_workers=2,
    batch_size=4,
    max_batch_delay=20,
    workflow_dag="{pre=[m]}",
    nodes={"pre": "w__pre", "m": "w__m"},
    running=0,
)


@dataclass
class FakeWorkflows(WorkflowManagement):
    """One workflow, ``w``."""

    error: Exception | None = None
    is_complete: bool = True
    registrations: list[WorkflowRegistration] = field(default_factory=list)
    pages: list[tuple[int, int]] = field(default_factory=list)

    def list_workflows(self, limit, offset):
        self.pages.append((limit, offset))
        return WorkflowPage(workflows=[ListedWorkflow("w", "w.war")], next_page_token="1")

    def describe(self, workflow):
        self._check(workflow)
        return DESCRIPTION

    async def register(self, registration):
        if self.error is not None:
            raise self.error
        self.registrations.append(registration)
        return Done("registered", self.is_complete)

    async def unregister(self, workflow):
        self._check(workflow)
        return Done(f'Workflow "{workflow}" unregistered')

    def _check(self, workflow):
        if workflow != "w":
            raise WorkflowNotFound.named(workflow)


def management_of(workflows, tokens=None):
    return management_app(FakeManagement({}), tokens, model_api_enabled=False, workflows=workflows)


def test_workflows_are_listed_page_by_page():
    workflows = FakeWorkflows()
    reply = call(management_of(workflows), "GET /workflows?limit=7&next_page_token=3")
    assert reply.json() == {"nextPageToken": "1", "workflows": [{"workflowName": "w", "workflowUrl": "w.war"}]}
    call(management_of(workflows), "GET /workflows/?limit=101")
    assert workflows.pages == [(7, 3), (100, 0)]


@pytest.mark.parametrize("target", ["/workflows/w", "/workflows/w/", "/workflows/w/more"])
def test_a_workflow_is_described_in_a_list_of_its_own(target):
    (description,) = call(management_of(FakeWorkflows()), f"GET {target}").json()
    assert list(description) == [
        *("workflowName", "workflowUrl", "minWorkers", "maxWorkers", "batchSize", "maxBatchDelay", "workflowDag"),
        *("nodes", "running"),
    ]


def test_workflows_are_registered_though_the_model_api_is_off():
    workflows = FakeWorkflows()
    query = "url=w.war&workflow_name=mine&response_timeout=7&startup_timeout=33&synchronous=false&s3_sse_kms=true"
    reply = call(management_of(workflows), f"POST /workflows?{query}")
    assert (reply.status_code, reply.json()) == (200, {"status": "registered"})
    assert workflows.registrations == [
        WorkflowRegistration(
            url="w.war",
            workflow_name="mine",
            response_timeout_s=7.0,
            startup_timeout_s=33.0,
            synchronous=False,
            s3_sse_kms=True,
        )
    ]


def test_a_json_body_takes_the_place_of_the_query():
    workflows = FakeWorkflows(is_complete=False)
    reply = call(management_of(workflows), "POST /workflows?workflow_name=x", json={"url": "w.war"})
    assert reply.status_code == 202
    assert workflows.registrations == [WorkflowRegistration(url="w.war")]


@pytest.mark.parametrize(
    ("send", "body", "status", "message"),
    [
        ("POST /workflows", None, 400, "Parameter url is required."),
        ("POST /workflows", b"{}", 400, "Parameter url is required."),
        ("POST /workflows", b"[]", 400, "The JSON body cannot be read: "),
        ("GET /workflows/x", None, 404, "Workflow not found: x"),
        ("DELETE /workflows/x", None, 404, "Workflow not found: x"),
        ("PUT /workflows/w", None, 405, "Requested method is not allowed"),
        ("POST /workflows/w", None, 405, "Requested method is not allowed"),
        ("DELETE /workflows", None, 405, "Requested method is not allowed"),
    ],
)
def test_what_cannot_be_is_refused(send, body, status, message):
    headers = {} if body is None else {"content-type": "application/json"}
    reply = call(management_of(FakeWorkflows()), send, content=body, headers=headers)
    assert reply.status_code == status
    assert reply.json()["message"].startswith(message)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (WorkflowNotFound("Workflow not found in workflow store: w.war"), 404, "WorkflowNotFoundException"),
        (WorkflowExists("w"), 409, "ConflictStatusException"),
        (InvalidGraph("Not a valid DAG", "a"), 400, "InvalidDAGException"),
        (WorkflowNotRegistered("w", ["a", "b"]), 500, "WorkflowException"),
    ],
)
def test_a_registration_that_fails_is_answered_with_torchserves_status_and_type(error, status, kind):
    reply = call(management_of(FakeWorkflows(error)), "POST /workflows?url=w.war")
    assert (reply.status_code, reply.json()["type"]) == (status, kind)
    assert reply.json()["message"] == error.message


def test_where_one_port_serves_all_workflows_need_the_management_key(tmp_path):
    tokens = Tokens(tmp_path / "keys.json", 3600)
    app = combined_app(
        FakeInference(), FakeManagement({}), None, tokens, model_api_enabled=True, workflows=FakeWorkflows()
    )
    assert call(app, "GET /workflows").json()["type"] == "InvalidKeyException"


# --- /wfpredict -------------------------------------------------------------------------------------------------------


class FakeWorkflow:
    name = "w"

    def __init__(self, outcome):
        self.outcome = outcome
        self.requests = []
        self.tickets = []

    def submit(self, request, caller, arrived_at):
        self.requests.append(request)
        if isinstance(self.outcome, QueueFull):
            raise NodeFailed("a", self.outcome)
        ticket = FakeTicket(arrived_at, arrived_at)
        self.tickets.append(ticket)
        if self.outcome is not None:
            asyncio.get_running_loop().call_soon(caller.answer, self.outcome)
        return ticket


class WorkflowPort:
    """A site with workflows and nothing else."""

    def __init__(self, outcome, tokens=None):
        self.workflow = FakeWorkflow(outcome)
        self.generation = 0
        self.metrics = FakeMetrics()
        self._tokens = tokens

    def resolve(self, workflow):
        if workflow != "w":
            raise WorkflowNotFound.named(workflow)
        return self.workflow

    def send(self, data):
        return asyncio.run(self._send(data))

    async def _send(self, data):
        responder = Responder(self.metrics, None, ())
        predictor = WorkflowPredictions(self, responder, self.metrics, self._tokens)
        site = HttpSite(management_of(FakeWorkflows()), responder, Limits(), predictor)
        _, transport = connect(site)
        transport.receive(data)
        await turn()
        transport.lose()
        await site.close(0.1)
        replies = parse_replies(bytes(transport.written))
        return replies[0] if replies else None


def test_a_run_is_answered_with_its_bytes_and_their_type():
    port = WorkflowPort(InferenceReply(b"[1]", headers=JSON))
    reply = port.send(post("/wfpredict/w?x=1", b"hello"))
    assert (reply.status, reply.reason, reply.body, reply["content-type"]) == (200, "OK", b"[1]", "application/json")
    (request,) = port.workflow.requests
    assert request.parameters == [("body", "", b"hello")]
    assert (b"explain", b"False") not in request.headers


@pytest.mark.parametrize("line", [b"GET /WFPREDICT/w/more", b"DELETE /wfpredict/w/", b"OPTIONS /%77fpredict/%77"])
def test_any_method_runs_and_the_first_segment_is_read_in_any_case(line):
    port = WorkflowPort(InferenceReply(b"{}", headers=JSON))
    assert port.send(line + b" HTTP/1.1\r\n\r\n").status == 200
    assert (b"content-length", b"0") in port.workflow.requests[0].headers


def test_a_form_has_a_field_for_each_of_its_pairs():
    port = WorkflowPort(InferenceReply(b"{}", headers=JSON))
    port.send(post("/wfpredict/w", b"a=1&b=2", "Content-Type: application/x-www-form-urlencoded"))
    assert port.workflow.requests[0].parameters == [("a", "", b"1"), ("b", "", b"2")]


@pytest.mark.parametrize(
    ("outcome", "target", "status", "message"),
    [
        (None, "/wfpredict/x", 404, b"Workflow not found: x"),
        (None, "/wfpredict/%zz", 400, b"Invalid HTTP message."),
        (None, "/wfpredict", 404, b"Requested resource is not found"),
        (QueueFull("m", "1 job"), "/wfpredict/w", 503, b"Error executing a ("),
        (NodeFailed("a", WorkflowExists("cause")), "/wfpredict/w", 500, b"Error executing a (Workflow cause"),
    ],
)
def test_what_fails_is_answered_as_an_error(outcome, target, status, message):
    reply = WorkflowPort(outcome).send(post(target, b""))
    assert reply.status == status
    assert message in reply.body


def test_a_client_that_leaves_abandons_its_run():
    port = WorkflowPort(None)
    assert port.send(post("/wfpredict/w", b"")) is None
    assert port.workflow.tickets[0].is_abandoned


def test_a_run_needs_the_inference_key_before_anything_is_said_of_what_there_is(tmp_path):
    port = WorkflowPort(InferenceReply(b"{}"), Tokens(tmp_path / "keys.json", 3600))
    for target in ("/wfpredict/w", "/wfpredict/x"):
        assert b"InvalidKeyException" in port.send(post(target, b"")).body


def test_requests_and_their_time_are_counted_under_the_workflows_name():
    port = WorkflowPort(InferenceReply(b"{}", headers=JSON))
    port.send(post("/wfpredict/w", b""))
    assert port.metrics.series("ts_inference_requests_total", "w", "default").values == [1]
    (latency,) = port.metrics.series("ts_inference_latency_microseconds", "w", "default").values
    assert latency > 0


@pytest.mark.parametrize("target", [b"/", b"/wfpredict", b"//wfpredict/w", b"/predictions/w", b"*", b"/wfpredict?w"])
def test_targets_that_name_no_workflow(target):
    assert workflow_route(target) is None
