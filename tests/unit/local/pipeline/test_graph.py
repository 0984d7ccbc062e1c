"""Links of stages to a plan, and what is wrong with them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from graphs import acyclic_links, any_graph
from hypothesis import given

from flambeau.errors import ConfigError
from flambeau.local.pipeline.drawing import draw
from flambeau.local.pipeline.graph import ROW, SKIPPED, Link, Plan, after_of_next, plan_of, row_of


def names(plan: Plan) -> list[str]:
    return [step.name for step in plan.steps]


def error_of(*links: Link) -> str:
    with pytest.raises(ConfigError) as caught:
        plan_of(links)
    return str(caught.value)


def row_for(links: Sequence[Link], name: str, values: dict[str, object]) -> object:
    """The row of a stage, from the values of the others and ``row``."""
    plan = plan_of(links)
    step = next(step for step in plan.steps if step.name == name)
    return row_of(step, [values.get(other, SKIPPED) for other in (ROW, *names(plan))])


DIAMOND = [Link("a"), Link("b"), Link("c", after=("a",)), Link("d", after=("b", "c"))]


def test_stages_that_say_nothing_are_a_chain():
    plan = plan_of([Link("a"), Link("b"), Link("c")])
    assert names(plan) == ["a", "b", "c"]
    assert plan.is_chain
    assert [step.name for step in plan.finals] == ["c"]


def test_a_stage_that_says_nothing_comes_after_the_one_listed_before_it():
    plan = plan_of(DIAMOND)
    assert not plan.is_chain
    assert [[names(plan)[slot - 1] for slot in step.waits_for] for step in plan.steps] == [[], ["a"], ["a"], ["b", "c"]]


def test_stages_may_be_listed_before_those_that_they_come_after():
    assert names(plan_of([Link("b", after=("a",)), Link("a", after=(ROW,))])) == ["a", "b"]


def test_a_stage_with_a_map_alone_comes_after_what_the_map_takes():
    plan = plan_of([Link("a"), Link("b"), Link("c", map={"x": "a.key", "y": "a"})])
    assert plan.steps[2].waits_for == (1,)


def test_a_join_is_a_dict_by_stage():
    assert row_for(DIAMOND, "d", {"b": 1, "c": 2}) == {"b": 1, "c": 2}


def test_what_was_skipped_is_absent_from_a_join():
    assert row_for(DIAMOND, "d", {"c": 2}) == {"c": 2}


def test_a_stage_is_skipped_when_everything_that_it_takes_was():
    assert row_for(DIAMOND, "d", {}) is SKIPPED
    assert row_for(DIAMOND, "b", {}) is SKIPPED


def test_a_map_takes_parts_of_what_stages_returned():
    links = [Link("a"), Link("b", map={"image": ROW, "boxes": "a.boxes", "all": "a"})]
    found = {"boxes": [1], "scores": [2]}
    assert row_for(links, "b", {ROW: "jpeg", "a": found}) == {"image": "jpeg", "boxes": [1], "all": found}


def test_a_map_that_is_one_text_is_the_row_itself():
    assert row_for([Link("a"), Link("b", map="a.boxes")], "b", {"a": {"boxes": [1]}}) == [1]


@pytest.mark.parametrize(
    ("value", "problem"),
    [({"scores": 1}, "'a' returned no 'boxes'"), ([1], "'a' returned list, from which no 'boxes' can be taken")],
)
def test_a_part_that_is_not_there_is_named(value: object, problem: str):
    with pytest.raises(LookupError, match=problem):
        row_for([Link("a"), Link("b", map={"x": "a.boxes"})], "b", {"a": value})


def test_several_final_stages_give_a_dict_of_those_that_ran():
    plan = plan_of([Link("a"), Link("b", after=("a",)), Link("c", after=("a",))])
    assert plan.result(["row", 1, 2, 3]) == {"b": 2, "c": 3}
    assert plan.result(["row", 1, SKIPPED, 3]) == {"c": 3}
    assert plan.result(["row", 1, SKIPPED, SKIPPED]) == {}


def test_a_final_stage_that_was_skipped_gives_none():
    assert plan_of([Link("a")]).result(["row", SKIPPED]) is None


def test_a_circle_is_named_in_the_direction_of_the_rows():
    links = [Link("in"), Link("a", after=("in", "c")), Link("b", after=("a",)), Link("c", after=("b",))]
    assert "a → b → c → a: go in a circle" in error_of(*links)


def test_a_stage_after_itself_is_a_circle():
    assert "a → a: go in a circle" in error_of(Link("a", after=("a",)))


@pytest.mark.parametrize(
    ("links", "problem"),
    [
        ([], "there must be at least one"),
        ([Link("a"), Link("a")], "name=a: is the name of two stages"),
        ([Link("row")], "stands for the row"),
        ([Link("a b")], "must be a text without spaces"),
        ([Link("")], "must be a text"),
        ([Link(7)], "must be a text"),
        ([Link("decode"), Link("b", after=("decod",))], "b.after=decod: is no stage; did you mean 'decode'?"),
        ([Link("decode"), Link("b", map={"x": "decod.y"})], "b.map=decod.y: is no stage; did you mean 'decode'?"),
        ([Link("a"), Link("b", after=())], "b.after=: must name at least one stage"),
        ([Link("a"), Link("b", map={})], "b.map=: must name at least one stage"),
        ([Link("a"), Link("b", after=("a", "a"))], "names a stage twice"),
    ],
)
def test_links_that_cannot_be_followed_are_refused(links: list[Link], problem: str):
    assert problem in error_of(*links)


def test_next_says_after_which_a_stage_comes():
    after = after_of_next({"a": ("b", "c"), "b": ("d",), "c": ("d",), "d": ()}, {})
    assert after == {"a": (ROW,), "b": ("a",), "c": ("a",), "d": ("b", "c")}


def test_a_next_that_is_no_stage_is_refused():
    with pytest.raises(ConfigError, match=r"decode\.next=clasify: is no stage; did you mean 'classify'"):
        after_of_next({"decode": ("clasify",), "classify": ()}, {})


def test_a_stage_that_nothing_leads_to_is_refused():
    with pytest.raises(ConfigError, match="a, lonely: no 'next' leads to them"):
        after_of_next({"a": ("b",), "b": (), "lonely": ()}, {})


def test_a_stage_may_say_that_it_takes_the_row_beside_the_first():
    after = after_of_next({"a": ("b",), "b": (), "other": ("b",)}, {"other": (ROW,)})
    assert after == {"a": (ROW,), "b": ("a", "other"), "other": (ROW,)}


@any_graph
@given(acyclic_links())
def test_every_stage_is_there_once_after_all_that_it_takes(links: list[Link]):
    plan = plan_of(links)
    assert sorted(names(plan)) == sorted(link.name for link in links)
    for at, step in enumerate(plan.steps):
        assert step.slot == at + 1
        assert links[step.position].name == step.name
        assert all(slot < step.slot for slot in step.waits_for)
        assert {source.slot for source in step.sources} <= {0, *step.waits_for}
        assert all(step.slot in plan.steps[slot - 1].followers for slot in step.waits_for)
    assert {step.name for step in plan.finals} == {step.name for step in plan.steps if not step.followers}


@any_graph
@given(acyclic_links())
def test_a_drawing_shows_every_link_once(links: list[Link]):
    plan = plan_of(links)
    drawn = []
    for path in draw(plan, {name: name for name in names(plan)}).split("; "):
        stages = path.split(" → ")
        drawn += list(itertools.pairwise(stages))
    there = [(step.name, names(plan)[slot - 1]) for step in plan.steps for slot in step.followers]
    assert sorted(drawn) == sorted(there)


def test_a_drawing_writes_the_label_where_a_stage_is_met_first():
    labels = {"a": "a", "b": "b (batch 8)", "c": "c?", "d": "d (workers 2)"}
    assert draw(plan_of(DIAMOND), labels) == "a → b (batch 8) → d (workers 2); a → c? → d"
