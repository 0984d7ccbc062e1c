"""The graph of a workflow, and one run through it: which node follows which, and what each is given. Values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from flambeau.errors import InvalidGraph

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes linked without a circle, of which exactly one begins. Made by :meth:`linking`."""

    successors: Mapping[str, tuple[str, ...]]
    """As specified: nodes that nothing follows need not be there."""
    parents: Mapping[str, tuple[str, ...]]
    """Of every node, in an order in which each comes after its parents; a node's own parents as the specification
    lists them."""
    root: str
    leaves: tuple[str, ...]
    """The nodes that nothing follows."""

    @classmethod
    def linking(cls, successors: Mapping[str, Sequence[str]]) -> Graph:
        """Check the links and make a graph of them.

        Args:
            successors: the nodes that follow each, by name.

        Raises:
            InvalidGraph: a node follows itself, or one other twice; not exactly one node begins; or there is a circle.
        """
        parents: dict[str, list[str]] = {}
        for node, following in successors.items():
            parents.setdefault(node, [])
            for follower in following:
                if follower == node:
                    raise InvalidGraph("Self loop exception", f"{node} follows itself")
                if node in parents.setdefault(follower, []):
                    raise InvalidGraph("loop exception", f"{follower} follows {node} twice")
                parents[follower].append(node)
        roots = [node for node, before in parents.items() if not before]
        if len(roots) != 1:
            raise InvalidGraph("DAG should have only one start node", f"it has {', '.join(roots) or 'none'}")
        order = _in_order(roots[0], successors, parents)
        return cls(
            {node: tuple(following) for node, following in successors.items()},
            {node: tuple(parents[node]) for node in order},
            roots[0],
            tuple(node for node in order if not successors.get(node)),
        )

    def __str__(self) -> str:
        """As TorchServe describes it: ``{pre=[a, b], a=[post], b=[post]}``."""
        links = (f"{node}=[{', '.join(following)}]" for node, following in self.successors.items())
        return f"{{{', '.join(links)}}}"


def _in_order(
    root: str, successors: Mapping[str, Sequence[str]], parents: Mapping[str, Sequence[str]]
) -> Sequence[str]:
    """Every node after its parents.

    Raises:
        InvalidGraph: some are in a circle, or after one.
    """
    missing = {node: len(before) for node, before in parents.items()}
    order = [root]
    for node in order:  # grows as it goes
        for follower in successors.get(node, ()):
            missing[follower] -= 1
            if not missing[follower]:
                order.append(follower)
    if len(order) < len(parents):
        stuck = ", ".join(node for node in parents if node not in set(order))
        raise InvalidGraph("Not a valid DAG", f"there is a circle among {stuck}")
    return order


class Step(NamedTuple, Generic[Answer]):
    """A node whose turn has come."""

    node: str
    answers: Sequence[tuple[str, Answer]]
    """Of its parents, each with its parent's name, in the order of the graph's ``parents``."""


class Traversal(Generic[Answer]):
    """One run through a graph. It begins at the root; every :meth:`finish` says what to begin next.

    Each node's turn comes exactly once, after all its parents have finished. An answer is let go when the last node
    that wants it has been given it.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._missing = {node: len(parents) for node, parents in graph.parents.items()}
        self._unread = {node: len(following) for node, following in graph.successors.items()}
        self._answers: dict[str, Answer] = {}
        self._unfinished = len(graph.parents)

    def finish(self, node: str, answer: Answer) -> list[Step[Answer]]:
        """Note a node's answer, and give the nodes that can begin now."""
        self._answers[node] = answer
        self._unfinished -= 1
        steps = []
        for follower in self._graph.successors.get(node, ()):
            self._missing[follower] -= 1
            if not self._missing[follower]:
                steps.append(Step(follower, [(parent, self._read(parent)) for parent in self._graph.parents[follower]]))
        return steps

    @property
    def is_complete(self) -> bool:
        """Whether every node has finished."""
        return not self._unfinished

    def results(self) -> list[tuple[str, Answer]]:
        """The answers of the leaves, each with its node's name, once it is complete."""
        return [(leaf, self._answers[leaf]) for leaf in self._graph.leaves]

    def _read(self, node: str) -> Answer:
        self._unread[node] -= 1
        return self._answers[node] if self._unread[node] else self._answers.pop(node)
