"""One row's way through a plan."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from graphs import acyclic_links, any_graph
from hypothesis import given
from hypothesis import strategies as st

from flambeau.local.pipeline.graph import ROW, Link, plan_of
from flambeau.local.pipeline.progress import Progress, StageRefused


def reference(links: list[Link], skipped: set[str]) -> tuple[dict[str, Any], Any]:
    """The row of every stage that runs, and the result, by asking each stage for its inputs again and again.

    A stage's value is its name and its row.
    """
    by_name = {link.name: link for link in links}
    nothing = object()

    @functools.cache
    def value(name: str) -> Any:
        if name == ROW:
            return "the row"
        row = row_of(by_name[name])
        return nothing if row is nothing or name in skipped else (name, row)

    def row_of(link: Link) -> Any:
        if isinstance(link.map, str):
            return value(link.map)
        if link.map is None and link.after is not None and len(link.after) == 1:
            return value(link.after[0])
        taken = {name: name for name in link.after or ()} if link.map is None else link.map
        row = {field: value(name) for field, name in taken.items() if value(name) is not nothing}
        return row or nothing

    named = {name for link in links for name in (*(link.after or ()), *link.targets)}
    finals = {link.name: value(link.name) for link in links if link.name not in named}
    ran = {link.name: row_of(link) for link in links if value(link.name) is not nothing}
    if len(finals) == 1:
        (result,) = finals.values()
        return ran, None if result is nothing else result
    return ran, {name: result for name, result in finals.items() if result is not nothing}


@any_graph
@given(acyclic_links(), st.data())
def test_every_stage_runs_once_after_its_inputs_whatever_is_skipped_and_whoever_is_first(
    links: list[Link], data: st.DataObject
):
    plan = plan_of(links)
    skipped = {link.name for link in links if data.draw(st.booleans(), label=f"skip {link.name}")}
    conditions = [(lambda _: False) if step.name in skipped else None for step in plan.steps]
    progress = Progress(plan, conditions, "the row")
    due = progress.begin()
    ran = {}
    while due:
        step, row = due.pop(data.draw(st.integers(0, len(due) - 1), label="next"))
        assert step.name not in ran
        assert not progress.is_complete
        ran[step.name] = row
        due += progress.arrive(step, (step.name, row))
    assert progress.is_complete
    assert (ran, progress.result()) == reference(links, skipped)


def test_a_condition_sees_the_row_that_its_stage_would_be_given():
    seen = []
    plan = plan_of([Link("a"), Link("b"), Link("c", after=("a", "b"))])
    progress = Progress(plan, [None, None, seen.append], "the row")
    due = progress.begin()
    for value in (1, 2):
        ((step, _),) = due
        due = progress.arrive(step, value)
    assert seen == [{"a": 1, "b": 2}]


def test_a_condition_that_raises_names_its_stage():
    plan = plan_of([Link("a"), Link("b")])
    progress = Progress(plan, [None, lambda row: row["text"]], "the row")
    ((step, _),) = progress.begin()
    with pytest.raises(StageRefused, match="its condition raised KeyError: 'text'") as caught:
        progress.arrive(step, {})
    assert caught.value.step.name == "b"


def test_a_part_that_is_not_there_is_the_fault_of_the_stage_that_takes_it():
    plan = plan_of([Link("a"), Link("b", map="a.boxes")])
    progress = Progress(plan, [None, None], "the row")
    ((step, _),) = progress.begin()
    with pytest.raises(StageRefused, match="'a' returned no 'boxes'") as caught:
        progress.arrive(step, {})
    assert caught.value.step.name == "b"
