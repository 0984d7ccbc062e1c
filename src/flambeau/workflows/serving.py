"""A workflow that is served: its nodes, and the requests that are on their way through them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from flambeau.api import (
    Caller,
    Done,
    NodeMembership,
    Registration,
    ServedModel,
    Ticket,
    WorkflowDescription,
    WorkflowRegistration,
)
from flambeau.archive.workflow_reader import UnpackedWorkflow
from flambeau.errors import (
    AlreadyRegistered,
    ModelNotFound,
    ServingError,
    ShuttingDown,
    StartFailed,
    WorkflowNotRegistered,
)
from flambeau.request import InferenceRequest, ModelRef
from flambeau.workflows.run import Run, RunnableNode
from flambeau.workflows.spec import Node, WorkflowSpec


class NodeModels(Protocol):
    """Serves nodes as models."""

    generation: int
    """Changes whenever a resolved model may no longer be the right one."""

    def resolve(self, model: ModelRef) -> ServedModel:
        """Raises ModelNotFound."""
        ...

    async def register(self, registration: Registration) -> Done:
        """Serve a model, or raise ServingError and leave nothing of it."""
        ...

    async def unregister_node(self, model: str) -> None:
        """Let it answer what it has accepted, and end it in all its versions; does nothing where there are none."""
        ...


class Workflow:
    """Implements ``api.ServedWorkflow``."""

    def __init__(
        self,
        registration: WorkflowRegistration,
        unpacked: UnpackedWorkflow,
        spec: WorkflowSpec,
        models: NodeModels,
        on_node: Callable[[str, float, float], None],
    ) -> None:
        """
        Args:
            on_node: see ``Run``.
        """
        self.name = unpacked.manifest.workflow_name
        self.url = registration.url
        self.unpacked = unpacked
        self._registration = registration
        self._spec = spec
        self._models = models
        self._on_node = on_node
        self._nodes = {
            node.name: RunnableNode(
                node.name, self._model_name(node), node.settings, _Resolver(models, self._model_name(node)).resolve
            )
            for node in spec.nodes
        }
        self._runs: set[Run] = set()
        self._is_refusing = False
        self._idle = asyncio.Event()

    # --- requests ----------------------------------------------------------------------------------------------------

    def submit(self, request: InferenceRequest, caller: Caller, arrived_at: float) -> Ticket:
        """See ``api.ServedWorkflow.submit``."""
        if self._is_refusing:
            raise ShuttingDown
        run = Run(self._spec.graph, self._nodes, request, caller, arrived_at, self._on_node, self._note_end)
        run.begin()
        self._runs.add(run)
        return run

    async def drain(self, timeout_s: float) -> bool:
        """Accept nothing more and wait for what is under way. Returns whether all was answered, in time."""
        self._is_refusing = True
        if not self._runs:
            return True
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except asyncio.TimeoutError:
            return False
        return True

    def fail_all(self, error: ServingError) -> None:
        """Answer every request that is under way with an error."""
        for run in list(self._runs):
            run.fail(error)

    def _note_end(self, run: Run) -> None:
        self._runs.discard(run)
        if self._is_refusing and not self._runs:
            self._idle.set()

    # --- nodes -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Serve every node, all at a time.

        Raises:
            WorkflowNotRegistered: some did not become ready; none is served any more.
            ShuttingDown: the server stops; the same.
        """
        outcomes = await asyncio.gather(*(self._start_node(node) for node in self._spec.nodes), return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if not failures:
            return
        started = [
            node
            for node, outcome in zip(self._spec.nodes, outcomes, strict=True)
            if not isinstance(outcome, BaseException)
        ]
        await self._stop_nodes(started)
        for failure in failures:
            if not isinstance(failure, ServingError) or isinstance(failure, ShuttingDown):
                raise failure
        raise WorkflowNotRegistered(
            self.name,
            [
                self._failure(node, outcome)
                for node, outcome in zip(self._spec.nodes, outcomes, strict=True)
                if isinstance(outcome, ServingError)
            ],
        )

    async def stop(self) -> None:
        """End the nodes."""
        await self._stop_nodes(self._spec.nodes)

    async def _start_node(self, node: Node) -> None:
        model_name = self._model_name(node)
        self._check_not_served(model_name)
        settings = node.settings
        is_function = node.url is None
        await self._models.register(
            Registration(
                url=str(self.unpacked.directory) if node.url is None else node.url,
                model_name=model_name,
                handler=f"{self.unpacked.manifest.handler}:{node.name}" if is_function else None,
                batch_size=settings.batch_size,
                max_batch_delay_s=settings.max_batch_delay_s,
                initial_workers=settings.max_workers,
                response_timeout_s=self._registration.response_timeout_s,
                startup_timeout_s=self._registration.startup_timeout_s,
                node_of=NodeMembership(workflow=self.name, is_function=is_function, workers=settings.max_workers),
            )
        )

    def _check_not_served(self, model_name: str) -> None:
        """A model of this name, in whichever version, would get the node's requests."""
        try:
            served = self._models.resolve(ModelRef(model_name))
        except ModelNotFound:
            return
        raise AlreadyRegistered(model_name, served.ref.version or "")

    async def _stop_nodes(self, nodes: Sequence[Node]) -> None:
        await asyncio.gather(*(self._models.unregister_node(self._model_name(node)) for node in nodes))

    def _failure(self, node: Node, error: ServingError) -> str:
        if isinstance(error, StartFailed):
            return error.message
        return f"Workflow Node {self._model_name(node)} failed to register. Details: {error.message}"

    def _model_name(self, node: Node) -> str:
        return f"{self.name}__{node.name}"

    # --- views -------------------------------------------------------------------------------------------------------

    def describe(self) -> WorkflowDescription:
        """For ``GET /workflows/{w}``."""
        settings = self._spec.settings
        return WorkflowDescription(
            workflow_name=self.name,
            workflow_url=self.url,
            min_workers=settings.min_workers,
            max_workers=settings.max_workers,
            batch_size=settings.batch_size,
            max_batch_delay=round(settings.max_batch_delay_s * 1e3),
            workflow_dag=str(self._spec.graph),
            nodes={name: node.model_name for name, node in self._nodes.items()},
            running=len(self._runs),
        )


class _Resolver:
    """The model of a node, looked up again only when models have changed."""

    def __init__(self, models: NodeModels, model_name: str) -> None:
        self._models = models
        self._ref = ModelRef(model_name)
        self._generation = -1
        self._model: ServedModel | None = None

    def resolve(self) -> ServedModel:
        """Raises ModelNotFound."""
        if self._model is None or self._generation != self._models.generation:
            self._model = self._models.resolve(self._ref)
            self._generation = self._models.generation
        return self._model
