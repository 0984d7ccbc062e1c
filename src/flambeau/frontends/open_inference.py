"""What the Open Inference Protocol says of a server and its models, for HTTP and gRPC alike.

Values have the names and units of Triton's extensions of the protocol, as its clients read them. What they call the
repository is our model store.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath

import msgspec

from flambeau.api import Counted, Management, ModelDescription, ModelStatistics, Registration, Scaling
from flambeau.errors import BadRequest, ModelNotFound
from flambeau.request import ModelRef
from flambeau.signature import Signature, TensorSpec
from flambeau.version import __version__

EXTENSIONS = ("kserve", "kubeflow", "binary_tensor_data", "model_configuration", "model_repository", "statistics")

_ALL = 1 << 30
"""More models than a server has."""


class ServerMetadata(msgspec.Struct):
    name: str
    version: str
    extensions: Sequence[str]


class TensorMetadata(msgspec.Struct):
    name: str
    datatype: str
    shape: Sequence[int]


class ModelMetadata(msgspec.Struct):
    """A model without a signature has no inputs and no outputs here: nobody knows them."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class TensorConfig(msgspec.Struct, omit_defaults=True):
    name: str
    data_type: str
    dims: Sequence[int]
    optional: bool = False


class ModelConfig(msgspec.Struct):
    name: str
    platform: str
    backend: str
    max_batch_size: int
    """0: shapes are whole; their first dimension is not the server's."""
    input: list[TensorConfig]
    output: list[TensorConfig]


class Duration(msgspec.Struct):
    count: int = 0
    ns: int = 0

    @classmethod
    def of(cls, counted: Counted) -> Duration:
        return cls(counted.count, round(counted.seconds * 1e9))


class InferenceDurations(msgspec.Struct):
    success: Duration
    fail: Duration
    queue: Duration
    compute_infer: Duration
    compute_input: Duration = msgspec.field(default_factory=Duration)
    """Not measured apart from ``compute_infer``, as is ``compute_output``."""
    compute_output: Duration = msgspec.field(default_factory=Duration)
    cache_hit: Duration = msgspec.field(default_factory=Duration)
    cache_miss: Duration = msgspec.field(default_factory=Duration)


class BatchDurations(msgspec.Struct):
    batch_size: int
    compute_infer: Duration
    compute_input: Duration = msgspec.field(default_factory=Duration)
    compute_output: Duration = msgspec.field(default_factory=Duration)


class VersionStatistics(msgspec.Struct):
    name: str
    version: str
    last_inference: int
    """Milliseconds since 1970; 0: none yet."""
    inference_count: int
    """Requests that were answered."""
    execution_count: int
    """Batches."""
    inference_stats: InferenceDurations
    batch_stats: list[BatchDurations]


class IndexEntry(msgspec.Struct):
    """A version that is registered, or an archive that is not."""

    name: str
    version: str
    state: str
    """``READY``, ``LOADING`` or ``UNAVAILABLE``."""
    reason: str


