"""Every exception that Flambeau raises on purpose, each with whose fault it is.

Frontends translate :class:`ErrorKind` into a status; no other part of the code knows of statuses, except that a
handler may choose one (``HandlerRejected``), as TorchServe's ``PredictionException`` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto


class ErrorKind(Enum):
    """Whose fault an error is, in the caller's terms. Each frontend has one table from these to statuses."""

    ROUTE_NOT_FOUND = auto()
    MODEL_NOT_FOUND = auto()
    VERSION_NOT_FOUND = auto()
    METHOD_NOT_ALLOWED = auto()
    BAD_REQUEST = auto()
    PAYLOAD_TOO_LARGE = auto()
    UNAUTHORIZED = auto()
    INVALID_MODEL = auto()
    DOWNLOAD_FAILED = auto()
    CONFLICT = auto()
    DEFAULT_VERSION = auto()
    CLEANUP_TIMED_OUT = auto()
    NO_WORKER = auto()
    OVERLOADED = auto()
    QUEUE_TIMED_OUT = auto()
    HANDLER_FAILED = auto()
    HANDLER_REJECTED = auto()
    OUT_OF_MEMORY = auto()
    WORKER_DIED = auto()
    START_FAILED = auto()
    WORKFLOW_NOT_FOUND = auto()
    INVALID_WORKFLOW = auto()
    INVALID_GRAPH = auto()
    REGISTRATION_FAILED = auto()
    NODE_FAILED = auto()
    INTERNAL = auto()


class FlambeauError(Exception):
    """Base of all."""


class ConfigError(FlambeauError):
    """A setting has a value that cannot be used.

    ``str()`` names source, key and value: ``config.properties: job_queue_size=abc: must be an integer``.
    """

    def __init__(self, key: str, value: object, problem: str, source: str | None = None) -> None:
        super().__init__(key, value, problem, source)
        self.key = key
        self.value = value
        self.problem = problem
        self.source = source

    def __str__(self) -> str:
        place = f"{self.source}: " if self.source else ""
        return f"{place}{self.key}={self.value}: {self.problem}"

    def at(self, source: str) -> ConfigError:
        """The same error, with the source that the value came from."""
        return ConfigError(self.key, self.value, self.problem, source)


class ProtocolError(FlambeauError):
    """Bytes that are not the wire protocol; the connection they came on is of no more use."""


class PackagingError(FlambeauError):
    """A model archive cannot be built from what was given."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        """What to do about it; empty where the message says it all."""


class ServingError(FlambeauError):
    """An error that ends one call of a client. ``str()`` is fit for the client: no paths, no stack trace."""

    kind: ErrorKind = ErrorKind.INTERNAL
    status: int | None = None
    """A status chosen by a handler; None for every other error."""
    retry_after_s: int | None = None
    """Seconds after which the same call may succeed, where that is known."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RouteNotFound(ServingError):
    """No such route."""

    kind = ErrorKind.ROUTE_NOT_FOUND

    def __init__(self) -> None:
        super().__init__("Requested resource is not found, please refer to API document.")


class MethodNotAllowed(ServingError):
    """The route exists; not with this method, or not while the model control API is off."""

    kind = ErrorKind.METHOD_NOT_ALLOWED

    def __init__(self) -> None:
        super().__init__("Requested method is not allowed, please refer to API document.")


class ModelNotFound(ServingError):
    """No model of this name, or no archive at this place."""

    kind = ErrorKind.MODEL_NOT_FOUND

    @classmethod
    def named(cls, model: str) -> ModelNotFound:
        return cls(f"Model not found: {model}")


class VersionNotFound(ServingError):
    """The model exists, this version of it does not."""

    kind = ErrorKind.VERSION_NOT_FOUND

    def __init__(self, model: str, version: str | None) -> None:
        super().__init__(f"Model version: {version} does not exist for model: {model}")

    @classmethod
    def for_default(cls, model: str, version: str) -> VersionNotFound:
        """The same, in the words that TorchServe has for it where a version is to become the default."""
        error = cls(model, version)
        error.message = f"Model version {version} does not exist for model {model}"
        error.args = (error.message,)
        return error


class BadRequest(ServingError):
    """The client sent something that cannot be understood."""

    kind = ErrorKind.BAD_REQUEST


class PayloadTooLarge(ServingError):
    """A body, header or frame is over its limit."""

    kind = ErrorKind.PAYLOAD_TOO_LARGE


class Unauthorized(ServingError):
    """The token is missing, wrong or has expired."""

    kind = ErrorKind.UNAUTHORIZED


class InvalidModel(ServingError):
    """The archive, its manifest or its YAML cannot be served."""

    kind = ErrorKind.INVALID_MODEL


