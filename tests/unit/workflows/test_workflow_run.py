"""A run sends each node what its turn is for, tries again what fails, and answers its caller once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.errors import ErrorKind, HandlerFailed, ModelNotFound, NoWorker, QueueFull, ServingError, ShuttingDown
from flambeau.request import InferenceReply, InferenceRequest, ModelRef
from flambeau.workflows.graph import Graph
from flambeau.workflows.run import Run, RunnableNode
from flambeau.workflows.spec import NodeSettings

DIAMOND = {"pre": ["a", "b"], "a": ["post"], "b": ["post"]}
TIMEOUT_S = 10.0


@dataclass
class Attempt:
    """A request that a queue was given; the ticket of it, too."""

    node: str
    request: InferenceRequest
    caller: object
    arrived_at: float
    cut_at: float = 0.0
    is_over: bool = False

    def abandon(self):
        self.is_over = True

    def answer(self, outcome):
        """As a dispatcher does: not if the caller has left."""
        if not self.is_over:
            self.is_over = True
            self.caller.answer(outcome)


class Queues:
    """The queues of all nodes: the test answers what they are given."""

    def __init__(self):
        self.attempts: list[Attempt] = []
        self.refusals: dict[str, ServingError] = {}
        self.changed = asyncio.Event()

    def model(self, node):
        return lambda: _Queue(self, node)

    def open(self, node=None):
        """Attempts that nobody has answered or left."""
        return [attempt for attempt in self.attempts if not attempt.is_over and node in (None, attempt.node)]

    def nodes(self):
        return [attempt.node for attempt in self.open()]

    def answer(self, node, outcome):
        (attempt,) = self.open(node)
        attempt.answer(InferenceReply(outcome) if isinstance(outcome, bytes) else outcome)

    async def wait_for_attempts(self, count):
        while len(self.attempts) < count:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), TIMEOUT_S)


@dataclass
class _Queue:
    queues: Queues
    node: str
    ref: ModelRef = field(default=ModelRef("m", "1.0"))

    def submit(self, request, caller, arrived_at):
        if self.node in self.queues.refusals:
            raise self.queues.refusals[self.node]
        attempt = Attempt(self.node, request, caller, arrived_at, arrived_at)
        self.queues.attempts.append(attempt)
        self.queues.changed.set()
        return attempt


class Client:
    def __init__(self):
        self.outcomes = []
        self.answered = asyncio.Event()

    def answer(self, outcome):
        self.outcomes.append(outcome)
        self.answered.set()


class Started:
    """A run that has begun."""

    def __init__(self, links, **settings):
        self.queues = Queues()
        self.client = Client()
        self.answered_nodes = []
        self.ends = 0
        graph = Graph.linking(links)
        nodes = {
            node: RunnableNode(node, f"w__{node}", NodeSettings(**settings), self.queues.model(node))
            for node in graph.parents
        }
        self.nodes = nodes
        self.request = InferenceRequest("id", [(b"X-Asked", b"1")], [("data", "text/plain", b"in")])
        self.run = Run(graph, nodes, self.request, self.client, 5.0, self._note_node, self._note_end)

    def begin(self):
        self.run.begin()
        return self

    def _note_node(self, model, seconds, queued_s):
        self.answered_nodes.append(model)

    def _note_end(self, run):
        assert run is self.run
        self.ends += 1


def on_a_loop(test):
    """The test is a coroutine function."""

    def run(*args, **kwargs):
        asyncio.run(test(*args, **kwargs))

    run.__name__ = test.__name__
    return run


@on_a_loop
async def test_the_first_node_is_given_the_request_as_it_came():
    started = Started({"a": []}).begin()
    (attempt,) = started.queues.attempts
    assert attempt.request == started.request
    assert attempt.arrived_at == 5.0


@on_a_loop
async def test_the_only_last_nodes_answer_is_the_runs_byte_for_byte():
    started = Started({"a": []}).begin()
    started.queues.answer("a", b"\x00raw")
    (reply,) = started.client.outcomes
    assert reply == InferenceReply(b"\x00raw", headers=(("content-type", "application/json"),))
    assert (started.ends, started.answered_nodes) == (1, ["w__a"])


@on_a_loop
async def test_nodes_side_by_side_have_their_requests_before_either_has_answered():
    started = Started(DIAMOND).begin()
    started.queues.answer("pre", b"p")
    assert started.queues.nodes() == ["a", "b"]
    assert {attempt.request.parameters for attempt in started.queues.open()} == {(("body", "", b"p"),)}
    started.queues.answer("b", b"B")
    assert started.queues.nodes() == ["a"]
    started.queues.answer("a", b"A")
    (join,) = started.queues.open("post")
    assert join.request.parameters == [("a", "", b"A"), ("b", "", b"B")]
    assert join.request.headers == started.request.headers
    started.queues.answer("post", b"end")
    assert [reply.body for reply in started.client.outcomes] == [b"end"]


@on_a_loop
async def test_several_last_nodes_make_one_object():
    started = Started({"pre": ['a"', "b"]}).begin()
    started.queues.answer("pre", b"")
    started.queues.answer("b", b"[1,2]")
    started.queues.answer('a"', b'{"x": "\xc3\xa4"}')
    (reply,) = started.client.outcomes
    assert reply.body.decode() == '{\n  "a\\"": {\n    "x": "ä"\n  },\n  "b": [\n    1,\n    2\n  ]\n}\n'


@pytest.mark.parametrize("body", [b"", b"text", b"{", b'{"a": NaN}', b"\xff", b"1 2", b"[" * 100_000])
def test_one_of_several_last_nodes_that_does_not_answer_with_json_fails(body):
    async def test():
        started = Started({"pre": ["a", "b"]}).begin()
        started.queues.answer("pre", b"")
        started.queues.answer("a", b"{}")
        started.queues.answer("b", body)
        (error,) = started.client.outcomes
        assert error.kind is ErrorKind.NODE_FAILED
        assert error.message.startswith("Error executing b (it answers with something else than JSON")
        assert started.ends == 1

    asyncio.run(test())


@on_a_loop
async def test_a_node_that_fails_is_tried_again_with_the_same_row():
    started = Started({"a": []}, retry_attempts=2).begin()
    for _ in range(2):
        started.queues.answer("a", HandlerFailed())
    started.queues.answer("a", b"good")
    assert [attempt.request for attempt in started.queues.attempts] == [started.request] * 3
    assert [reply.body for reply in started.client.outcomes] == [b"good"]


@on_a_loop
async def test_a_node_that_fails_too_often_ends_the_run_and_what_else_is_under_way():
    started = Started(DIAMOND, retry_attempts=0).begin()
    started.queues.answer("pre", b"p")
    started.queues.answer("a", HandlerFailed("Prediction failed"))
    (error,) = started.client.outcomes
    assert (error.message, error.kind) == ("Error executing a (Prediction failed)", ErrorKind.NODE_FAILED)
    assert isinstance(error.__cause__, HandlerFailed)
    assert started.queues.open() == []
    assert started.ends == 1


@on_a_loop
async def test_a_queue_that_refuses_is_not_asked_again():
    started = Started({"a": ["b"]}, retry_attempts=5).begin()
    started.queues.refusals["b"] = NoWorker("w__b")
    started.queues.answer("a", b"x")
    (error,) = started.client.outcomes
    assert error.message.startswith("Error executing b (Model")
    assert len(started.queues.attempts) == 1


@on_a_loop
async def test_a_second_attempt_that_is_refused_ends_the_run():
    started = Started({"a": []}).begin()
    started.queues.refusals["a"] = ShuttingDown()
    started.queues.answer("a", HandlerFailed())
    (error,) = started.client.outcomes
    assert (error.kind, error.retry_after_s) == (ErrorKind.OVERLOADED, 1)


@on_a_loop
async def test_of_two_nodes_that_begin_together_one_that_is_refused_takes_the_other_with_it():
    started = Started({"pre": ["a", "b"]}).begin()
    started.queues.refusals["b"] = QueueFull("w__b", "1 job")
    started.queues.answer("pre", b"")
    (error,) = started.client.outcomes
    assert (error.node, error.kind, error.retry_after_s) == ("b", ErrorKind.OVERLOADED, 1)
    assert started.queues.open() == []


@on_a_loop
async def test_a_run_that_is_refused_at_once_says_so_by_raising_and_not_by_an_answer():
    started = Started({"a": []})
    started.queues.refusals["a"] = ModelNotFound.named("w__a")
    with pytest.raises(ServingError, match="Error executing a"):
        started.run.begin()
    assert started.client.outcomes == []
    assert started.ends == 0


@on_a_loop
async def test_an_attempt_that_takes_too_long_is_abandoned_and_made_again():
    started = Started({"a": []}, retry_attempts=1, timeout_s=0.02).begin()
    first = started.queues.attempts[0]
    await started.queues.wait_for_attempts(2)
    assert first.is_over
    first.answer(InferenceReply(b"late"))
    await asyncio.wait_for(started.client.answered.wait(), TIMEOUT_S)
    (error,) = started.client.outcomes
    assert error.message == "Error executing a (no answer within 0.02 s)"
    assert error.kind is ErrorKind.NODE_FAILED


@on_a_loop
async def test_a_caller_that_leaves_is_not_answered_and_no_further_node_begins():
    started = Started(DIAMOND).begin()
    started.queues.answer("pre", b"p")
    started.run.abandon()
    started.run.abandon()
    assert started.queues.open() == []
    started.run.fail(ShuttingDown())
    assert (started.client.outcomes, started.ends) == ([], 1)


@st.composite
def graphs(draw):
    count = draw(st.integers(1, 7))
    links = {f"n{number}": [] for number in range(count)}
    for index in range(1, count):
        for parent in draw(st.sets(st.integers(0, index - 1), min_size=1, max_size=2)):
            links[f"n{parent}"].append(f"n{index}")
    return links


@given(graphs(), st.integers(0, 2), st.lists(st.tuples(st.integers(0, 6), st.sampled_from("gggfx")), max_size=40))
def test_whatever_becomes_of_its_nodes_a_run_ends_once(links, retries, script):
    """Answers (g), failures (f) and a caller that leaves (x), in any order."""

    async def test():
        started = Started(links, retry_attempts=retries).begin()
        left = False
        for which, what in script:
            waiting = started.queues.open()
            if not waiting:
                break
            if what == "x":
                left = True
                started.run.abandon()
            else:
                outcome = InferenceReply(b"1") if what == "g" else HandlerFailed()
                waiting[which % len(waiting)].answer(outcome)
        else:
            while waiting := started.queues.open():
                waiting[0].answer(InferenceReply(b"1"))
        assert started.ends == 1
        assert len(started.client.outcomes) == (not left)
        per_node = {node: sum(attempt.node == node for attempt in started.queues.attempts) for node in links}
        assert max(per_node.values()) <= retries + 1
        for outcome in started.client.outcomes:
            if isinstance(outcome, InferenceReply):
                assert sorted(started.answered_nodes) == sorted(f"w__{node}" for node in links)

    asyncio.run(test())
