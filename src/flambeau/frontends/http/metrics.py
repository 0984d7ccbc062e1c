"""``/metrics``, with any method, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from starlette.responses import Response

from flambeau.frontends.http.chain import Call


class MetricsRenderer(Protocol):
    """Where the text comes from."""

    def render(self, names: Collection[str] | None) -> str:
        """The exposition of the samples with these names, of all if None; empty where metrics go to the log."""
        ...


class MetricsLink:
    """``/metrics?name[]=A&name[]=B``."""

    def __init__(self, renderer: MetricsRenderer) -> None:
        self._renderer = renderer

    async def __call__(self, call: Call) -> Response | None:
        if call.segments[:1] != ("metrics",):
            return None
        names = call.request.query_params.getlist("name[]")
        text = self._renderer.render(frozenset(names) if names else None)
        return Response(text, headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})