class DownloadFailed(ServingError):
    """An archive could not be fetched from its URL."""

    kind = ErrorKind.DOWNLOAD_FAILED

    def __init__(self, url: str, refusal: str = "") -> None:
        """``refusal``: the rule that forbids the download. What went wrong on the network is in the log alone."""
        message = f"Failed to download archive from: {url}"
        super().__init__(f"{message} ({refusal})" if refusal else message)


class ModelFileExists(ServingError):
    """A download would overwrite a file of the model store."""

    kind = ErrorKind.START_FAILED

    def __init__(self, name: str) -> None:
        super().__init__(f"Model file already exists {name}")


class AlreadyRegistered(ServingError):
    """This version of this model is being served already."""

    kind = ErrorKind.CONFLICT

    def __init__(self, model: str, version: str) -> None:
        super().__init__(f"Model version {version} is already registered for model {model}")


class DefaultVersionInUse(ServingError):
    """The default version cannot go while others stay."""

    kind = ErrorKind.DEFAULT_VERSION

    def __init__(self, model: str) -> None:
        super().__init__(f"Cannot remove default version for model {model}")


class CleanupTimedOut(ServingError):
    """Workers of an unregistered model did not end in time."""

    kind = ErrorKind.CLEANUP_TIMED_OUT

    def __init__(self, model: str) -> None:
        super().__init__(f"Timed out while cleaning resources: {model}")


class NoWorker(ServingError):
    """The model has no worker, or none will come: it was scaled to zero or has been given up."""

    kind = ErrorKind.NO_WORKER

    def __init__(self, model: str, version: str | None = None, *, purpose: str = "inference", reason: str = "") -> None:
        quoted = f'Model "{model}"' if version is None else f'Model "{model}" Version {version}"'  # TorchServe's quote
        message = f"{quoted} has no worker to serve {purpose} request. Please use scale workers API to add workers."
        if purpose == "inference":
            message += (
                " If this is a sequence inference, please check if it is closed, or expired;"
                " or exceeds maxSequenceJobQueueSize"
            )
        if reason:
            message += f" ({reason})"
        super().__init__(message)
        self.has_reason = bool(reason)


class QueueFull(ServingError):
    """The model's job queue is at its limit, in jobs or bytes; the request was not accepted."""

    kind = ErrorKind.OVERLOADED
    retry_after_s = 1

    def __init__(self, model: str, limit: str) -> None:
        # TorchServe has no words of its own for a full queue; its clients look for the first sentence.
        super().__init__(f"{NoWorker(model).message} (queue is full: {limit})")


class QueueTimedOut(ServingError):
    """A request waited for its whole response time-out and no worker took it."""

    kind = ErrorKind.QUEUE_TIMED_OUT
    retry_after_s = 1

    def __init__(self, model: str, timeout_s: float) -> None:
        super().__init__(f'Model "{model}" did not take the request within its response timeout of {timeout_s:g} s')


class ShuttingDown(ServingError):
    """The server drains: it finishes what it has and accepts nothing new."""

    kind = ErrorKind.OVERLOADED
    retry_after_s = 1

    def __init__(self) -> None:
        super().__init__("Server is shutting down.")


class TooManyConnections(ServingError):
    """The listener has as many clients as it may have."""

    kind = ErrorKind.OVERLOADED
    retry_after_s = 1

    def __init__(self, limit: int) -> None:
        super().__init__(f"Too many connections (limit: {limit}).")


class HandlerFailed(ServingError):
    """The handler raised, or returned something that is not an answer. Its traceback is in the model log."""

    kind = ErrorKind.HANDLER_FAILED

    def __init__(self, message: str = "Prediction failed") -> None:
        super().__init__(message)


class HandlerRejected(ServingError):
    """The handler raised ``PredictionException`` and chose message and status."""

    kind = ErrorKind.HANDLER_REJECTED

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class OutOfMemory(ServingError):
    """The handler ran out of memory, on the host or the device."""

    kind = ErrorKind.OUT_OF_MEMORY

    def __init__(self, message: str = "Out of resources") -> None:
        super().__init__(message)


class WorkerDied(ServingError):
    """The worker ended or was ended while it had this request, and a second try alone ended the same way."""

    kind = ErrorKind.WORKER_DIED

    def __init__(self, reason: str = "", *, out_of_memory: bool = False) -> None:
        super().__init__(f"Worker died. {reason}".rstrip())
        if out_of_memory:
            self.kind = ErrorKind.OUT_OF_MEMORY


class StartFailed(ServingError):
    """Workers of a model could not be brought to ready."""

    kind = ErrorKind.START_FAILED

    def __init__(self, model: str, version: str | None, reason: str = "", *, out_of_memory: bool = False) -> None:
        message = f"Failed to start workers for model {model} version: {version or 'null'}"
        super().__init__(f"{message}. {reason}" if reason else message)
        if out_of_memory:
            self.kind = ErrorKind.OUT_OF_MEMORY


