"""What can stand under the prediction path: each makes a protocol for every new connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from benchmarks.protocols.asgi import PredictionsApp
from benchmarks.protocols.bypass import BypassProtocol
from benchmarks.protocols.path import PredictionPath
from flambeau.frontends.http.apps import inference_app
from flambeau.frontends.http.asgi import AsgiApp
from flambeau.frontends.http.site import HttpSite

Connect = Callable[[], asyncio.BaseProtocol]


def own(path: PredictionPath) -> Connect:
    """Flambeau's connection class, as it serves."""
    return HttpSite(_cold_routes(path), path.responder, path.config.limits, path.predictions).connect


def bypass(path: PredictionPath) -> Connect:
    """uvicorn's class; predictions do not go through ASGI."""
    config, state = _uvicorn(path, _cold_routes(path)), ServerState()
    return lambda: BypassProtocol(path.predictions, path.request_ids, config, state)


def asgi(path: PredictionPath) -> Connect:
    """uvicorn as it is."""
    config, state = _uvicorn(path, PredictionsApp(path, _cold_routes(path))), ServerState()
    return lambda: HttpToolsProtocol(config, state, {})


BASES = {base.__name__: base for base in (own, bypass, asgi)}


def _cold_routes(path: PredictionPath) -> AsgiApp:
    return inference_app(path.inference, None)


def _uvicorn(path: PredictionPath, app: AsgiApp) -> Config:
    """uvicorn without what the other bases do not do either: its access log, its Date header, WebSockets."""
    config = Config(
        app,
        http=HttpToolsProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=round(path.config.limits.idle_timeout_s),
    )
    config.load()
    return config