class OpenInferenceModels:
    """The models of one server. Every method raises ModelNotFound and VersionNotFound for those that are not there."""

    def __init__(self, management: Management, *, model_api_enabled: bool) -> None:
        """
        Args:
            model_api_enabled: whether clients may load and unload models.
        """
        self._management = management
        self.model_api_enabled = model_api_enabled

    def is_ready(self, model: ModelRef) -> bool:
        """Whether it has the workers that it wants, and one at least."""
        return _is_ready(self._management.describe(model))

    def names(self) -> list[str]:
        """Of all that are registered, sorted."""
        return [model.model_name for model in self._management.list_models(_ALL, 0).models]

    def metadata(self, model: ModelRef) -> ModelMetadata:
        """Inputs and outputs of this version, and all versions that there are."""
        signature = _signature_of(self._management.describe(model))
        return ModelMetadata(
            name=model.name,
            versions=[version.model_version for version in self._management.describe_all(model.name)],
            platform="",
            inputs=[TensorMetadata(spec.name, spec.datatype, spec.shape) for spec in signature.inputs],
            outputs=[TensorMetadata(spec.name, spec.datatype, spec.shape) for spec in signature.outputs],
        )

    def config(self, model: ModelRef) -> ModelConfig:
        signature = _signature_of(self._management.describe(model))
        return ModelConfig(
            name=model.name,
            platform="",
            backend="python",
            max_batch_size=0,
            input=[_tensor_config(spec) for spec in signature.inputs],
            output=[_tensor_config(spec) for spec in signature.outputs],
        )

    def statistics(self, model: ModelRef | None) -> list[VersionStatistics]:
        """Of one version; without a version of all that the model has; None: of all models."""
        if model is None:
            return [entry for name in self.names() for entry in self.statistics(ModelRef(name))]
        if model.version is not None:
            return [_version_statistics(model, self._management.statistics(model))]
        refs = [ModelRef(model.name, found.model_version) for found in self._management.describe_all(model.name)]
        return [_version_statistics(ref, self._management.statistics(ref)) for ref in refs]

    # --- the repository --------------------------------------------------------------------------------------------

    async def index(self, *, only_ready: bool = False) -> list[IndexEntry]:
        """Everything that is registered, and the archives of the model store that could be."""
        entries: list[IndexEntry] = []
        sources: set[str] = set()
        for name in self.names():
            for found in self._management.describe_all(name):
                entries.append(_index_entry(found))
                sources.add(PurePath(found.model_url).name)
        entries += [
            IndexEntry(PurePath(archive).stem, "", "UNAVAILABLE", "unloaded")
            for archive in await self._management.archives()
            if archive not in sources
        ]
        return [entry for entry in entries if entry.state == "READY"] if only_ready else entries

    def check_parameters(self, parameters: Iterable[str]) -> None:
        """Those of a call that loads or unloads. Raises BadRequest: one cannot be met."""
        if not set(parameters) <= {"unload_dependents"}:
            raise BadRequest("A model is loaded as its archive says: parameters such as config are not supported.")

    async def load(self, model: str) -> None:
        """Have a model ready: one that is registered gets a worker, else the archive of its name is registered.

        Raises:
            ModelNotFound: the model store has no archive of this name.
            ServingError: it cannot be loaded; says why.
        """
        try:
            described = self._management.describe(ModelRef(model))
        except ModelNotFound:
            await self._management.register(
                Registration(url=await self._archive_of(model), model_name=model, initial_workers=1)
            )
        else:
            wanted = max(1, described.min_workers)
            await self._management.scale(
                ModelRef(model),
                Scaling(min_worker=wanted, max_worker=max(wanted, described.max_workers), synchronous=True),
            )

    async def unload(self, model: str) -> None:
        """Unregister every version; what they have accepted is answered first."""
        default = self._management.describe(ModelRef(model)).model_version
        versions = [found.model_version for found in self._management.describe_all(model)]
        for version in (*(version for version in versions if version != default), default):
            await self._management.unregister(ModelRef(model, version))

    async def _archive_of(self, model: str) -> str:
        if not model:
            raise BadRequest("Parameter model_name is required.")
        for archive in await self._management.archives():
            if model in (archive, PurePath(archive).stem):
                return archive
        raise ModelNotFound.named(model)


def server_metadata() -> ServerMetadata:
    return ServerMetadata("Torchserve", __version__, EXTENSIONS)


def _is_ready(described: ModelDescription) -> bool:
    ready = sum(worker.status == "READY" for worker in described.workers)
    return ready >= max(1, described.min_workers)


def _index_entry(described: ModelDescription) -> IndexEntry:
    name, version = described.model_name, described.model_version
    if _is_ready(described):
        return IndexEntry(name, version, "READY", "")
    failures = [worker.failure for worker in described.workers if worker.failure]
    if not described.workers or all(worker.state == "given up" for worker in described.workers):
        return IndexEntry(name, version, "UNAVAILABLE", failures[0] if failures else "no workers")
    return IndexEntry(name, version, "LOADING", failures[0] if failures else "")


def _signature_of(described: ModelDescription) -> Signature:
    return described.signature or Signature()


def _tensor_config(spec: TensorSpec) -> TensorConfig:
    kind = "STRING" if spec.datatype == "BYTES" else spec.datatype
    return TensorConfig(spec.name, f"TYPE_{kind}", spec.shape, spec.optional)


def _version_statistics(model: ModelRef, seen: ModelStatistics) -> VersionStatistics:
    return VersionStatistics(
        name=model.name,
        version=model.version or "",
        last_inference=round(seen.last_answer_at * 1e3),
        inference_count=seen.succeeded.count,
        execution_count=sum(batch.count for batch in seen.batches.values()),
        inference_stats=InferenceDurations(
            success=Duration.of(seen.succeeded),
            fail=Duration.of(seen.failed),
            queue=Duration.of(seen.queued),
            compute_infer=Duration.of(seen.handled),
        ),
        batch_stats=[BatchDurations(rows, Duration.of(batch)) for rows, batch in seen.batches.items()],
    )
