"""Predictions as an ASGI function without a framework: all that a prediction costs beyond it is ASGI itself.

It does for a raw body what ``Predictions`` and ``Responder`` do: the same request to the model, the same headers,
metrics and access line. Left out are forms, the client's own request id, what a handler may set (status, phrase,
headers), and noticing that the client has left.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from benchmarks.protocols.path import PredictionPath
from flambeau.api import FutureCaller, ServedModel
from flambeau.errors import ServingError
from flambeau.frontends.http.asgi import AsgiApp
from flambeau.frontends.http.errors import error_response
from flambeau.frontends.http.routes import predict_route
from flambeau.metrics.series import Series
from flambeau.request import InferenceRequest

NO_CACHE = [
    (b"pragma", b"no-cache"),
    (b"cache-control", b"no-cache; no-store, must-revalidate, private"),
    (b"expires", b"Thu, 01 Jan 1970 00:00:00 UTC"),
]


class Target(NamedTuple):
    """A path that predicts."""

    model: ServedModel
    injected: tuple[tuple[bytes, bytes], ...]
    inferences: Series
    latency: Series
    queueing: Series


class PredictionsApp:
    """Predictions here, everything else in another application."""

    def __init__(self, path: PredictionPath, others: AsgiApp) -> None:
        self._inference = path.inference
        self._series = path.recorder.series
        self._access_log = path.access_log
        self._request_ids = path.request_ids
        self._others = others
        self._targets: dict[bytes, Target] = {}
        self._generation = path.inference.generation
        self._queue_time = self._series("QueueTime", "Host")
        self._succeeded = self._series("Requests2XX", "Host")

    async def __call__(self, scope, receive, send) -> None:
        request_id = self._request_ids.new()
        try:
            target = self._target(scope["raw_path"])
            if target is None:
                await self._others(scope, receive, send)
                return
            body = await receive_body(receive)
            arrived_at = time.monotonic()
            headers = scope["headers"]
            content_type = next((value for name, value in headers if name == b"content-type"), b"")
            media_type = content_type.partition(b";")[0].strip().decode("latin-1")
            headers.extend(target.injected)
            target.inferences.record(1)
            caller = FutureCaller()
            fields = (("body", media_type, body),)
            ticket = target.model.submit(InferenceRequest(request_id, headers, fields), caller, arrived_at)
            reply = await caller.future
        except ServingError as error:
            await error_response(error)(scope, receive, send)
            return
        now = time.monotonic()
        response_headers = [
            (b"x-request-id", request_id.encode()),
            *NO_CACHE,
            (b"content-length", b"%d" % len(reply.body)),
        ]
        await send({"type": "http.response.start", "status": reply.status, "headers": response_headers})
        await send({"type": "http.response.body", "body": reply.body})
        self._succeeded.record(1)
        peer_host, peer_port = scope["client"]
        self._access_log.record(
            f"{peer_host}:{peer_port}",
            scope["method"],
            scope["raw_path"].decode("latin-1"),
            reply.status,
            (now - arrived_at) * 1e3,
        )
        queued_s = ticket.cut_at - arrived_at
        target.latency.record((now - arrived_at) * 1e6)
        target.queueing.record(queued_s * 1e6)
        self._queue_time.record(int(queued_s * 1e3))

    def _target(self, raw_path: bytes) -> Target | None:
        """None: it does not predict. Raises ServingError."""
        if self._generation != self._inference.generation:
            self._targets.clear()
            self._generation = self._inference.generation
        target = self._targets.get(raw_path)
        if target is None:
            route = predict_route(raw_path)
            if route is None or route.model is None:
                return None
            model = self._inference.resolve(route.model)
            labels = (model.ref.name, route.model.version or "default")
            target = self._targets[raw_path] = Target(
                model,
                route.injected,
                self._series("ts_inference_requests_total", *labels),
                self._series("ts_inference_latency_microseconds", *labels),
                self._series("ts_queue_latency_microseconds", *labels),
            )
        return target


async def receive_body(receive) -> bytes:
    """The whole body of a request."""
    message = await receive()
    if not message.get("more_body"):
        return message.get("body", b"")
    chunks = [message["body"]]
    while message.get("more_body"):
        message = await receive()
        chunks.append(message.get("body", b""))
    return b"".join(chunks)
