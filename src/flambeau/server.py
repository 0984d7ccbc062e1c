"""Where everything meets: construction, the order of starting, and the order of stopping.

Starting: logs, then listeners, then models, so that ``/ping`` answers while models load; HTTP's listeners come first,
because what gRPC needs takes its time to load. Stopping is the reverse, and
nothing that was accepted is lost: no new connections, no new requests, what is under way is finished, then workers
end, then the logs are closed.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Protocol

import psutil

from flambeau.archive.store import ModelStore
from flambeau.config.server import Address, StartupModel
from flambeau.config.sources import LoadedConfig
from flambeau.frontends.http.apps import combined_app, inference_app, management_app, metrics_app
from flambeau.frontends.http.auth import Tokens
from flambeau.frontends.http.predictions import Predictions
from flambeau.frontends.http.responder import Responder
from flambeau.frontends.http.site import HttpSite
from flambeau.frontends.http.workflow_predictions import WorkflowPredictions
from flambeau.frontends.open_inference import OpenInferenceModels
from flambeau.grpc_ports import grpc_ports, grpc_tls_context
from flambeau.listeners import Listener, tls_context
from flambeau.logs import LogFiles
from flambeau.metrics.catalog import load_catalog
from flambeau.metrics.recorder import Recorder
from flambeau.metrics.system import SystemSampler, resident_bytes
from flambeau.observer import ServerObserver, Snapshots
from flambeau.registry.models import Registry
from flambeau.registry.reloading import Reloader
from flambeau.registry.snapshot import SnapshotKind
from flambeau.request import ModelRef
from flambeau.workers.allocator import keep_freed_memory
from flambeau.workflows.catalog import Workflows

logger = logging.getLogger(__name__)

_FLUSH_S = 1.0
"""How often folded metrics are written to the logs."""

_OTHER_FILES = 1024
"""Open files beside connections: logs, listeners, and four for each worker."""

_TEMP_PREFIX = "flambeau-"

OnReloaded = Callable[[ModelRef, Path], None]
"""Told what is served anew, and a file that had changed."""


class BoundAddresses(NamedTuple):
    """Where the server listens, with the real ports."""

    inference: Address
    management: Address
    metrics: Address
    grpc_inference: Address | None = None
    """None: gRPC is off."""
    grpc_management: Address | None = None


class Site(Protocol):
    """What stands behind a listener, whichever its protocol."""

    def connect(self) -> asyncio.BaseProtocol: ...

    def drain(self) -> None:
        """Accept nothing new and finish what is under way."""
        ...

    async def close(self, timeout_s: float) -> None:
        """Close every connection, after this time at the latest."""
        ...


class Server:
    """One server process."""

    def __init__(
        self, loaded: LoadedConfig, model_overrides: Mapping[str, object], on_reloaded: OnReloaded | None = None
    ) -> None:
        """
        Args:
            on_reloaded: told of models that were reloaded because their files changed; None: they are not watched.

        Raises:
            ConfigError, InvalidModel, OSError: a file or folder cannot be used, or a snapshot not be restored; nothing
                is left open.
        """
        config = loaded.config
        self._config = config
        self._overrides = model_overrides
        self._on_reloaded = on_reloaded
        self._sites: list[Site] = []
        self._listeners: list[Listener] = []
        self._background: list[asyncio.Task[None]] = []
        self._has_loaded = False
        with ExitStack() as opened:
            console = sys.stdout if config.console_log else sys.stderr
            self._logs = LogFiles(config.log_dir, config.metrics_dir, console=console, echo_all=config.console_log)
            opened.callback(self._logs.close)
            root = logging.getLogger()
            root.addHandler(self._logs.handler)
            opened.callback(root.removeHandler, self._logs.handler)
            root.setLevel(logging.INFO)
            temp_dir = _make_temp_dir(config.temp_dir)
            opened.callback(shutil.rmtree, temp_dir, ignore_errors=True)
            self._recorder = Recorder(
                load_catalog(config.metrics_config),
                mode=config.metrics_mode.value,
                hostname=socket.gethostname(),
                ts_log=self._logs.ts_metrics.write,
                model_log=self._logs.model_metrics.write,
                auto_detect=config.model_metrics_auto_detect,
                every_update=config.metrics_every_update,
            )
            observer = ServerObserver(self._recorder, self._logs.worker)
            self._store = ModelStore(config.model_store, temp_dir, config.allowed_urls, config.allow_private_urls)
            self.registry = Registry(config, self._store, observer)
            self.workflows = Workflows(
                self.registry,
                ModelStore(
                    config.workflow_store or config.model_store,
                    temp_dir,
                    config.allowed_urls,
                    config.allow_private_urls,
                ),
                unregister_timeout_s=config.unregister_model_timeout_s,
                on_node=observer.node_answered,
            )
            self._snapshots = Snapshots(config, self.registry) if config.snapshots else None
            if self._snapshots is not None:
                observer.on_models_changed = self._snapshots.changed
            snapshot = config.model_snapshot
            self._restored = None if snapshot is None else self.registry.read_snapshot(snapshot)
            self._tokens = Tokens(config.key_file, config.token_expiration_s) if config.authorizes else None
            self._opened = opened.pop_all()

    async def start(self) -> BoundAddresses:
        """Bind every address and begin to load models.

        Raises:
            OSError, ConfigError: an address cannot be bound, or the key file not be written.
        """
        config = self._config
        access_log = self._logs.access if config.access_log else None
        cors = (
            ("access-control-allow-origin", config.cors_allowed_origin),
            ("access-control-allow-methods", config.cors_allowed_methods),
            ("access-control-allow-headers", config.cors_allowed_headers),
        )
        responder = Responder(self._recorder, access_log, cors)
        predictors = (
            Predictions(self.registry, responder, self._recorder, self._tokens),
            WorkflowPredictions(self.workflows, responder, self._recorder, self._tokens),
        )
        tls = tls_context(config.certificate_file, config.private_key_file)
        metrics_renderer = self._recorder if config.enable_metrics_api else None
        open_inference = None
        if config.open_inference_protocol:
            open_inference = OpenInferenceModels(self.registry, model_api_enabled=config.enable_model_api)
        is_combined = config.inference_address == config.management_address and config.inference_address.port != 0
        if is_combined:
            app = combined_app(
                self.registry,
                self.registry,
                metrics_renderer,
                self._tokens,
                model_api_enabled=config.enable_model_api,
                open_inference=open_inference,
                workflows=self.workflows,
            )
        else:
            app = inference_app(self.registry, self._tokens, open_inference=open_inference)
        inference = await self._listen(
            config.inference_address, HttpSite(app, responder, config.limits, *predictors), tls
        )
        management = inference
        if not is_combined:
            app = management_app(
                self.registry,
                self._tokens,
                model_api_enabled=config.enable_model_api,
                workflows=self.workflows,
            )
            management = await self._listen(config.management_address, HttpSite(app, responder, config.limits), tls)
        metrics = config.metrics_address
        if metrics_renderer is not None:
            app = metrics_app(metrics_renderer)
            metrics = await self._listen(config.metrics_address, HttpSite(app, responder, config.limits), tls)
        grpc = [
            await self._listen(port.address, port.site, grpc_tls_context(config), port.setting)
            for port in await grpc_ports(
                config, self.registry, self.registry, self._recorder, self._tokens, access_log, open_inference
            )
        ]
        if self._tokens is not None:  # not before: a server that cannot bind must not touch the file of one that runs
            self._tokens.publish()
            self._opened.callback(self._tokens.withdraw)
        bound = BoundAddresses(inference, management, metrics, *grpc)
        logger.info("Inference address: %s, management address: %s, metrics address: %s", *bound[:3])
        if grpc:
            logger.info("gRPC inference address: %s, gRPC management address: %s", *grpc)
        self._spawn(self._load_models())
        self._spawn(self._flush_metrics())
        if not config.disable_system_metrics:
            self._spawn(self._sample_system())
        if self._on_reloaded is not None:
            written = (config.log_dir, config.metrics_dir, config.temp_dir, config.key_file)
            ignored = [path for path in written if path is not None]
            self._spawn(Reloader(self.registry, ignored=ignored, on_reloaded=self._on_reloaded).run())
        return bound

    async def _listen(
        self, address: Address, site: Site, tls: ssl.SSLContext | None, setting: str | None = None
    ) -> Address:
        """Bind an address. ``setting``: the key that moves the port, for the error of one that users did not choose."""
        self._sites.append(site)
        try:
            listener = await Listener.bind(address, site.connect, tls)
        except OSError as error:
            if setting is None:
                raise
            raise OSError(error.errno, f"{error.strerror} (setting {setting})") from None
        self._listeners.append(listener)
        return listener.address

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        task.add_done_callback(_log_failure)
        self._background.append(task)

    async def drain(self) -> None:
        """Accept nothing new and finish what has been accepted."""
        deadline = time.monotonic() + self._config.drain_timeout_s
        for listener in self._listeners:
            listener.close()
        for site in self._sites:
            site.drain()
        # A node's answer is a request to the next node, so models go on accepting until no workflow is under way.
        is_answered = await self.workflows.drain(self._config.drain_timeout_s)
        if await self.registry.drain(max(0.0, deadline - time.monotonic())) and is_answered:
            await asyncio.gather(*(site.close(max(0.5, deadline - time.monotonic())) for site in self._sites))
        else:
            logger.warning("not everything was answered within %g s", self._config.drain_timeout_s)

    async def stop(self) -> None:
        """Give up what is still under way, end the workers, close everything. Safe after a failed ``start``."""
        for listener in self._listeners:
            listener.close()
        for task in self._background:
            task.cancel()
        if self._background:
            await asyncio.wait(self._background)
        if self._snapshots is not None:
            await self._snapshots.finish()
            if self._has_loaded:  # else it would say that what is not there yet is not wanted
                await self._snapshots.write(SnapshotKind.SHUTDOWN)
        self._store.interrupt()
        self.workflows.interrupt()
        await self.registry.stop()  # which answers whatever is left
        await self.workflows.stop()
        await asyncio.gather(*(site.close(0.1) for site in self._sites))
        self._recorder.flush(time.time())
        logger.info("Torchserve stopped.")
        self._opened.close()

    # --- background --------------------------------------------------------------------------------------------------

    async def _load_models(self) -> None:
        config = self._config
        if self._restored is not None:
            await self.registry.restore(self._restored)
        else:
            models = list(config.startup_models)
            if config.load_all_models:
                models = [StartupModel(url=name) for name in self._store.list_all()]
            await self.registry.load_at_startup(models, self._overrides)
        if self.registry.is_stopping:
            return  # what was refused because of that is not to be forgotten: see stop
        self._has_loaded = True
        if self._snapshots is not None:
            await self._snapshots.write(SnapshotKind.STARTUP)
        # What has been made by now stays: the collector need not look at it again, nor look so often, since a request
        # leaves no cycles behind.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)

    async def _flush_metrics(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_S)
            self._recorder.flush(time.time())

    async def _sample_system(self) -> None:
        loop = asyncio.get_running_loop()
        sampler = SystemSampler()
        while True:
            for name, labels, value in await loop.run_in_executor(None, sampler.sample):
                self._recorder.series(name, *labels).record(value)
            for version in self.registry.versions():
                pids = [slot.process.pid for slot in version.supervisor.slots if slot.process is not None]
                version.memory_bytes = await loop.run_in_executor(None, _memory_of, pids)
            await asyncio.sleep(self._config.metrics_interval_s)


def run(
    loaded: LoadedConfig,
    *,
    model_overrides: Mapping[str, object],
    on_started: Callable[[BoundAddresses], None],
    on_reloaded: OnReloaded | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit status.

    Args:
        model_overrides: settings of every model loaded at start, as the command line gives them.
        on_started: called when every address is bound.
        on_reloaded: called when a model was reloaded because its files changed; None: they are not watched.

    Raises:
        OSError, ConfigError: the server cannot start.
    """
    keep_freed_memory()
    _allow_open_files(loaded.config.limits.max_connections + _OTHER_FILES)
    loop = _new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(_serve(loaded, model_overrides, on_started, on_reloaded))
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        asyncio.set_event_loop(None)
        loop.close()


