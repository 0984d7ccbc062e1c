"""A ``Management`` in memory: models are names and numbers, workers are ready as soon as they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from flambeau.api import (
    Counted,
    Done,
    JobQueueStatus,
    ListedModel,
    Management,
    ModelDescription,
    ModelPage,
    ModelStatistics,
    Registration,
    Scaling,
    WorkerDescription,
)
from flambeau.errors import AlreadyRegistered, BadRequest, DefaultVersionInUse, ModelNotFound, NoWorker, VersionNotFound
from flambeau.request import ModelRef


@dataclass
class _FakeModel:
    default: str
    versions: dict[str, ModelDescription] = field(default_factory=dict)


class FakeManagement(Management):
    """Keeps the rules that clients can see: names, versions, the default among them, conflicts."""

    def __init__(
        self, archives: Mapping[str, ModelRef], customized_metadata: Mapping[str, object] | None = None
    ) -> None:
        """Start without models.

        Args:
            archives: name and version in the manifest, by the URL that registers the archive.
            customized_metadata: what every handler says of itself.
        """
        self.registrations: list[Registration] = []
        self.scalings: list[tuple[ModelRef, Scaling]] = []
        self._archives = archives
        self._metadata = customized_metadata
        self._models: dict[str, _FakeModel] = {}

    def list_models(self, limit: int, offset: int) -> ModelPage:
        names = sorted(self._models)
        models = [
            ListedModel(name, self._models[name].versions[self._models[name].default].model_url)
            for name in names[offset : offset + limit]
        ]
        if offset + limit <= len(names):
            return ModelPage(models=models, next_page_token=str(offset + limit))
        return ModelPage(models=models)

    def describe(self, model: ModelRef) -> ModelDescription:
        found = self._find(model.name)
        version = found.default if model.version is None else model.version
        if version not in found.versions:
            raise VersionNotFound(model.name, version)
        return found.versions[version]

    def statistics(self, model: ModelRef) -> ModelStatistics:
        self.describe(model)
        return ModelStatistics(
            succeeded=Counted(3, 0.6),
            failed=Counted(1, 0.1),
            queued=Counted(4, 0.2),
            handled=Counted(4, 0.3),
            batches={1: Counted(2, 0.1), 2: Counted(1, 0.1)},
            last_answer_at=1_000_000_000.5,
        )

    async def archives(self) -> Sequence[str]:
        return sorted(self._archives)

    def describe_all(self, model: str) -> Sequence[ModelDescription]:
        return list(self._find(model).versions.values())

    async def customized_metadata(self, model: ModelRef) -> Mapping[str, object] | None:
        if not self.describe(model).workers:
            raise NoWorker(model.name, purpose="describe")
        return self._metadata

    async def register(self, registration: Registration) -> Done:
        self.registrations.append(registration)
        if registration.url not in self._archives:
            raise ModelNotFound(f"Model not found at: {registration.url}")
        archive = self._archives[registration.url]
        name, version = registration.model_name or archive.name, archive.version or "1.0"
        model = self._models.setdefault(name, _FakeModel(default=version))
        if version in model.versions:
            raise AlreadyRegistered(name, version)
        count = registration.initial_workers or 0
        model.versions[version] = _description(name, version, registration, count)
        if count and not registration.synchronous:
            return Done("Processing worker updates...", is_complete=False)
        message = f'Model "{name}" Version: {version} registered with {count} initial workers'
        advice = ". Use scale workers API to add workers for the model."
        return Done(message if count else message + advice)

    async def scale(self, model: ModelRef, scaling: Scaling) -> Done:
        self.scalings.append((model, scaling))
        description = self.describe(model)
        named_version = f", version: {model.version}" if model.version else ""
        changed = _changed(description, scaling)
        if changed != description and scaling.min_worker is None and scaling.max_worker is None:
            self._keep(changed)
            return Done(f"Settings changed for model: {model.name}{named_version}")
        low = 1 if scaling.min_worker is None else scaling.min_worker
        high = low if scaling.max_worker is None else scaling.max_worker
        if high < low:
            raise BadRequest("max_worker cannot be less than min_worker.")
        workers = _workers(min(max(len(changed.workers), low), high))
        self._keep(msgspec.structs.replace(changed, min_workers=low, max_workers=high, workers=workers))
        if not scaling.synchronous:
            return Done("Processing worker updates...", is_complete=False)
        return Done(f"Workers scaled to {low} for model: {model.name}{named_version}")

    async def unregister(self, model: ModelRef) -> Done:
        version = self.describe(model).model_version
        found = self._find(model.name)
        if version == found.default and len(found.versions) > 1:
            raise DefaultVersionInUse(model.name)
        del found.versions[version]
        if not found.versions:
            del self._models[model.name]
        return Done(f'Model "{model.name}" unregistered')

    def set_default(self, model: str, version: str) -> Done:
        if version not in self._find(model).versions:
            raise VersionNotFound.for_default(model, version)
        self._models[model] = replace(self._models[model], default=version)
        return Done(f'Default version successfully updated for model "{model}" to "{version}"')

    def is_ready(self, model: str) -> bool:
        return bool(self.describe(ModelRef(model)).workers)

    def _keep(self, description: ModelDescription) -> None:
        self._models[description.model_name].versions[description.model_version] = description

    def _find(self, name: str) -> _FakeModel:
        if name not in self._models:
            raise ModelNotFound.named(name)
        return self._models[name]


def _description(name: str, version: str, registration: Registration, workers: int) -> ModelDescription:
    delay_s = 0.1 if registration.max_batch_delay_s is None else registration.max_batch_delay_s
    return ModelDescription(
        model_name=name,
        model_version=version,
        model_url=registration.url,
        runtime=registration.runtime or "python",
        min_workers=workers,
        max_workers=workers,
        batch_size=registration.batch_size or 1,
        max_batch_delay=round(delay_s * 1000),
        response_timeout=round(registration.response_timeout_s or 120),
        startup_timeout=round(registration.startup_timeout_s or 120),
        max_retry_timeout_in_sec=300,
        client_timeout_in_mills=0,
        parallel_type="",
        parallel_level=0,
        device_type="cpu",
        continuous_batching=False,
        use_job_ticket=False,
        use_venv=False,
        stateful=False,
        sequence_max_idle_m_sec=0,
        sequence_timeout_m_sec=0,
        max_num_sequence=1,
        max_sequence_job_queue_size=1,
        loaded_at_startup=False,
        workers=_workers(workers),
        job_queue_status=JobQueueStatus(100, 0),
        batch_policy="adaptive",
        batching={},
    )


def _changed(description: ModelDescription, scaling: Scaling) -> ModelDescription:
    changes: dict[str, int] = {}
    if scaling.batch_size is not None:
        changes["batch_size"] = scaling.batch_size
    if scaling.max_batch_delay_s is not None:
        changes["max_batch_delay"] = round(scaling.max_batch_delay_s * 1000)
    if scaling.response_timeout_s is not None:
        changes["response_timeout"] = round(scaling.response_timeout_s)
    return msgspec.structs.replace(description, **changes)


def _workers(count: int) -> list[WorkerDescription]:
    return [
        WorkerDescription(
            id=str(9000 + index),
            start_time="2026-01-01T00:00:00.000Z",
            status="READY",
            memory_usage=0,
            pid=1000 + index,
            gpu=False,
            gpu_usage="N/A",
            state="ready",
            cores=[],
            threads=1,
            restarts=0,
        )
        for index in range(count)
    ]
