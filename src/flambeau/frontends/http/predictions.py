"""The hot path: a complete HTTP request to a job, and the job's outcome to an HTTP response.

A target that has been seen is one dictionary look-up away from its model; the cache is emptied whenever a model is
registered, unregistered or made the default.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from functools import lru_cache

from flambeau.api import Inference, ServedModel, Ticket
from flambeau.errors import HandlerFailed, NoWorker, ServingError
from flambeau.frontends.http.auth import Tokens
from flambeau.frontends.http.bodies import parameters
from flambeau.frontends.http.connection import Exchange
from flambeau.frontends.http.infer_bodies import infer_fields
from flambeau.frontends.http.responder import MetricsRecorder, Responder, Series
from flambeau.frontends.http.routes import PredictRoute, invoked_model, predict_route
from flambeau.request import EXPLAIN, InferenceReply, InferenceRequest, Payload, Purpose

_MAX_TARGETS = 4096
"""Targets that are remembered; a client that makes up new ones only empties the cache."""

_MAX_REMEMBERED_BYTES = 512
"""A longer target is taken apart each time. One may be as long as a header and have a thousand fields, and so many of
those would fill the memory."""

_NOT_IN_A_NAME = re.compile(rb"[^!#$%&'*+.^_`|~0-9A-Za-z-]")
_NOT_IN_A_LINE = re.compile(rb"[\x00-\x1f\x7f]")

_FORMS = (b"multipart/form-data", b"application/x-www-form-urlencoded")


class _Target:
    """A request target that predicts: its model and the series that its requests are recorded in."""

    __slots__ = (
        "inferences",
        "injected",
        "is_plain",
        "latency",
        "model",
        "names_version",
        "purpose",
        "query",
        "queueing",
    )

    def __init__(self, route: PredictRoute, model: ServedModel, names_version: bool, metrics: MetricsRecorder) -> None:
        self.model = model
        self.injected = route.injected
        self.query = route.query
        self.purpose = Purpose.EXPLAIN if EXPLAIN in route.injected else Purpose.PREDICT
        if route.is_open_inference:
            self.purpose = Purpose.INFER
        self.is_plain = not route.query and not route.is_open_inference
        """Whether a raw body is passed on as it is."""
        self.names_version = names_version
        name, version = model.ref
        label = version if names_version and version is not None else "default"
        self.inferences = metrics.series("ts_inference_requests_total", name, label)
        self.latency = metrics.series("ts_inference_latency_microseconds", name, label)
        self.queueing = metrics.series("ts_queue_latency_microseconds", name, label)


class Predictions:
    """Answers every request of the inference port that predicts or explains."""

    def __init__(
        self, inference: Inference, responder: Responder, metrics: MetricsRecorder, tokens: Tokens | None
    ) -> None:
        self._inference = inference
        self.responder = responder
        self._metrics = metrics
        self._tokens = tokens
        self._targets: dict[bytes, _Target] = {}
        self._generation = inference.generation
        self.queue_time: Series = metrics.series("QueueTime", "Host")

    def handle(self, exchange: Exchange) -> bool:
        """Take a request if it predicts. Returns whether it does; if not, nothing has been done with it."""
        if self._generation != self._inference.generation:
            self._targets.clear()
            self._generation = self._inference.generation
        target = self._targets.get(exchange.target)
        try:
            if target is None or exchange.method == b"OPTIONS":
                target = self._find(exchange)
                if target is None:
                    return False
            noted = exchange.noted
            if self._tokens is not None:
                self._tokens.check_inference(noted.get(b"authorization"))
            media_type = _raw_media_type(noted.get(b"content-type"))
            fields: Sequence[tuple[str, str, Payload]]
            if media_type is not None and target.is_plain:
                fields = (("body", media_type, exchange.body),)
            elif media_type is not None and target.purpose is Purpose.INFER:
                fields = infer_fields(noted, media_type, exchange.body, exchange.connection.max_body_bytes)
            else:
                fields = parameters(noted.get(b"content-type"), bytes(exchange.body), target.query)
            headers = exchange.headers
            if b"content-length" not in noted and exchange.body:
                headers.append((b"content-length", b"%d" % len(exchange.body)))
            headers.extend(target.injected)
            target.inferences.record(1)
            prediction = _Prediction(exchange, target, self)
            request = InferenceRequest(exchange.request_id, headers, fields, target.purpose)
            ticket = prediction.ticket = target.model.submit(request, prediction, exchange.arrived_at)
            exchange.on_abandon = ticket.abandon
        except NoWorker as error:
            if target is not None and target.names_version and not error.has_reason:
                error = NoWorker(*target.model.ref)
            self.responder.error(exchange, error)
        except ServingError as error:
            self.responder.error(exchange, error)
        return True

    def _find(self, exchange: Exchange) -> _Target | None:
        """What a target that is not in the cache means; None if it does not predict."""
        route = predict_route(exchange.target)
        if route is None or exchange.method == b"OPTIONS":
            return None
        if self._tokens is not None:  # before anything is said about which models there are
            self._tokens.check_inference(exchange.noted.get(b"authorization"))
        return self._resolve(exchange, route)

    def _resolve(self, exchange: Exchange, route: PredictRoute) -> _Target:
        ref = route.model
        is_lasting = ref is not None and len(exchange.target) <= _MAX_REMEMBERED_BYTES
        if ref is None:
            fields = parameters(exchange.noted.get(b"content-type"), bytes(exchange.body), route.query)
            ref = invoked_model(self._inference.sole_model(), fields)
        target = _Target(route, self._inference.resolve(ref), ref.version is not None, self._metrics)
        if is_lasting:
            if len(self._targets) >= _MAX_TARGETS:
                self._targets.clear()
            self._targets[exchange.target] = target
        return target


@lru_cache(maxsize=256)
def _raw_media_type(content_type: bytes | None) -> str | None:
    """The media type of a body that is passed on as it is; None for forms, which are taken apart."""
    if content_type is None:
        return ""
    if content_type.lower().startswith(_FORMS):
        return None
    return content_type.partition(b";")[0].strip().decode("latin-1")


class _Prediction:
    """The caller of one job: an exchange that waits for its answer."""

    __slots__ = ("_exchange", "_site", "_target", "ticket")

    ticket: Ticket

    def __init__(self, exchange: Exchange, target: _Target, site: Predictions) -> None:
        self._exchange = exchange
        self._target = target
        self._site = site

    def answer(self, outcome: InferenceReply | ServingError) -> None:
        """See ``api.Caller.answer``."""
        exchange, site = self._exchange, self._site
        if isinstance(outcome, ServingError):
            site.responder.error(exchange, outcome)
            return
        now = time.monotonic()
        if (
            outcome.status == 200
            and not (outcome.headers or outcome.phrase)
            and exchange.keep_alive
            and exchange.method != b"HEAD"
        ):
            site.responder.ok(exchange, outcome.body, now)  # type: ignore[arg-type]
        elif outcome.status < 200:
            site.responder.error(exchange, HandlerFailed())  # not the last word on a request; it would get no other
        else:
            site.responder.respond(
                exchange,
                outcome.status,
                outcome.body,  # type: ignore[arg-type]
                [(_header_name(name), _one_line(value)) for name, value in outcome.headers if name],
                _one_line(outcome.phrase),
            )
        arrived_at = exchange.arrived_at
        queued_s = self.ticket.cut_at - arrived_at
        self._target.latency.record((now - arrived_at) * 1e6)
        self._target.queueing.record(queued_s * 1e6)
        site.queue_time.record(int(queued_s * 1e3))


def _header_name(text: str) -> bytes:
    """A handler's word for a header, with dashes for what may not be in one."""
    return _NOT_IN_A_NAME.sub(b"-", text.encode("latin-1", "replace"))


def _one_line(text: str) -> bytes:
    """A handler's text for the head of a response; control characters, some of which would end it, become blanks."""
    return _NOT_IN_A_LINE.sub(b" ", text.encode("latin-1", "replace"))
