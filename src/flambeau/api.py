"""The two protocols that frontends call, and the values that cross them.

HTTP and gRPC are translators in front of these; nothing about a model is decided in a frontend.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from flambeau.errors import ServingError
from flambeau.request import InferenceReply, InferenceRequest, ModelRef
from flambeau.signature import Signature


class Caller(Protocol):
    """Whoever waits for one answer."""

    def answer(self, outcome: InferenceReply | ServingError) -> None:
        """Take the outcome. Called once, on the event loop, never from within ``submit``; must not raise."""
        ...


class Ticket(Protocol):
    """A request that a queue has accepted."""

    arrived_at: float
    """Monotonic seconds."""
    cut_at: float
    """When it was put into a batch; equal to ``arrived_at`` until then."""

    def abandon(self) -> None:
        """The caller has left: no answer is wanted. A job still in the queue will cost no worker anything."""
        ...


class ServedModel(Protocol):
    """One version of a model that takes requests. Stays valid for as long as ``Inference.generation`` is the same."""

    @property
    def ref(self) -> ModelRef:
        """Name and the version it resolved to; the version is never None."""
        ...

    @property
    def takes_tensors(self) -> bool:
        """Whether its handler takes and gives arrays: it has a signature."""
        ...

    def submit(self, request: InferenceRequest, caller: Caller, arrived_at: float) -> Ticket:
        """Queue one request.

        Args:
            arrived_at: monotonic seconds at which the request's last byte came.

        Raises:
            NoWorker, QueueFull, ShuttingDown: it was not accepted; ``caller`` will not be answered.
        """
        ...


class Inference(Protocol):
    """Finds models for requests."""

    generation: int
    """Changes whenever a resolved model may no longer be the right one."""

    def resolve(self, model: ModelRef) -> ServedModel:
        """The version to serve: the one named, else the default.

        Raises:
            ModelNotFound, VersionNotFound
        """
        ...

    def sole_model(self) -> str | None:
        """The name of the only model loaded at start-up, for ``/invocations``; None if there is not exactly one."""
        ...

    def is_healthy(self) -> bool:
        """Whether every model's default version has the workers it wants, or may still get them (``/ping``)."""
        ...


class FutureCaller:
    """A caller that awaits: for the routes where speed does not matter."""

    def __init__(self) -> None:
        self.future: asyncio.Future[InferenceReply] = asyncio.get_running_loop().create_future()

    def answer(self, outcome: InferenceReply | ServingError) -> None:
        if self.future.done():
            return
        if isinstance(outcome, ServingError):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


async def infer(model: ServedModel, request: InferenceRequest) -> InferenceReply:
    """Submit one request and wait for its answer; a caller that is cancelled leaves the queue.

    Raises:
        ServingError: whatever became of the request.
    """
    caller = FutureCaller()
    ticket = model.submit(request, caller, time.monotonic())
    try:
        return await caller.future
    except asyncio.CancelledError:
        ticket.abandon()
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeMembership:
    """That a model is a node of a workflow: it comes and goes with that, and no snapshot holds it."""

    workflow: str
    is_function: bool
    """Whether it is a function of the workflow's handler: the list of models leaves it out."""
    workers: int
    """To start, whatever the archive's own configuration says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What a client asks of ``POST /models``. None means: not given."""

    url: str
    model_name: str | None = None
    runtime: str | None = None
    handler: str | None = None
    batch_size: int | None = None
    max_batch_delay_s: float | None = None
    initial_workers: int | None = None
    synchronous: bool = True
    response_timeout_s: float | None = None
    startup_timeout_s: float | None = None
    s3_sse_kms: bool = False
    node_of: NodeMembership | None = None
    """No client says this: the registration is part of a workflow's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """What a client asks of ``PUT /models/{m}``. None means: not given, leave it as it is.

    ``min_worker`` None leaves the workers alone where one of the live settings is given, and is 1 where none is.
    """

    min_worker: int | None = None
    max_worker: int | None = None
    synchronous: bool = False
    batch_size: int | None = None
    max_batch_delay_s: float | None = None
    response_timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a management call: the sentence for the client, and whether it is all done or still under way."""

    message: str
    is_complete: bool = True


