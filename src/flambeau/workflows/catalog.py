"""All workflows of a server: registered, found, described, unregistered.

As with models, changes to what there is happen between two awaits. A name is taken from the moment at which its archive
has been found to be sound until the last of its nodes is gone; it can be found only while all of them are ready.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path

from flambeau.api import (
    Done,
    ListedWorkflow,
    ServedWorkflow,
    WorkflowDescription,
    WorkflowPage,
    WorkflowRegistration,
)
from flambeau.archive.store import ModelStore, is_remote
from flambeau.archive.workflow_reader import UnpackedWorkflow, open_workflow_archive
from flambeau.errors import (
    BadRequest,
    CleanupTimedOut,
    InvalidWorkflow,
    ModelNotFound,
    ShuttingDown,
    WorkflowExists,
    WorkflowNotFound,
)
from flambeau.workflows.serving import NodeModels, Workflow
from flambeau.workflows.spec import MAX_SPEC_BYTES, WorkflowSpec, parse_spec

logger = logging.getLogger(__name__)


class Workflows:
    """Implements ``api.WorkflowInference`` and ``api.WorkflowManagement``."""

    def __init__(
        self,
        models: NodeModels,
        store: ModelStore,
        *,
        unregister_timeout_s: float,
        on_node: Callable[[str, float, float], None],
    ) -> None:
        """
        Args:
            models: serves the nodes.
            store: where archives of workflows are found.
            unregister_timeout_s: for how long an unregistered workflow finishes what it has accepted.
            on_node: see ``Run``.
        """
        self.generation = 0
        self._models = models
        self._store = store
        self._unregister_timeout_s = unregister_timeout_s
        self._on_node = on_node
        self._workflows: dict[str, Workflow] = {}
        self._taken: set[str] = set()
        """Names of those that are not served yet, or not served any more."""
        self._leaving: set[Workflow] = set()
        self._changes: set[asyncio.Task[None]] = set()
        """Registrations and removals under way; they go on when the client that asked for them leaves."""
        self._is_stopping = False

    # --- api.WorkflowInference ---------------------------------------------------------------------------------------

    def resolve(self, workflow: str) -> ServedWorkflow:
        """See ``api.WorkflowInference.resolve``."""
        return self._named(workflow)

    # --- api.WorkflowManagement --------------------------------------------------------------------------------------

    def list_workflows(self, limit: int, offset: int) -> WorkflowPage:
        """See ``api.WorkflowManagement``."""
        names = sorted(self._workflows)
        shown = [self._workflows[name] for name in names[offset : offset + limit]]
        page = WorkflowPage(workflows=[ListedWorkflow(workflow.name, workflow.url) for workflow in shown])
        if offset + limit <= len(names):
            page.next_page_token = str(offset + limit)
        return page

    def describe(self, workflow: str) -> WorkflowDescription:
        """See ``api.WorkflowManagement.describe``."""
        return self._named(workflow).describe()

    async def register(self, registration: WorkflowRegistration) -> Done:
        """See ``api.WorkflowManagement.register``."""
        if registration.s3_sse_kms:
            raise BadRequest("Parameter s3_sse_kms is not supported: give a URL that is signed already.")
        accepted: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        change = self._begin(self._register(registration, accepted))
        try:
            if registration.synchronous:
                await asyncio.shield(change)
                return Done(f"Workflow {accepted.result()} has been registered and scaled successfully.")
            await asyncio.wait((accepted, change), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            change.add_done_callback(lambda done: _log_unheard(registration.url, done))
            raise
        if not accepted.done():
            change.result()
        change.add_done_callback(lambda done: _log_unheard(registration.url, done))
        return Done("Processing worker updates...", is_complete=False)

    async def unregister(self, workflow: str) -> Done:
        """See ``api.WorkflowManagement.unregister``."""
        leaving = self._named(workflow)
        del self._workflows[workflow]
        self._taken.add(workflow)
        self._leaving.add(leaving)
        self.generation += 1
        await asyncio.shield(self._begin(self._retire(leaving)))
        return Done(f'Workflow "{workflow}" unregistered')

    # --- the end of the server ---------------------------------------------------------------------------------------

    async def drain(self, timeout_s: float) -> bool:
        """Accept no more requests and wait for those that are in. Returns whether all were answered, in time."""
        self._is_stopping = True
        workflows = (*self._workflows.values(), *self._leaving)
        return all(await asyncio.gather(*(workflow.drain(timeout_s) for workflow in workflows)))

    def interrupt(self) -> None:
        """Give up what is still under way: the server stops."""
        self._is_stopping = True
        self._store.interrupt()
        for workflow in (*self._workflows.values(), *self._leaving):
            workflow.fail_all(ShuttingDown())

    async def stop(self) -> None:
        """Forget all workflows. To be called when no model is served any more, so that changes under way end."""
        if self._changes:
            await asyncio.wait(self._changes)
        for workflow in self._workflows.values():
            await self._remove_files(workflow)
        self._workflows.clear()
        self.generation += 1

    # --- inside ------------------------------------------------------------------------------------------------------

    def _named(self, name: str) -> Workflow:
        workflow = self._workflows.get(name)
        if workflow is None:
            raise WorkflowNotFound.named(name)
        return workflow

    def _begin(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        change = asyncio.ensure_future(work)
        self._changes.add(change)
        change.add_done_callback(self._changes.discard)
        return change

    async def _register(self, registration: WorkflowRegistration, accepted: asyncio.Future[str]) -> None:
        loop = asyncio.get_running_loop()
        source = await loop.run_in_executor(None, self._find, registration.url)
        try:
            unpacked, spec = await loop.run_in_executor(None, self._open, source, registration.workflow_name)
        except BaseException:
            await self._remove_downloaded(registration.url, source)
            raise
        workflow = Workflow(registration, unpacked, spec, self._models, self._on_node)
        for warning in spec.warnings:
            logger.warning("workflow %s: %s", workflow.name, warning)
        try:
            await self._admit(workflow, accepted)
        except BaseException:
            await self._remove_files(workflow)
            raise

    async def _admit(self, workflow: Workflow, accepted: asyncio.Future[str]) -> None:
        """Have its nodes served, and list it."""
        if self._is_stopping:
            raise ShuttingDown
        name = workflow.name
        if name in self._workflows or name in self._taken:
            raise WorkflowExists(name)
        self._taken.add(name)
        accepted.set_result(name)
        try:
            await workflow.start()
            if self._is_stopping:
                await workflow.stop()
                raise ShuttingDown
        finally:
            self._taken.discard(name)
        self._workflows[name] = workflow
        self.generation += 1
        logger.info("Workflow %s registered.", name)

    async def _retire(self, workflow: Workflow) -> None:
        answered = await workflow.drain(self._unregister_timeout_s)
        try:
            workflow.fail_all(ShuttingDown())
            await workflow.stop()
            await self._remove_files(workflow)
        finally:
            self._leaving.discard(workflow)
            self._taken.discard(workflow.name)
        if not answered:
            raise CleanupTimedOut(workflow.name)

    def _find(self, url: str) -> Path:
        """The archive; blocks while it is fetched.

        Raises:
            WorkflowNotFound, DownloadFailed, ModelFileExists: it is not there, not allowed, or cannot be fetched.
        """
        if not url:
            raise WorkflowNotFound("Workflow not found at: ")
        try:
            return self._store.fetch(url) if is_remote(url) else self._store.resolve(url)
        except ModelNotFound as error:
            if error.message.startswith("Model not found"):
                raise WorkflowNotFound(f"Workflow not found in workflow store: {url}") from None
            raise WorkflowNotFound(error.message.replace("Model store", "Workflow store")) from None

    def _open(self, source: Path, workflow_name: str | None) -> tuple[UnpackedWorkflow, WorkflowSpec]:
        """Raises InvalidWorkflow, InvalidGraph: it cannot be served; nothing is left of it."""
        unpacked = open_workflow_archive(source, self._store.unpack_root, workflow_name=workflow_name)
        try:
            spec = parse_spec(unpacked.spec_text(MAX_SPEC_BYTES), unpacked.manifest.spec_file)
            if spec.functions and not unpacked.has_handler():
                missing = unpacked.manifest.handler or "no handler"
                functions = ", ".join(spec.functions)
                raise InvalidWorkflow(f"{functions}: no such model, and {missing} is in the archive to define it.")
        except BaseException:
            unpacked.remove()
            raise
        return unpacked, spec

    async def _remove_files(self, workflow: Workflow) -> None:
        await asyncio.get_running_loop().run_in_executor(None, workflow.unpacked.remove)
        await self._remove_downloaded(workflow.url, workflow.unpacked.source)

    async def _remove_downloaded(self, url: str, source: Path) -> None:
        if is_remote(url):
            await asyncio.get_running_loop().run_in_executor(None, self._store.remove_downloaded, source)


def _log_unheard(url: str, registration: asyncio.Task[None]) -> None:
    """What nobody waits to be told."""
    error = registration.exception()
    if error is not None:
        logger.error("Failed to register workflow: %s: %s", url, error)