async def _serve(
    loaded: LoadedConfig,
    model_overrides: Mapping[str, object],
    on_started: Callable[[BoundAddresses], None],
    on_reloaded: OnReloaded | None,
) -> int:
    signals: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    server = Server(loaded, model_overrides, on_reloaded)
    try:
        on_started(await server.start())
        logger.info("stopping on %s", signal.Signals(await signals.get()).name)
        draining = asyncio.ensure_future(server.drain())
        draining.add_done_callback(_log_failure)
        hurry = asyncio.ensure_future(signals.get())
        await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
        for waiting in (draining, hurry):
            waiting.cancel()
        await asyncio.wait((draining, hurry))
    finally:
        await server.stop()
    return 0


def _new_event_loop() -> asyncio.AbstractEventLoop:
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _allow_open_files(count: int) -> None:
    """Raise the limit that the shell or init set, as far as the system allows: a connection is an open file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.error("background work failed", exc_info=task.exception())


def _memory_of(pids: list[int]) -> dict[int, int]:
    return {pid: resident_bytes(pid) for pid in pids}


def _make_temp_dir(parent: Path | None) -> Path:
    """A directory of this process's own. Those of servers that were killed are deleted."""
    root = Path(parent or tempfile.gettempdir())
    for left in root.glob(f"{_TEMP_PREFIX}[0-9]*-*"):
        pid = left.name[len(_TEMP_PREFIX) :].partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_TEMP_PREFIX}{os.getpid()}-", dir=root))