class WorkerDescription(msgspec.Struct, kw_only=True, rename="camel"):
    """One worker in the describe API. The keys up to ``gpuUsage`` are TorchServe's."""

    id: str
    start_time: str
    status: str
    """``READY`` or ``UNLOADING`` (anything but ready), as in TorchServe."""
    memory_usage: int
    """Resident bytes."""
    pid: int
    gpu: bool
    gpu_usage: str
    state: str
    """Ours: ``starting``, ``loading``, ``ready``, ``backing off``, ``stopping``, ``given up``."""
    cores: list[int]
    """Ours: the cores that the worker is pinned to; empty where it is not pinned."""
    threads: int
    """Ours: intra-op threads."""
    restarts: int
    failure: str | msgspec.UnsetType = msgspec.UNSET
    """Ours: why the last attempt ended: exit signal, last traceback line, out of memory."""


class JobQueueStatus(msgspec.Struct, rename="camel"):
    remaining_capacity: int
    pending_requests: int


class ModelDescription(msgspec.Struct, kw_only=True, rename="camel"):
    """One version of a model in the describe API, keys in TorchServe's order; ours follow."""

    model_name: str
    model_version: str
    model_url: str
    runtime: str
    min_workers: int
    max_workers: int
    batch_size: int
    max_batch_delay: int
    """Milliseconds."""
    response_timeout: int
    startup_timeout: int
    max_retry_timeout_in_sec: int
    client_timeout_in_mills: int
    parallel_type: str
    parallel_level: int
    device_type: str
    device_ids: list[int] | msgspec.UnsetType = msgspec.UNSET
    continuous_batching: bool
    use_job_ticket: bool
    use_venv: bool
    stateful: bool
    sequence_max_idle_m_sec: int = msgspec.field(name="sequenceMaxIdleMSec")
    sequence_timeout_m_sec: int = msgspec.field(name="sequenceTimeoutMSec")
    max_num_sequence: int
    max_sequence_job_queue_size: int
    loaded_at_startup: bool
    workers: list[WorkerDescription]
    job_queue_status: JobQueueStatus
    batch_policy: str
    batching: dict[str, object]
    """Ours: what the batcher has seen: batches, rows, mean batch size, mean batch time."""
    signature: Signature | msgspec.UnsetType = msgspec.UNSET
    """Ours: the tensors that the handler takes and gives, where the model says so."""
    customized_metadata: dict[str, object] | msgspec.UnsetType = msgspec.UNSET


class Counted(msgspec.Struct):
    """How often something has happened, and how long it took in all."""

    count: int = 0
    seconds: float = 0.0


class ModelStatistics(msgspec.Struct, kw_only=True):
    """What one version has answered since it was registered. Seconds are summed over requests."""

    succeeded: Counted
    """From arrival to answer."""
    failed: Counted
    queued: Counted
    """From arrival until a worker took them."""
    handled: Counted
    """In the handler: each request of a batch counts the whole of it."""
    batches: dict[int, Counted]
    """By their size: seconds in the handler."""
    last_answer_at: float = 0.0
    """Seconds since 1970; 0: none yet."""


class ListedModel(msgspec.Struct, rename="camel"):
    model_name: str
    model_url: str


class ModelPage(msgspec.Struct, kw_only=True, rename="camel"):
    next_page_token: str | msgspec.UnsetType = msgspec.UNSET
    models: list[ListedModel]


