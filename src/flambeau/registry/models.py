"""All models of a server: registered, found, scaled, described, unregistered.

Changes to what there is happen between two awaits, on the event loop, so that two calls cannot both register the same
version; what takes long (downloading, unpacking, waiting for workers) happens outside of that.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol

from flambeau.api import (
    Done,
    ListedModel,
    ModelDescription,
    ModelPage,
    ModelStatistics,
    Registration,
    Scaling,
    ServedModel,
    infer,
)
from flambeau.archive.manifest import RUNTIMES
from flambeau.archive.reader import UnpackedModel, open_archive
from flambeau.archive.store import ModelStore, is_remote
from flambeau.config.model import ModelConfig
from flambeau.config.model_sources import apply_scaling, model_config
from flambeau.config.server import ServerConfig, StartupModel
from flambeau.errors import (
    AlreadyRegistered,
    BadRequest,
    CleanupTimedOut,
    DefaultVersionInUse,
    FlambeauError,
    InvalidModel,
    ModelNotFound,
    NodeInUse,
    NoWorker,
    ShuttingDown,
    VersionNotFound,
)
from flambeau.registry.host import Host
from flambeau.registry.launching import max_frame_bytes
from flambeau.registry.snapshot import SnapshotModel, SnapshotModels, parse_model_snapshot
from flambeau.registry.version import ModelVersion
from flambeau.request import DESCRIBE, InferenceRequest, ModelRef, Purpose
from flambeau.wire.messages import BatchReply
from flambeau.workers.placement import default_workers

logger = logging.getLogger(__name__)


class Observer(Protocol):
    """Who is told of what happens to models and workers."""

    def batch_done(self, reply: BatchReply, seconds: float) -> None:
        """A batch came back, so long after the worker could begin with it."""
        ...

    def worker_line(self, version: ModelVersion, worker_id: int, line: str, is_error: bool) -> None: ...

    def worker_loaded(self, version: ModelVersion, worker_id: int, seconds: float) -> None: ...

    def models_changed(self) -> None:
        """Something that a snapshot holds is different."""
        ...


@dataclass(slots=True)
class _Model:
    """The versions of one name, in order of registration."""

    default: str
    versions: dict[str, ModelVersion] = field(default_factory=dict)

    def replace(self, old: str, new: str, version: ModelVersion) -> None:
        """Put a version in the place of another, whose number it may not have."""
        self.versions = {
            (new if number == old else number): (version if number == old else held)
            for number, held in self.versions.items()
        }
        if self.default == old:
            self.default = new


class _Opening(NamedTuple):
    """How a version came to be: what it takes to open its files again."""

    registration: Registration
    at_startup: bool
    workers: int
    """At start-up, for a model that does not say how many it wants."""


class Registry:
    """Implements ``api.Inference`` and ``api.Management``."""

    def __init__(self, config: ServerConfig, store: ModelStore, observer: Observer) -> None:
        self._config = config
        self._store = store
        self._observer = observer
        self._models: dict[str, _Model] = {}
        self.generation = 0
        self._host = Host(config)
        self._openings: dict[ModelVersion, _Opening] = {}
        """Of all that are listed."""
        self._registrations: set[asyncio.Task[Done]] = set()
        self._removals: dict[asyncio.Task[bool], ModelVersion] = {}
        """Versions that are not listed any more and finish what they have accepted."""
        self._is_stopping = False

    # --- api.Inference -----------------------------------------------------------------------------------------------

    def resolve(self, model: ModelRef) -> ServedModel:
        return _Entrance(self._version(model))

    def sole_model(self) -> str | None:
        loaded = [
            name
            for name, model in self._models.items()
            if any(version.loaded_at_startup for version in model.versions.values())
        ]
        return loaded[0] if len(loaded) == 1 else None

    def is_healthy(self) -> bool:
        return all(model.versions[model.default].is_healthy() for model in self._models.values())

    @property
    def is_stopping(self) -> bool:
        """Whether it refuses everything new."""
        return self._is_stopping

    # --- api.Management: views ---------------------------------------------------------------------------------------

    def list_models(self, limit: int, offset: int) -> ModelPage:
        names = sorted(name for name in self._models if not self._default(name).is_function)
        shown = names[offset : offset + limit]
        page = ModelPage(models=[ListedModel(name, self._default(name).url) for name in shown])
        if offset + limit <= len(names):
            page.next_page_token = str(offset + limit)
        return page

    def describe(self, model: ModelRef) -> ModelDescription:
        return self._version(model).describe()

    def statistics(self, model: ModelRef) -> ModelStatistics:
        return self._version(model).dispatcher.statistics()

    async def archives(self) -> Sequence[str]:
        if self._store.root is None:
            return []
        return await asyncio.get_running_loop().run_in_executor(None, self._store.list_all)

    def describe_all(self, model: str) -> Sequence[ModelDescription]:
        return [version.describe() for version in self._model(model).versions.values()]

    async def customized_metadata(self, model: ModelRef) -> Mapping[str, object] | None:
        version = self._version(model)
        if not version.supervisor.slots:
            raise NoWorker(model.name, purpose="describe")
        request = InferenceRequest("describe", [DESCRIBE], [("body", "", b"")], Purpose.DESCRIBE)
        reply = await infer(_Entrance(version), request)
        text = bytes(reply.body) if not isinstance(reply.body, int) else b""
        if not text:
            return None
        try:
            described = json.loads(text)
        except ValueError:
            return {}
        return described if isinstance(described, dict) else {}

    def is_ready(self, model: str) -> bool:
        return bool(self._default(model).supervisor.slots)

    def versions(self) -> list[ModelVersion]:
        """All that are served."""
        return [version for model in self._models.values() for version in model.versions.values()]

    # --- api.Management: changes -------------------------------------------------------------------------------------

    async def register(self, registration: Registration) -> Done:
        """Goes on by itself if the caller is cancelled: a client for which it takes too long finds its model later, or
        nothing that is in the way of another attempt."""
        _check_supported(registration)
        call = asyncio.ensure_future(self._register(registration))
        self._registrations.add(call)
        call.add_done_callback(self._registrations.discard)
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            call.add_done_callback(lambda done: _log_unheard(registration.url, done))
            raise

    async def _register(self, registration: Registration) -> Done:
        version = await self._add(registration, at_startup=False)
        name, number = version.ref
        try:
            self._start(version, version.config.min_workers, version.config.max_workers)
            if registration.synchronous:
                await version.supervisor.wait_ready()
        except BaseException:
            # A version that never worked does not stay: the client may fix it and register again.
            if self._is_listed(version):
                await self._remove(version)
            raise
        self._observer.models_changed()
        if not version.config.min_workers:
            return Done(
                f'Model "{name}" Version: {number} registered with 0 initial workers. '
                "Use scale workers API to add workers for the model."
            )
        if not registration.synchronous:
            return Done("Processing worker updates...", is_complete=False)
        workers = version.config.min_workers
        return Done(f'Model "{name}" Version: {number} registered with {workers} initial workers')

    async def scale(self, model: ModelRef, scaling: Scaling) -> Done:
        version = self._version(model)
        live = (scaling.batch_size, scaling.max_batch_delay_s, scaling.response_timeout_s)
        changes_settings = any(value is not None for value in live)
        changes_workers = scaling.min_worker is not None or scaling.max_worker is not None or not changes_settings
        minimum = 1 if scaling.min_worker is None else scaling.min_worker
        maximum = minimum if scaling.max_worker is None else scaling.max_worker
        if minimum < 0:
            raise BadRequest("min_worker cannot be negative.")
        if maximum < minimum:
            raise BadRequest("max_worker cannot be less than min_worker.")
        if changes_settings:
            config = apply_scaling(
                version.config,
                batch_size=scaling.batch_size,
                max_batch_delay_s=scaling.max_batch_delay_s,
                response_timeout_s=scaling.response_timeout_s,
            )
            version.reconfigure(config)
        if changes_workers:
            version.config = replace(version.config, min_workers=minimum, max_workers=maximum)
            self._start(version, minimum, maximum)
        self._observer.models_changed()
        if not changes_workers:
            return Done(f"Settings changed for model: {model.name}" + _named_version(model))
        if not scaling.synchronous:
            return Done("Processing worker updates...", is_complete=False)
        await version.supervisor.wait_ready()
        return Done(f"Workers scaled to {minimum} for model: {model.name}" + _named_version(model))

    async def unregister(self, model: ModelRef) -> Done:
        version = self._version(model)
        if version.node_of is not None:
            raise NodeInUse(model.name, version.node_of.workflow)
        held = self._model(model.name)
        if version.ref.version == held.default and len(held.versions) > 1:
            raise DefaultVersionInUse(model.name)
        if not await self._remove(version):
            raise CleanupTimedOut(model.name)
        return Done(f'Model "{model.name}" unregistered')

    async def unregister_node(self, model: str) -> None:
        """Unregister a node of a workflow in all its versions; does nothing where there are none."""
        held = self._models.get(model)
        if held is not None:
            await asyncio.gather(*(self._remove(version) for version in list(held.versions.values())))

    def set_default(self, model: str, version: str) -> Done:
        held = self._model(model)
        if version not in held.versions:
            raise VersionNotFound.for_default(model, version)
        held.default = version
        self.generation += 1
        self._observer.models_changed()
        return Done(f'Default version successfully updated for model "{model}" to "{version}"')

    async def reload(self, model: ModelRef) -> ModelRef:
        """Serve what a model's files are now, with the settings that they have now, instead of what they were.

        Its workers are ready before those of the version that it replaces stop, which answer what they have accepted.

        Returns:
            What is served instead: the files may have another version number by now.

        Raises:
            ModelNotFound, VersionNotFound: it is not served, or its files are gone.
            InvalidModel, StartFailed, AlreadyRegistered: it cannot be served. What was served still is.
        """
        old = self._version(model)
        opening = self._openings[old]
        new = await self._open(opening, self._store.resolve(opening.registration.url), self._configure)
        try:
            if new.ref.name != old.ref.name:
                raise InvalidModel(f"Model {old.ref.name} is called {new.ref.name} now: restart the server.")
            new.want(new.config.min_workers, new.config.max_workers)
            self._host.place([*self.versions(), new])
            new.supervisor.start()
            await new.supervisor.wait_ready()
            if self._is_stopping or not self._is_listed(old):
                raise ShuttingDown
            if new.ref != old.ref:
                self._check_unregistered(new.ref.name, new.ref.version or "")
        except BaseException:
            await new.stop(0.0)
            self._host.place(self.versions())
            raise
        self._model(old.ref.name).replace(old.ref.version or "", new.ref.version or "", new)
        del self._openings[old]
        self._openings[new] = opening
        self.generation += 1
        self._observer.models_changed()
        self._begin_retirement(old)
        return new.ref

    # --- start and stop of the server ---------------------------------------------------------------------------------

    async def load_at_startup(self, models: Sequence[StartupModel], overrides: Mapping[str, object]) -> None:
        """Load what the server was told to. One that fails is logged and does not keep the others from loading.

        Args:
            overrides: ``batch_size``, ``max_batch_delay_s``, ``initial_workers``: the command line's wishes.
        """
        workers = self._config.default_workers_per_model or self._host.gpu_count
        if not workers:
            workers = default_workers(max(1, len(models)), self._host.usable_cores, None)
        for model in models:
            registration = Registration(url=model.url, model_name=model.name, **overrides)  # type: ignore[arg-type]
            try:
                version = await self._add(registration, at_startup=True, workers=workers)
                self._start(version, version.config.min_workers, version.config.max_workers)
            except (FlambeauError, OSError) as error:
                logger.error("Failed to load model: %s: %s", model.url, error)

    def read_snapshot(self, snapshot: Mapping[str, object]) -> SnapshotModels:
        """What :meth:`restore` needs.

        Raises:
            ConfigError: the snapshot is malformed.
            InvalidModel: an archive that it names is gone.
        """
        models = parse_model_snapshot(snapshot)
        for name, versions in models.items():
            for number, saved in versions.items():
                try:
                    self._store.resolve(saved.mar_name)
                except ModelNotFound:
                    raise InvalidModel(
                        f"Model archive file for model :{name}, version :{number} not found in model store"
                    ) from None
        return models

    async def restore(self, models: SnapshotModels) -> None:
        """Load the models of a snapshot. One that fails is logged and does not keep the others from loading."""
        for name, versions in models.items():
            for saved in versions.values():
                try:
                    await self._restore(name, saved)
                except (FlambeauError, OSError) as error:
                    logger.error("Failed to restore model: %s: %s", saved.mar_name, error)

    async def _restore(self, name: str, saved: SnapshotModel) -> None:
        registration = Registration(url=saved.mar_name, model_name=name, runtime=saved.runtime_type)
        version = await self._add(registration, at_startup=True)
        version.reconfigure(_restored_config(version.config, saved))
        self._start(version, version.config.min_workers, version.config.max_workers)
        if saved.default_version:
            self._model(name).default = version.ref.version or ""
            self.generation += 1

    def snapshot(self) -> dict[str, dict[str, SnapshotModel]]:
        """What a restart needs to come back to this; as with TorchServe, nothing of workflows."""
        return {
            name: {number: _saved(version, number == model.default) for number, version in model.versions.items()}
            for name, model in self._models.items()
            if all(version.node_of is None for version in model.versions.values())
        }

    async def drain(self, timeout_s: float) -> bool:
        """Accept no more requests and wait for those that are in. Returns whether all were answered, in time."""
        self._is_stopping = True
        versions = (*self.versions(), *self._removals.values())
        return all(await asyncio.gather(*(version.drain(timeout_s) for version in versions)))

    async def stop(self) -> None:
        """Give up what is still under way, end all workers and forget all models."""
        self._is_stopping = True
        versions = (*self.versions(), *self._removals.values())
        for removal in self._removals:
            removal.cancel()
        await asyncio.gather(*(version.stop(0.0) for version in versions))
        if self._registrations:
            await asyncio.wait(self._registrations)  # each fails by now, and tidies up
        self._models.clear()
        self._openings.clear()
        self.generation += 1

    # --- inside -------------------------------------------------------------------------------------------------------

    def _model(self, name: str) -> _Model:
        model = self._models.get(name)
        if model is None:
            raise ModelNotFound.named(name)
        return model

    def _default(self, name: str) -> ModelVersion:
        model = self._model(name)
        return model.versions[model.default]

    def _version(self, ref: ModelRef) -> ModelVersion:
        model = self._model(ref.name)
        version = model.versions.get(model.default if ref.version is None else ref.version)
        if version is None:
            raise VersionNotFound(ref.name, ref.version)
        return version

    async def _add(self, registration: Registration, *, at_startup: bool, workers: int = 0) -> ModelVersion:
        """Fetch, unpack, configure; no worker yet."""
        loop = asyncio.get_running_loop()
        url = registration.url
        downloaded: Path | None = None
        if is_remote(url):
            source = downloaded = await loop.run_in_executor(None, self._store.fetch, url)
        else:
            source = self._store.resolve(url)
        try:
            return await self._open(_Opening(registration, at_startup, workers), source, self._admit)
        except BaseException:
            if downloaded is not None:
                self._store.remove_downloaded(downloaded)
            raise

    async def _open(
        self, opening: _Opening, source: Path, make: Callable[[_Opening, UnpackedModel], ModelVersion]
    ) -> ModelVersion:
        loop = asyncio.get_running_loop()
        registration = opening.registration
        unpacked = await loop.run_in_executor(
            None,
            lambda: open_archive(
                source,
                self._store.unpack_root,
                model_name=registration.model_name,
                runtime=registration.runtime,
            ),
        )
        try:
            return make(opening, unpacked)
        except BaseException:
            await loop.run_in_executor(None, unpacked.remove)
            raise

    def _admit(self, opening: _Opening, unpacked: UnpackedModel) -> ModelVersion:
        """Make a version of an unpacked model and list it. No await: two calls cannot admit the same version."""
        if self._is_stopping:
            raise ShuttingDown
        name, number = unpacked.manifest.model_name, unpacked.manifest.model_version
        self._check_unregistered(name, number)
        version = self._configure(opening, unpacked)
        model = self._models.get(name)
        if model is None:
            model = self._models[name] = _Model(number)
        model.versions[number] = version
        self._openings[version] = opening
        self.generation += 1
        logger.info("Model %s loaded.", name)
        return version

    def _check_unregistered(self, name: str, number: str) -> None:
        model = self._models.get(name)
        if model is not None and number in model.versions:
            raise AlreadyRegistered(name, number)

    def _configure(self, opening: _Opening, unpacked: UnpackedModel) -> ModelVersion:
        """A version of an unpacked model, with its settings decided."""
        registration, at_startup, workers = opening
        manifest = unpacked.manifest
        name, number = manifest.model_name, manifest.model_version
        handler = registration.handler or manifest.handler or self._config.default_service_handler
        if not handler:
            raise InvalidModel(f"Model {name} names no handler, and default_service_handler is not set.")
        loaded = model_config(
            server=self._config,
            name=name,
            version=number,
            default_workers=workers,
            at_startup=at_startup,
            batch_size=registration.batch_size,
            max_batch_delay_s=registration.max_batch_delay_s,
            response_timeout_s=registration.response_timeout_s,
            startup_timeout_s=registration.startup_timeout_s,
            initial_workers=registration.initial_workers,
            yaml_text=unpacked.config_text(),
            yaml_name=manifest.config_file or "",
        )
        for warning in loaded.warnings:
            logger.warning("model %s %s: %s", name, number, warning)
        config, node_of = loaded.config, registration.node_of
        if node_of is not None:
            config = replace(config, min_workers=node_of.workers, max_workers=node_of.workers)
        return ModelVersion(
            ModelRef(name, number),
            registration.url if node_of is None or not node_of.is_function else "",
            unpacked,
            handler,
            config,
            node_of=node_of,
            loaded_at_startup=at_startup,
            on_gpu=self._host.gpu_count > 0 and loaded.config.placement.device_type != "cpu",
            launch=self._host.launch,
            max_frame_bytes=lambda config: max_frame_bytes(config, self._config),
            new_worker_id=self._host.new_worker_id,
            on_batch=self._observer.batch_done,
            on_line=self._observer.worker_line,
            on_loaded=self._observer.worker_loaded,
        )

    def _start(self, version: ModelVersion, minimum: int, maximum: int) -> None:
        """Have so many workers wanted, placed and started."""
        version.want(minimum, maximum)
        self._host.place(self.versions())
        version.supervisor.start()

    async def _remove(self, version: ModelVersion) -> bool:
        """Take a version out at once, let it finish what it has accepted, and end its workers.

        Goes on by itself if the caller is cancelled: a client that leaves must not leave workers behind.

        Returns:
            Whether all was answered, and ended, within ``unregister_model_timeout``.
        """
        self._unlist(version)
        return await asyncio.shield(self._begin_retirement(version))

    def _begin_retirement(self, version: ModelVersion) -> asyncio.Task[bool]:
        retirement = asyncio.ensure_future(self._retire(version))
        self._removals[retirement] = version
        retirement.add_done_callback(self._removals.pop)
        return retirement

    def _is_listed(self, version: ModelVersion) -> bool:
        name, number = version.ref
        model = self._models.get(name)
        return model is not None and model.versions.get(number or "") is version

    def _unlist(self, version: ModelVersion) -> None:
        name, number = version.ref
        model = self._models[name]
        del model.versions[number or ""]
        del self._openings[version]
        if not model.versions:
            del self._models[name]
        elif model.default == number:
            model.default = next(iter(model.versions))
        self.generation += 1
        if not self._is_stopping:  # else it is the server that goes, and the model comes back with it
            self._observer.models_changed()

    async def _retire(self, version: ModelVersion) -> bool:
        in_time = await version.retire(self._config.unregister_model_timeout_s)
        self._host.place(self.versions())
        if is_remote(version.url):
            self._store.remove_downloaded(version.model.source)
        return in_time


class _Entrance:
    """``api.ServedModel``: what a frontend holds of a version."""

    __slots__ = ("ref", "submit", "takes_tensors")

    def __init__(self, version: ModelVersion) -> None:
        self.ref = version.ref
        self.submit = version.dispatcher.submit
        self.takes_tensors = version.config.signature is not None


def _log_unheard(url: str, registration: asyncio.Task[Done]) -> None:
    """What a client that has left is not told any more."""
    error = registration.exception()
    if error is not None:
        logger.error("Failed to register model: %s: %s", url, error)


def _check_supported(registration: Registration) -> None:
    """Refuse what cannot be done before anything is fetched for it."""
    if registration.runtime is not None and registration.runtime not in RUNTIMES:
        raise BadRequest(f"Invalid RuntimeType value: {registration.runtime}")
    if registration.s3_sse_kms:
        raise BadRequest("Parameter s3_sse_kms is not supported: give a URL that is signed already.")


def _named_version(model: ModelRef) -> str:
    return "" if model.version is None else f", version: {model.version}"


def _saved(version: ModelVersion, is_default: bool) -> SnapshotModel:
    config: ModelConfig = version.config
    return SnapshotModel(
        default_version=is_default,
        mar_name=version.model.source.name if is_remote(version.url) else version.url,
        min_workers=version.min_workers,
        max_workers=version.max_workers,
        batch_size=config.batching.batch_size,
        max_batch_delay=round(config.batching.max_batch_delay_s * 1e3),
        response_timeout=max(1, round(config.response_timeout_s)),
        startup_timeout=max(1, round(config.startup_timeout_s)),
        runtime_type=version.model.manifest.runtime,
        parallel_level=config.parallel_level,
    )


def _restored_config(config: ModelConfig, saved: SnapshotModel) -> ModelConfig:
    """A version's configuration with what :func:`_saved` wrote down of it, which may have been set while it ran."""
    return replace(
        config,
        batching=replace(config.batching, batch_size=saved.batch_size, max_batch_delay_s=saved.max_batch_delay / 1e3),
        min_workers=saved.min_workers,
        max_workers=saved.max_workers,
        response_timeout_s=float(saved.response_timeout),
        startup_timeout_s=float(saved.startup_timeout),
    )