class WorkflowNotFound(ServingError):
    """No workflow of this name, or no archive at this place."""

    kind = ErrorKind.WORKFLOW_NOT_FOUND

    @classmethod
    def named(cls, workflow: str) -> WorkflowNotFound:
        return cls(f"Workflow not found: {workflow}")


class InvalidWorkflow(ServingError):
    """The archive of a workflow, its manifest or its specification cannot be served."""

    kind = ErrorKind.INVALID_WORKFLOW


class InvalidGraph(ServingError):
    """The nodes of a workflow cannot be run one after the other as they are linked."""

    kind = ErrorKind.INVALID_GRAPH

    def __init__(self, sentence: str, detail: str) -> None:
        """
        Args:
            sentence: TorchServe's.
            detail: which nodes are meant.
        """
        super().__init__(f"{sentence} ({detail})")


class WorkflowExists(ServingError):
    """A workflow of this name is being served, or registered, already."""

    kind = ErrorKind.CONFLICT

    def __init__(self, workflow: str) -> None:
        super().__init__(f"Workflow {workflow} is already registered.")


class WorkflowNotRegistered(ServingError):
    """Nodes of a workflow could not be brought to ready, so nothing of it is served."""

    kind = ErrorKind.REGISTRATION_FAILED

    def __init__(self, workflow: str, failures: Sequence[str]) -> None:
        super().__init__(f"Workflow {workflow} has failed to register. Failures: [{', '.join(failures)}]")


class NodeInUse(ServingError):
    """A model is a node of a workflow, and goes with that."""

    kind = ErrorKind.CONFLICT

    def __init__(self, model: str, workflow: str) -> None:
        super().__init__(f"Model {model} is a node of workflow {workflow}: unregister the workflow.")


class NodeFailed(ServingError):
    """A node of a workflow gave no answer, however often it was tried; ``__cause__`` is why."""

    kind = ErrorKind.NODE_FAILED

    def __init__(self, node: str, cause: ServingError) -> None:
        super().__init__(f"Error executing {node} ({cause.message})")
        self.node = node
        if cause.kind is ErrorKind.OVERLOADED:  # which is no fault of the node's, and passes
            self.kind = cause.kind
            self.retry_after_s = cause.retry_after_s


class NodeTimedOut(ServingError):
    """A node of a workflow did not answer within its time."""

    kind = ErrorKind.QUEUE_TIMED_OUT

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"no answer within {timeout_s:g} s")


class ModelClosed(ServingError):
    """A local model or pipeline was called after it was closed, or was closed before it came to the call."""

    kind = ErrorKind.OVERLOADED

    def __init__(self, model: str) -> None:
        super().__init__(f"{model} is closed")


class ForkedModel(ServingError):
    """A local model was called in a process other than the one that loaded it."""

    kind = ErrorKind.INTERNAL

    def __init__(self, model: str) -> None:
        super().__init__(f"{model} was loaded before this process was forked; load it in the process that calls it")


class ReentrantCall(ServingError):
    """A handler called the model that it belongs to, and would have waited for itself."""

    kind = ErrorKind.HANDLER_FAILED

    def __init__(self, model: str) -> None:
        super().__init__(f"{model} was called from inside its own handler, which would wait for itself")


class CallTimedOut(ServingError, TimeoutError):
    """A local call's time was over before its answer came."""

    kind = ErrorKind.QUEUE_TIMED_OUT

    def __init__(self, model: str, timeout_s: float) -> None:
        super().__init__(f"{model} gave no answer within {timeout_s:g} s")


class WrongResults(ServingError):
    """A handler returned something other than one result a row."""

    kind = ErrorKind.HANDLER_FAILED

    def __init__(self, sentence: str, detail: str) -> None:
        """
        Args:
            sentence: TorchServe's, for a client over the network.
            detail: what was returned, for whoever can see the handler.
        """
        super().__init__(detail)
        self.sentence = sentence


class StageFailed(ServingError):
    """A stage of a pipeline failed; ``__cause__`` is what it raised."""

    kind = ErrorKind.HANDLER_FAILED

    def __init__(self, stage: str, row: int | None, reason: str) -> None:
        """``row``: place in the iterable given to ``map``, from 0; None for a single call."""
        where = f"stage {stage!r}" if row is None else f"stage {stage!r}, row {row}"
        super().__init__(f"{where}: {reason}")
        self.stage = stage
        self.row = row
        self.reason = reason


class InternalError(ServingError):
    """A fault of Flambeau's own. What happened is in the log."""

    kind = ErrorKind.INTERNAL
