"""One request on its way through the nodes of a workflow.

A node's answer goes to the queues of the nodes that follow as the bytes that it is, without a task, a future or a copy;
which node's turn it is says ``graph.Traversal``. A run ends with the answer of its last node, with the first node that
fails for good, or when its caller leaves; whatever else is under way then is abandoned.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from flambeau.api import Caller, ServedModel, Ticket
from flambeau.errors import HandlerFailed, NodeFailed, NodeTimedOut, ServingError
from flambeau.request import InferenceReply, InferenceRequest, ReplyBody, RequestValue
from flambeau.workflows.graph import Graph, Step, Traversal
from flambeau.workflows.spec import NodeSettings

Parameters = Sequence[tuple[str, str, RequestValue]]

_JSON_HEADERS = (("content-type", "application/json"),)


class RunnableNode:
    """A node as runs see it."""

    __slots__ = ("model_name", "name", "resolve", "settings")

    def __init__(self, name: str, model_name: str, settings: NodeSettings, resolve: Callable[[], ServedModel]) -> None:
        """
        Args:
            model_name: what it is served as.
            resolve: the model to send requests to; may raise ServingError where it is gone.
        """
        self.name = name
        self.model_name = model_name
        self.settings = settings
        self.resolve = resolve


class Run:
    """``api.Ticket`` of a request that a workflow has accepted."""

    def __init__(
        self,
        graph: Graph,
        nodes: Mapping[str, RunnableNode],
        request: InferenceRequest,
        caller: Caller,
        arrived_at: float,
        on_node: Callable[[str, float, float], None],
        on_end: Callable[[Run], None],
    ) -> None:
        """
        Args:
            on_node: told of each answer of a node: its model's name, seconds since the attempt began, and how many of
                them were spent in the queue.
            on_end: called once, when it is over, whichever way.
        """
        self.request = request
        self.arrived_at = arrived_at
        self.cut_at = arrived_at  # a workflow has no queue of its own
        self.on_node = on_node
        self._nodes = nodes
        self._caller = caller
        self._on_end = on_end
        self._traversal: Traversal[ReplyBody] = Traversal(graph)
        self._under_way: dict[str, _Execution] = {}
        self._is_over = False
        self._root = graph.root

    def begin(self) -> None:
        """Send the request to the first node, as it is.

        Raises:
            NodeFailed: it was not accepted; nothing is under way.
        """
        self._execute(self._root, self.request.parameters, self.arrived_at)

    def abandon(self) -> None:
        """The caller has left: what waits will cost no worker anything, and no further node begins."""
        if not self._is_over:
            self._end()

    def fail(self, error: ServingError) -> None:
        """Answer with an error, unless it is over."""
        if not self._is_over:
            self._end()
            self._caller.answer(error)

    def node_answered(self, node: str, body: ReplyBody) -> None:
        """A node is done: go on with what follows, or answer."""
        del self._under_way[node]
        now = time.monotonic()
        try:
            for step in self._traversal.finish(node, body):
                self._execute(step.node, _parameters(step), now)
            if self._traversal.is_complete:
                reply = _reply(self._traversal.results())
                self._end()
                self._caller.answer(reply)
        except NodeFailed as error:
            self.fail(error)

    def _execute(self, node: str, parameters: Parameters, arrived_at: float) -> None:
        execution = _Execution(self, self._nodes[node], parameters)
        execution.attempt(arrived_at)
        self._under_way[node] = execution

    def _end(self) -> None:
        self._is_over = True
        for execution in self._under_way.values():
            execution.stop()
        self._under_way.clear()
        self._on_end(self)


class _Execution:
    """The attempts of one node in one run; each attempt's caller."""

    __slots__ = ("_attempts", "_began_at", "_node", "_parameters", "_run", "_ticket", "_timer")

    _ticket: Ticket
    _timer: asyncio.TimerHandle

    def __init__(self, run: Run, node: RunnableNode, parameters: Parameters) -> None:
        self._run = run
        self._node = node
        self._parameters = parameters
        self._attempts = 0

    def attempt(self, now: float) -> None:
        """Send it to the node's queue.

        Raises:
            NodeFailed: the queue does not take it. To ask again at once would not help.
        """
        self._attempts += 1
        self._began_at = now
        sent = self._run.request
        request = InferenceRequest(sent.request_id, sent.headers, self._parameters)
        try:
            self._ticket = self._node.resolve().submit(request, self, now)
        except ServingError as error:
            raise NodeFailed(self._node.name, error) from error
        self._timer = asyncio.get_running_loop().call_later(self._node.settings.timeout_s, self._time_out)

    def stop(self) -> None:
        """Want no answer any more."""
        self._timer.cancel()
        self._ticket.abandon()

    def answer(self, outcome: InferenceReply | ServingError) -> None:
        """See ``api.Caller.answer``."""
        self._timer.cancel()
        if isinstance(outcome, ServingError):
            self._failed(outcome)
            return
        now = time.monotonic()
        self._run.on_node(self._node.model_name, now - self._began_at, self._ticket.cut_at - self._began_at)
        self._run.node_answered(self._node.name, outcome.body)

    def _time_out(self) -> None:
        self._ticket.abandon()
        self._failed(NodeTimedOut(self._node.settings.timeout_s))

    def _failed(self, error: ServingError) -> None:
        """Try again as often as the node's settings say; then it is the run that has failed."""
        if self._attempts <= self._node.settings.retry_attempts:
            try:
                self.attempt(time.monotonic())
            except NodeFailed as refused:
                self._run.fail(refused)
        else:
            failed = NodeFailed(self._node.name, error)
            failed.__cause__ = error
            self._run.fail(failed)


def _parameters(step: Step[ReplyBody]) -> Parameters:
    """The row of a node: its parent's answer as ``body``, or that of each of its parents under the parent's name."""
    if len(step.answers) == 1:
        return (("body", "", step.answers[0][1]),)
    return [(parent, "", answer) for parent, answer in step.answers]


def _reply(results: Sequence[tuple[str, ReplyBody]]) -> InferenceReply:
    """The only leaf's answer as it is, or a JSON object with the answer of each leaf under the leaf's name.

    Raises:
        NodeFailed: one of several is not JSON.
    """
    if len(results) == 1:
        return InferenceReply(results[0][1], headers=_JSON_HEADERS)
    members = []
    for leaf, body in results:
        text = bytes(body)
        try:
            msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            cause = HandlerFailed("it answers with something else than JSON, and it is one of several last nodes")
            raise NodeFailed(leaf, cause) from None
        members.append(b"%b:%b" % (msgspec.json.encode(leaf), text))
    return InferenceReply(msgspec.json.format(b"{%b}" % b",".join(members), indent=2) + b"\n", headers=_JSON_HEADERS)
