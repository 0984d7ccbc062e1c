"""The inference port without a network, workers or models: bytes in, replies out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httptools
from http_connections import FakeTransport, Limits, connect

from flambeau.frontends.http.apps import inference_app
from flambeau.frontends.http.predictions import Predictions
from flambeau.frontends.http.responder import Responder
from flambeau.frontends.http.site import HttpSite
from flambeau.request import InferenceReply, ModelRef
from flambeau.testing.inference import FakeInference, FakeServedModel


@dataclass
class Reply:
    """One response as a client reads it."""

    status: int = 0
    reason: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def __getitem__(self, name: str) -> str:
        """The value of a header that is there once."""
        (value,) = [value for key, value in self.headers if key.lower() == name.lower()]
        return value

    def __contains__(self, name: str) -> bool:
        return any(key.lower() == name.lower() for key, _ in self.headers)


class _Replies:
    """Callbacks of a response parser."""

    def __init__(self) -> None:
        self.complete: list[Reply] = []
        self._parser = httptools.HttpResponseParser(self)
        self._loading = Reply()

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._loading = Reply()

    def on_status(self, status: bytes) -> None:
        self._loading.reason += status.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._loading.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_body(self, body: bytes) -> None:
        self._loading.body += body

    def on_message_complete(self) -> None:
        self._loading.status = self._parser.get_status_code()
        self.complete.append(self._loading)


def parse_replies(data: bytes) -> list[Reply]:
    """Every complete response; those to ``HEAD`` are not understood."""
    replies = _Replies()
    replies.feed(data)
    return replies.complete


@dataclass
class FakeSeries:
    values: list[float] = field(default_factory=list)

    def record(self, value: float) -> None:
        self.values.append(value)


class FakeMetrics:
    """Keeps every value of every series."""

    def __init__(self) -> None:
        self.recorded: dict[tuple[str, ...], FakeSeries] = {}

    def series(self, name: str, *labels: str) -> FakeSeries:
        return self.recorded.setdefault((name, *labels), FakeSeries())

    def counts(self) -> dict[tuple[str, ...], int]:
        """How many values each series has, without those that have none."""
        return {key: len(series.values) for key, series in self.recorded.items() if series.values}


class FakeAccessLog:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str, str, int]] = []

    def record(self, peer: str, method: str, target: str, status: int, milliseconds: float) -> None:
        assert milliseconds >= 0
        self.lines.append((peer, method, target, status))


def echo_model(name: str = "echo", version: str = "1.0") -> FakeServedModel:
    """Answers with the request's first value."""
    return FakeServedModel(ModelRef(name, version), lambda request: InferenceReply(request.parameters[0][2]))


def replying(reply: Any) -> FakeServedModel:
    """Answers every request with the same."""
    return FakeServedModel(ModelRef("m", "1.0"), lambda request: reply)


class InferencePort:
    """A site with everything that stands behind the inference port; its models are given."""

    def __init__(
        self,
        *models: FakeServedModel,
        sole_model: str | None = None,
        tokens: Any = None,
        cors: Sequence[tuple[str, str]] = (),
        limits: Limits = Limits(),  # noqa: B008 - frozen
        logs_access: bool = True,
    ) -> None:
        self.inference = FakeInference(*models, sole_model=sole_model)
        self.metrics = FakeMetrics()
        self.access_log = FakeAccessLog()
        self.transport = FakeTransport()
        self._tokens = tokens
        self._cors = cors
        self._limits = limits
        self._logs_access = logs_access

    def send(self, *pieces: bytes) -> list[Reply]:
        """Send on one connection, a turn of the loop between any two pieces; the replies, all of them complete."""
        return parse_replies(self.exchange(*pieces))

    def exchange(self, *pieces: bytes) -> bytes:
        """The same; everything that was written, as it was."""
        asyncio.run(self._exchange(pieces))
        return bytes(self.transport.written)

    def site(self) -> HttpSite:
        """To be called on a running loop."""
        responder = Responder(self.metrics, self.access_log if self._logs_access else None, self._cors)
        predictions = Predictions(self.inference, responder, self.metrics, self._tokens)
        app = inference_app(self.inference, self._tokens)
        return HttpSite(app, responder, self._limits, predictions)

    async def _exchange(self, pieces: Sequence[bytes]) -> None:
        site = self.site()
        _, self.transport = connect(site)
        for piece in pieces:
            self.transport.receive(piece)
            await turn()
        self.transport.lose()
        await site.close(0.1)


async def turn() -> None:
    """Let everything happen that waits for nothing but the loop."""
    for _ in range(20):
        await asyncio.sleep(0)