class Management(Protocol):
    """Everything that the management port can do."""

    def list_models(self, limit: int, offset: int) -> ModelPage: ...

    def describe(self, model: ModelRef) -> ModelDescription:
        """Raises ModelNotFound, VersionNotFound."""
        ...

    def statistics(self, model: ModelRef) -> ModelStatistics:
        """Raises ModelNotFound, VersionNotFound."""
        ...

    async def archives(self) -> Sequence[str]:
        """Names of archives and folders in the model store, sorted; none where there is no store."""
        ...

    def describe_all(self, model: str) -> Sequence[ModelDescription]:
        """Every version, in order of registration. Raises ModelNotFound."""
        ...

    async def customized_metadata(self, model: ModelRef) -> Mapping[str, object] | None:
        """What the handler says of itself; None if it says nothing. Raises NoWorker and what ``infer`` raises."""
        ...

    async def register(self, registration: Registration) -> Done: ...

    async def scale(self, model: ModelRef, scaling: Scaling) -> Done: ...

    async def unregister(self, model: ModelRef) -> Done: ...

    def set_default(self, model: str, version: str) -> Done: ...

    def is_ready(self, model: str) -> bool:
        """KServe's readiness: at least one worker exists. Raises ModelNotFound."""
        ...


class ServedWorkflow(Protocol):
    """A workflow that takes requests. Stays valid for as long as ``WorkflowInference.generation`` is the same."""

    name: str

    def submit(self, request: InferenceRequest, caller: Caller, arrived_at: float) -> Ticket:
        """Begin with the first node; see ``ServedModel.submit``.

        Raises:
            NodeFailed, ShuttingDown: it was not accepted; ``caller`` will not be answered.
        """
        ...


class WorkflowInference(Protocol):
    """Finds workflows for requests."""

    generation: int
    """Changes whenever a resolved workflow may no longer be the right one."""

    def resolve(self, workflow: str) -> ServedWorkflow:
        """Raises WorkflowNotFound."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRegistration:
    """What a client asks of ``POST /workflows``. None means: not given."""

    url: str
    workflow_name: str | None = None
    response_timeout_s: float | None = None
    """Of every node, as for models."""
    startup_timeout_s: float | None = None
    synchronous: bool = True
    s3_sse_kms: bool = False


class WorkflowDescription(msgspec.Struct, kw_only=True, rename="camel"):
    """A workflow in the describe API, keys in TorchServe's order; ours follow."""

    workflow_name: str
    workflow_url: str
    min_workers: int
    max_workers: int
    batch_size: int
    max_batch_delay: int
    """Milliseconds."""
    workflow_dag: str
    """``{pre=[a, b], a=[post], b=[post]}``."""
    nodes: dict[str, str]
    """Ours: the model that each node is served as, for the describe API of models."""
    running: int
    """Ours: requests that are on their way through the nodes."""


class ListedWorkflow(msgspec.Struct, rename="camel"):
    workflow_name: str
    workflow_url: str


class WorkflowPage(msgspec.Struct, kw_only=True, rename="camel"):
    next_page_token: str | msgspec.UnsetType = msgspec.UNSET
    workflows: list[ListedWorkflow]


class WorkflowManagement(Protocol):
    """Everything that the management port can do with workflows."""

    def list_workflows(self, limit: int, offset: int) -> WorkflowPage: ...

    def describe(self, workflow: str) -> WorkflowDescription:
        """Raises WorkflowNotFound."""
        ...

    async def register(self, registration: WorkflowRegistration) -> Done:
        """Serve a workflow once all its nodes are ready, or nothing of it.

        Not ``synchronous``: the call ends when the archive has been found to be sound; what comes after is in the log.

        Raises:
            WorkflowNotFound, InvalidWorkflow, InvalidGraph, WorkflowExists, DownloadFailed: it cannot be served.
            WorkflowNotRegistered: a node did not become ready.
        """
        ...

    async def unregister(self, workflow: str) -> Done:
        """Take no more requests, answer those that were accepted, and end the nodes.

        Raises:
            WorkflowNotFound: there is none.
            CleanupTimedOut: not all was answered in time; it is gone all the same.
        """
        ...
