"""Any graph without a circle is run in order, each node once; any other is refused."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.errors import InvalidGraph
from flambeau.workflows.graph import Graph, Traversal

DIAMOND = {"pre": ["a", "b"], "a": ["post"], "b": ["post"]}


@st.composite
def linked(draw):
    """A graph with one root: every later node follows at least one before it, in a shuffled specification."""
    count = draw(st.integers(1, 12))
    names = [f"n{number}" for number in range(count)]
    successors = {name: [] for name in names}
    for index in range(1, count):
        before = draw(st.sets(st.integers(0, index - 1), min_size=1, max_size=3))
        for parent in before:
            successors[names[parent]].append(names[index])
    keys = draw(st.permutations(names))
    return {name: successors[name] for name in keys}


def run_through(graph, pick):
    """The steps in the order in which they began; ``pick`` chooses which of those under way finishes next."""
    traversal = Traversal(graph)
    began = [(graph.root, [])]
    under_way = [graph.root]
    while under_way:
        node = under_way.pop(pick(len(under_way)))
        assert not traversal.is_complete
        for step in traversal.finish(node, f"answer of {node}"):
            began.append((step.node, list(step.answers)))
            under_way.append(step.node)
    assert traversal.is_complete
    return began, traversal


@given(linked(), st.integers())
def test_each_node_begins_once_with_the_answers_of_all_its_parents(links, seed):
    graph = Graph.linking(links)
    began, _ = run_through(graph, random.Random(seed).randrange)
    assert sorted(node for node, _ in began) == sorted(links)
    finished_before = set()
    for node, answers in began:
        assert answers == [(parent, f"answer of {parent}") for parent in graph.parents[node]]
        finished_before.add(node)
    assert finished_before == set(links)


@given(linked(), st.integers())
def test_the_results_are_those_of_the_leaves_and_nothing_else_is_kept(links, seed):
    graph = Graph.linking(links)
    _, traversal = run_through(graph, random.Random(seed).randrange)
    leaves = [node for node, following in links.items() if not following]
    assert dict(traversal.results()) == {leaf: f"answer of {leaf}" for leaf in leaves}
    assert set(traversal._answers) == set(leaves)


@given(linked())
def test_every_node_comes_after_its_parents(links):
    graph = Graph.linking(links)
    order = list(graph.parents)
    assert order[0] == graph.root
    for node, following in links.items():
        assert all(order.index(node) < order.index(follower) for follower in following)


@given(linked(), st.data())
def test_a_circle_anywhere_is_refused(links, data):
    """A way back from a node to one that leads to it."""
    graph = Graph.linking(links)
    node = data.draw(st.sampled_from(list(graph.parents)))
    above = {node}
    for other in reversed(list(graph.parents)):
        if above & set(links[other]):
            above.add(other)
    target = data.draw(st.sampled_from(sorted(above)))
    with pytest.raises(InvalidGraph):
        Graph.linking({**links, node: [*links[node], target]})


@given(st.dictionaries(st.sampled_from("abcde"), st.lists(st.sampled_from("abcde"), max_size=3), max_size=5))
def test_any_links_make_a_graph_that_ends_or_are_refused(links):
    try:
        graph = Graph.linking(links)
    except InvalidGraph:
        return
    began, _ = run_through(graph, lambda count: 0)
    assert sorted(node for node, _ in began) == sorted({*links, *(node for nodes in links.values() for node in nodes)})


@pytest.mark.parametrize(
    ("links", "sentence"),
    [
        ({}, "DAG should have only one start node (it has none)"),
        ({"a": ["c"], "b": ["c"]}, "DAG should have only one start node (it has a, b)"),
        ({"a": ["b"], "b": ["a"]}, "DAG should have only one start node (it has none)"),
        ({"a": ["b"], "b": ["b"]}, "Self loop exception (b follows itself)"),
        ({"a": ["b", "b"]}, "loop exception (b follows a twice)"),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, "Not a valid DAG (there is a circle among b, c)"),
    ],
)
def test_what_is_wrong_is_said_in_the_words_of_torchserve_and_names_the_nodes(links, sentence):
    with pytest.raises(InvalidGraph) as refused:
        Graph.linking(links)
    assert refused.value.message == sentence


def test_parallel_nodes_begin_together_and_their_successor_after_both():
    traversal = Traversal(Graph.linking(DIAMOND))
    assert [step.node for step in traversal.finish("pre", 1)] == ["a", "b"]
    assert traversal.finish("b", 3) == []
    (last,) = traversal.finish("a", 2)
    assert (last.node, list(last.answers)) == ("post", [("a", 2), ("b", 3)])


def test_a_graph_is_described_as_torchserve_describes_it():
    assert str(Graph.linking(DIAMOND)) == "{pre=[a, b], a=[post], b=[post]}"
    assert str(Graph.linking({"a": []})) == "{a=[]}"
