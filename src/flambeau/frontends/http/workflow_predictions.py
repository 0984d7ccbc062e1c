"""``/wfpredict/{workflow}``: a complete HTTP request to a run through a workflow, and the outcome to a response."""

from __future__ import annotations

import time

from flambeau.api import Ticket, WorkflowInference
from flambeau.errors import ServingError
from flambeau.frontends.http.auth import Tokens
from flambeau.frontends.http.bodies import parameters
from flambeau.frontends.http.connection import Exchange
from flambeau.frontends.http.responder import MetricsRecorder, Responder, Series
from flambeau.frontends.http.routes import workflow_route
from flambeau.request import InferenceReply, InferenceRequest


class WorkflowPredictions:
    """Answers every request of the inference port that goes through a workflow, whatever its method."""

    def __init__(
        self, workflows: WorkflowInference, responder: Responder, metrics: MetricsRecorder, tokens: Tokens | None
    ) -> None:
        self._workflows = workflows
        self.responder = responder
        self._metrics = metrics
        self._tokens = tokens

    def handle(self, exchange: Exchange) -> bool:
        """Take a request if it is for a workflow. Returns whether it is; if not, nothing has been done with it."""
        try:
            name = workflow_route(exchange.target)
            if name is None:
                return False
            noted = exchange.noted
            if self._tokens is not None:
                self._tokens.check_inference(noted.get(b"authorization"))
            workflow = self._workflows.resolve(name)
            fields = parameters(noted.get(b"content-type"), bytes(exchange.body))
            headers = exchange.headers
            if b"content-length" not in noted:
                headers.append((b"content-length", b"%d" % len(exchange.body)))
            self._metrics.series("ts_inference_requests_total", name, "default").record(1)
            latency = self._metrics.series("ts_inference_latency_microseconds", name, "default")
            prediction = _WorkflowPrediction(exchange, self.responder, latency)
            request = InferenceRequest(exchange.request_id, headers, fields)
            ticket: Ticket = workflow.submit(request, prediction, exchange.arrived_at)
            exchange.on_abandon = ticket.abandon
        except ServingError as error:
            self.responder.error(exchange, error)
        return True


class _WorkflowPrediction:
    """The caller of one run: an exchange that waits for its answer."""

    __slots__ = ("_exchange", "_latency", "_responder")

    def __init__(self, exchange: Exchange, responder: Responder, latency: Series) -> None:
        self._exchange = exchange
        self._responder = responder
        self._latency = latency

    def answer(self, outcome: InferenceReply | ServingError) -> None:
        """See ``api.Caller.answer``."""
        exchange = self._exchange
        if isinstance(outcome, ServingError):
            self._responder.error(exchange, outcome)
            return
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in outcome.headers]
        self._responder.respond(exchange, outcome.status, outcome.body, headers)  # type: ignore[arg-type]
        self._latency.record((time.monotonic() - exchange.arrived_at) * 1e6)
