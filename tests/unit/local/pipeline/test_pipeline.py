"""Pipelines as functions of a row."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any

import pytest
from models import HeldModel

import flambeau
from flambeau.errors import (
    CallTimedOut,
    ConfigError,
    ErrorKind,
    ModelClosed,
    QueueFull,
    ReentrantCall,
    StageFailed,
    WrongResults,
)
from flambeau.local.pipeline import Pipeline, Stage


def same(rows: list[Any]) -> list[Any]:
    return rows


def plus_one(rows: list[int]) -> list[int]:
    return [row + 1 for row in rows]


def times_ten(rows: list[int]) -> list[int]:
    return [row * 10 for row in rows]


def total(rows: list[dict[str, int]]) -> list[int]:
    return [sum(row.values()) for row in rows]


def inverse(rows: list[int]) -> list[float]:
    return [1 / row for row in rows]


def diamond(**of_the_join: Any) -> Pipeline:
    return Pipeline(
        [
            Stage("in", same),
            Stage("left", plus_one),
            Stage("right", times_ten, after="in"),
            Stage("join", total, after=("left", "right"), **of_the_join),
        ]
    )


def every_way(pipeline: Pipeline, row: Any) -> list[Any]:
    """The result of a call, of a call with terms, of a submitted row, of a coroutine's and of a mapped one."""
    return [
        pipeline(row),
        pipeline(row, timeout_s=60, priority=1),
        pipeline.submit(row).result(timeout=10),
        asyncio.run(pipeline.acall(row)),
        *pipeline.map([row]),
    ]


def test_stages_are_run_one_after_another():
    with Pipeline([Stage("a", plus_one), Stage("b", times_ten), Stage("c", plus_one)]) as pipeline:
        assert every_way(pipeline, 1) == [21] * 5


def test_branches_meet_in_a_join():
    with diamond() as pipeline:
        assert every_way(pipeline, 2) == [23] * 5


def test_a_stage_without_anything_to_run_hands_its_row_on():
    with Pipeline([Stage("a", plus_one), Stage("b", times_ten, after="row"), Stage("both", after=("a", "b"))]) as both:
        assert every_way(both, 1) == [{"a": 2, "b": 10}] * 5
    with Pipeline([Stage("nothing")]) as nothing:
        assert every_way(nothing, 1) == [1] * 5


def test_a_map_makes_the_row():
    stages = [Stage("a", same), Stage("b", same, map={"x": "a.left", "y": "row"}), Stage("c", same, map="b.x")]
    with Pipeline(stages) as pipeline:
        assert every_way(pipeline, {"left": 1, "right": 2}) == [1] * 5


def test_a_stage_whose_condition_is_false_is_skipped_and_so_is_what_needs_it_alone():
    stages = [
        Stage("in", same),
        Stage("large", times_ten, when=lambda row: row > 5),
        Stage("larger", times_ten),
        Stage("all", after=("in", "larger")),
    ]
    with Pipeline(stages) as pipeline:
        assert every_way(pipeline, 6) == [{"in": 6, "larger": 600}] * 5
        assert every_way(pipeline, 5) == [{"in": 5}] * 5


def test_a_last_stage_that_is_skipped_gives_none():
    with Pipeline([Stage("a", same, when=bool)]) as pipeline:
        assert every_way(pipeline, 0) == [None] * 5


def test_several_last_stages_give_a_dict():
    stages = [
        Stage("even", same, after="row", when=lambda row: row % 2 == 0),
        Stage("odd", same, after="row", when=lambda row: row % 2),
        Stage("any", same, after="row"),
    ]
    with Pipeline(stages) as pipeline:
        assert every_way(pipeline, 3) == [{"odd": 3, "any": 3}] * 5


def test_values_are_handed_on_as_they_are():
    row = object()
    with Pipeline([Stage("a", same), Stage("b", same)]) as pipeline:
        assert all(result is row for result in every_way(pipeline, row))


def test_a_loaded_model_and_a_pipeline_are_stages_too():
    with flambeau.load(plus_one) as model, Pipeline([Stage("a", model), Stage("b", model)]) as inner:
        with Pipeline([Stage("inner", inner), Stage("model", model)]) as outer:
            assert every_way(outer, 0) == [3] * 5
        assert model(0) == 1
        assert inner(0) == 2


def test_each_stage_batches_the_rows_of_all_callers():
    sizes = []

    def gather(rows: list[int]) -> list[int]:
        sizes.append(len(rows))
        return rows

    with Pipeline(
        [Stage("a", same), Stage("b", gather, batch_size=4, max_batch_delay_ms=30_000, batch_policy="fixed")]
    ) as pipeline:
        assert list(pipeline.map(range(8), window=8)) == list(range(8))
    assert sizes == [4, 4]


def test_a_long_chain_needs_no_deep_stack():
    class InstantModel(HeldModel):
        def submit(self, row: Any, *, timeout_s: float | None = None, priority: int = 0) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_result(row)
            return future

    with Pipeline([Stage(f"s{number}", InstantModel()) for number in range(1500)]) as pipeline:
        assert every_way(pipeline, 7) == [7] * 5


def test_a_row_goes_on_in_one_branch_while_the_other_is_held():
    slow, quick, behind = HeldModel("slow"), HeldModel("quick"), HeldModel("behind")
    stages = [Stage("slow", slow), Stage("quick", quick, after="row"), Stage("behind", behind)]
    with Pipeline(stages) as pipeline, ThreadPoolExecutor(1) as caller:
        answer = caller.submit(pipeline, "row")
        (_, held), (_, first) = slow.take(), quick.take()
        first.set_result("quick")
        row, second = behind.take()
        second.set_result("behind")
        assert row == "quick"
        assert not answer.done()
        held.set_result("slow")
        assert answer.result(timeout=10) == {"slow": "slow", "behind": "behind"}


def test_branches_that_take_no_time_are_not_handed_to_other_threads():
    threads = []

    def note(rows: list[Any]) -> list[Any]:
        threads.append(threading.get_ident())
        return rows

    stages = [Stage("a", note), Stage("b", note, after="row"), Stage("c", note, after="row"), Stage("d", note)]
    with Pipeline(stages) as pipeline:
        for member in pipeline._members:
            member.took(0.0)
        assert pipeline(1) == {"a": 1, "b": 1, "d": 1}
    assert threads == [threading.get_ident()] * 4


# --- errors ---------------------------------------------------------------------------------------------------------


def raised_by(call: Any) -> Exception:
    with pytest.raises(Exception) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("stages", [[Stage("in", same), Stage("div", inverse)], [Stage("div", inverse, timeout_s=60)]])
def test_an_error_names_its_stage_and_keeps_its_cause(stages: list[Stage]):
    with Pipeline(stages) as pipeline:
        for call in (pipeline, lambda row: pipeline.submit(row).result(timeout=10)):
            error = raised_by(lambda call=call: call(0))
            assert isinstance(error, StageFailed)
            assert (error.stage, error.row) == ("div", None)
            assert str(error) == "stage 'div': ZeroDivisionError: division by zero"
            assert isinstance(error.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("ordered", [True, False])
def test_an_error_in_a_map_names_its_row(ordered: bool):
    with Pipeline([Stage("in", same), Stage("div", inverse)]) as pipeline:
        results = list(pipeline.map([1, 2, 0, 4], ordered=ordered, return_exceptions=True))
    (error,) = [result for result in results if isinstance(result, Exception)]
    assert str(error) == "stage 'div', row 2: ZeroDivisionError: division by zero"
    assert sorted(result for result in results if result is not error) == [0.25, 0.5, 1.0]


def test_a_stage_that_returns_the_wrong_count_is_named():
    with Pipeline([Stage("in", same), Stage("short", lambda rows: rows[1:])]) as pipeline:
        error = raised_by(lambda: pipeline(1))
    assert isinstance(error, StageFailed)
    assert error.stage == "short"
    assert isinstance(error.__cause__, WrongResults)


def test_a_condition_that_raises_fails_the_row_and_names_its_stage():
    with Pipeline([Stage("in", same), Stage("if", same, when=lambda row: row["key"])]) as pipeline:
        error = raised_by(lambda: pipeline({}))
        assert pipeline({"key": True}) == {"key": True}
    assert str(error) == "stage 'if': its condition raised KeyError: 'key'"
    assert isinstance(error.__cause__, KeyError)


def test_a_part_that_a_stage_did_not_return_is_named():
    with Pipeline([Stage("in", same), Stage("take", same, map="in.boxes")]) as pipeline:
        assert str(raised_by(lambda: pipeline({}))) == "stage 'take': 'in' returned no 'boxes'"


def test_an_error_in_one_branch_fails_the_row_once_and_drops_the_others():
    left, right, join = HeldModel("left"), HeldModel("right"), HeldModel("join")
    stages = [Stage("left", left), Stage("right", right, after="row"), Stage("join", join, after=("left", "right"))]
    with Pipeline(stages) as pipeline:
        answer = pipeline.submit("row")
        (_, of_left), (_, of_right) = left.take(), right.take()
        of_right.set_running_or_notify_cancel()  # a worker has it: it cannot be taken back
        of_left.set_exception(ValueError("bad"))
        with pytest.raises(StageFailed, match="stage 'left': ValueError: bad"):
            answer.result(timeout=10)
        of_right.set_result("too late")
    assert join.is_untouched()


def test_an_error_in_one_branch_takes_back_what_has_not_begun_in_the_others():
    left, right = HeldModel("left"), HeldModel("right")
    with Pipeline([Stage("left", left), Stage("right", right, after="row")]) as pipeline:
        answer = pipeline.submit("row")
        left.take()[1].set_exception(ValueError("bad"))
        assert right.take()[1].cancelled()
        assert isinstance(answer.exception(timeout=10), StageFailed)


def test_a_failure_of_a_served_kind_keeps_its_kind():
    class Busy(flambeau.errors.ServingError):
        kind = ErrorKind.OUT_OF_MEMORY
        retry_after_s = 3

    def refuse(rows: list[Any]) -> list[Any]:
        raise Busy("no room")

    with Pipeline([Stage("a", refuse)]) as pipeline:
        error = raised_by(lambda: pipeline(1))
    assert isinstance(error, StageFailed)
    assert (error.kind, error.retry_after_s, str(error)) == (ErrorKind.OUT_OF_MEMORY, 3, "stage 'a': no room")


def test_errors_of_a_pipeline_within_a_pipeline_name_both_stages():
    with Pipeline([Stage("div", inverse)]) as inner, Pipeline([Stage("inner", inner)]) as outer:
        assert str(raised_by(lambda: outer(0))) == "stage 'inner': stage 'div': ZeroDivisionError: division by zero"


def test_a_full_queue_of_a_stage_reaches_the_caller_as_such():
    full = HeldModel("full", refusal=QueueFull("full", "1 job"))
    with Pipeline([Stage("in", same), Stage("full", full), Stage("out", same)]) as pipeline:
        assert isinstance(raised_by(lambda: pipeline(1)), QueueFull)
        assert isinstance(raised_by(lambda: pipeline.submit(1).result(timeout=10)), QueueFull)
    with Pipeline([Stage("full", full)]) as pipeline, pytest.raises(QueueFull):
        pipeline.submit(1)


def test_a_stage_that_calls_its_own_pipeline_is_told_so():
    pipelines: list[Pipeline] = []
    with Pipeline([Stage("in", same), Stage("again", lambda rows: [pipelines[0](row) for row in rows])]) as pipeline:
        pipelines.append(pipeline)
        assert isinstance(raised_by(lambda: pipeline(1)), ReentrantCall)


def test_an_interrupt_in_a_stage_is_no_failure_of_the_row():
    def interrupted(rows: list[Any]) -> list[Any]:
        raise KeyboardInterrupt

    right = HeldModel("right")
    with Pipeline([Stage("right", right), Stage("left", interrupted, after="row")]) as pipeline:
        with pytest.raises(KeyboardInterrupt):
            pipeline(1)
        assert right.take()[1].cancelled()


# --- time-outs and cancellation -------------------------------------------------------------------------------------


def test_a_timeout_is_for_all_stages_together():
    first, second = HeldModel("first"), HeldModel("second")
    with Pipeline([Stage("first", first), Stage("second", second)]) as pipeline:
        pipeline.submit("row", timeout_s=100, priority=7)
        first.answer()
        terms = second.answer()
    assert 0 < terms["timeout_s"] < 100
    assert terms["priority"] == 7


def test_a_stage_may_have_less_time_than_the_row():
    model = HeldModel()
    with Pipeline([Stage("a", model, timeout_s=2)]) as pipeline:
        pipeline.submit("row", timeout_s=100)
        assert model.answer()["timeout_s"] == 2
        pipeline.submit("row")
        assert model.answer()["timeout_s"] == 2


def test_a_row_whose_time_is_over_costs_the_next_stage_nothing():
    first, second = HeldModel("first"), HeldModel("second")
    with Pipeline([Stage("first", first), Stage("second", second)], name="both") as pipeline:
        answer = pipeline.submit("row", timeout_s=1e-9)
        with pytest.raises(CallTimedOut, match=r"both gave no answer within 1e-09 s"):
            answer.result(timeout=10)
    assert first.is_untouched()
    assert second.is_untouched()


def test_a_stages_own_timeout_is_told_from_that_of_the_pipeline():
    has_begun, release = threading.Event(), threading.Event()

    def hold(rows: list[Any]) -> list[Any]:
        has_begun.set()
        release.wait(10)
        return rows

    with flambeau.load(hold) as model, Pipeline([Stage("slow", model, timeout_s=0.02)], name="all") as pipeline:
        busy = model.submit("holds the worker")
        has_begun.wait(10)
        waiting = pipeline.submit("waits")
        with pytest.raises(CallTimedOut, match=r"stage 'slow' gave no answer within 0\.02 s"):
            waiting.result(timeout=10)
        late = pipeline.submit("waits", timeout_s=0.01)
        with pytest.raises(CallTimedOut, match=r"all gave no answer within 0\.01 s"):
            late.result(timeout=10)
        release.set()
        assert busy.result(timeout=10) == "holds the worker"


def test_a_caller_does_not_wait_for_branches_beyond_its_time():
    left, right = HeldModel("left"), HeldModel("right")
    with Pipeline(
        [Stage("left", left), Stage("right", right, after="row"), Stage("in", same, after="row")]
    ) as pipeline:
        with pytest.raises(CallTimedOut, match=r"pipeline gave no answer within 0\.3 s"):
            pipeline("row", timeout_s=0.3)
        assert left.take()[1].cancelled()
        assert right.take()[1].cancelled()


def test_cancelling_takes_the_row_back_from_the_stage_that_has_it():
    first, second = HeldModel("first"), HeldModel("second")
    with Pipeline([Stage("first", first), Stage("second", second)]) as pipeline:
        answer = pipeline.submit("row")
        first.take()[1].set_result("value")
        _, future = second.take()
        assert answer.cancel()
        assert future.cancelled()
        with pytest.raises(CancelledError):
            answer.result(timeout=10)


def test_a_row_that_was_cancelled_goes_no_further():
    first, second = HeldModel("first"), HeldModel("second")
    with Pipeline([Stage("first", first), Stage("second", second)]) as pipeline:
        answer = pipeline.submit("row")
        _, future = first.take()
        future.set_running_or_notify_cancel()
        assert answer.cancel()
        future.set_result("value")
    assert second.is_untouched()


def test_a_coroutine_that_is_cancelled_takes_its_row_back():
    model = HeldModel()

    async def call_and_leave() -> None:
        task = asyncio.ensure_future(pipeline.acall("row"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with Pipeline([Stage("a", model)]) as pipeline:
        asyncio.run(call_and_leave())
        assert model.take()[1].cancelled()


def test_a_stage_that_gives_a_row_up_fails_it():
    model = HeldModel()
    with Pipeline([Stage("a", model)]) as pipeline:
        answer = pipeline.submit("row")
        model.take()[1].cancel()
        with pytest.raises(StageFailed, match="stage 'a': CancelledError: its call was cancelled"):
            answer.result(timeout=10)


# --- closing --------------------------------------------------------------------------------------------------------


def test_closing_closes_what_the_pipeline_loaded_and_nothing_else():
    model = HeldModel()
    pipeline = Pipeline([Stage("own", same), Stage("given", model)])
    assert pipeline.close()
    assert pipeline.close()
    assert not model.is_closed
    for call in (pipeline, pipeline.submit):
        with pytest.raises(ModelClosed, match="pipeline is closed"):
            call(1)


def test_closing_answers_rows_that_are_between_stages():
    first, begun = HeldModel("first"), threading.Event()
    pipeline = Pipeline([Stage("first", first), Stage("second", plus_one), Stage("third", plus_one)])
    answer = pipeline.submit(0)
    _, future = first.take()

    def close() -> bool:
        begun.set()
        return pipeline.close()

    with ThreadPoolExecutor(1) as other:
        closing = other.submit(close)
        begun.wait(10)
        future.set_result(1)
        assert closing.result(timeout=10)
    assert answer.result(timeout=10) == 3


def test_closing_gives_up_when_its_time_is_over():
    model = HeldModel()
    pipeline = Pipeline([Stage("given", model), Stage("own", same)])
    answer = pipeline.submit(1)
    assert not pipeline.close(timeout_s=0.01)
    model.take()[1].set_result(2)
    assert isinstance(answer.exception(timeout=10), ModelClosed)


def test_stages_that_were_loaded_are_closed_when_a_later_one_cannot_be():
    models = []

    class Loaded:
        def __init__(self) -> None:
            models.append(self)

        def __call__(self, rows: list[Any]) -> list[Any]:
            return rows

    class Broken:
        def __init__(self) -> None:
            raise OSError("no such weights")

        __call__ = same

    before = threading.active_count()
    with pytest.raises(OSError, match="no such weights"):
        Pipeline([Stage("a", Loaded), Stage("b", Broken)])
    assert len(models) == 1
    assert threading.active_count() == before


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stages", "problem"),
    [
        ([], "there must be at least one"),
        (["decode"], "is not a flambeau.Stage"),
        ([Stage("a", same), Stage("a", same)], "is the name of two stages"),
        ([Stage("a", same, after="b"), Stage("b", same, after="a")], "go in a circle"),
        ([Stage("a", workers=2)], "a.workers=2: the stage runs nothing"),
        ([Stage("a", HeldModel(), batch_size=2)], "a.batch_size=2: the stage is loaded already"),
        ([Stage("a", same, batch_size=0)], "a.batch_size=0: must be at least 1"),
        ([Stage("a", 7)], "a.source=int: is not a function"),
    ],
)
def test_stages_that_cannot_be_run_are_refused(stages: list[Any], problem: str):
    assert problem in str(raised_by(lambda: Pipeline(stages)))


@pytest.mark.parametrize(
    "settings",
    [
        {"after": 7},
        {"after": [7]},
        {"map": 7},
        {"map": {"x": 7}},
        {"when": "x > 1"},
        {"timeout_s": 0},
        {"timeout_s": True},
    ],
)
def test_a_stage_with_a_setting_of_the_wrong_type_is_refused(settings: dict[str, Any]):
    with pytest.raises(ConfigError, match=rf"a\.{next(iter(settings))}="):
        Stage("a", same, **settings)


# --- what can be seen -----------------------------------------------------------------------------------------------


def test_a_pipeline_draws_itself():
    with diamond(when=bool, batch_size=8, workers=2) as pipeline:
        assert repr(pipeline) == ("<Pipeline 'pipeline': in → left → join? (workers 2, batch 8); in → right → join>")


def test_describe_says_where_the_time_goes():
    with Pipeline([Stage("in", same), Stage("join", total, map={"x": "in"}, when=bool)]) as pipeline:
        assert pipeline.describe()["slowestStage"] is None
        pipeline(1)
        pipeline(2, timeout_s=60)
        pipeline.submit(3).result(timeout=10)
        described = json.loads(json.dumps(pipeline.describe()))
    assert described["graph"] == "in → join?"
    assert described["slowestStage"] in ("in", "join")
    first, second = described["stages"]
    assert (first["name"], first["after"], first["map"], first["isConditional"]) == ("in", ["row"], None, False)
    assert (second["name"], second["after"], second["map"], second["isConditional"]) == (
        "join",
        ["in"],
        {"x": "in"},
        True,
    )
    assert first["meanTimeMs"] > 0
    assert first["model"]["batching"]["rows"] == 3


def test_many_threads_get_their_own_answers_whatever_fails():
    def picky(rows: list[int]) -> list[Any]:
        return [ValueError(row) if row % 7 == 0 else row for row in rows]

    stages = [
        Stage("in", same, workers=2, batch_size=4),
        Stage("left", picky, batch_size=4),
        Stage("right", times_ten, after="in", workers=2),
        Stage("odd", plus_one, after="in", when=lambda row: row % 2),
        Stage("join", total, after=("left", "right", "odd"), batch_size=8),
    ]

    def expected(row: int) -> Any:
        return "failed" if row % 7 == 0 else row + row * 10 + (row + 1 if row % 2 else 0)

    def call(first: int) -> Counter[bool]:
        seen: Counter[bool] = Counter()
        for row in range(first, first + 200):
            try:
                result = pipeline(row) if row % 3 else pipeline.submit(row).result(timeout=30)
            except StageFailed as error:
                result = "failed" if error.stage == "left" else error
            seen[result == expected(row)] += 1
        return seen

    with Pipeline(stages) as pipeline:
        with ThreadPoolExecutor(16) as threads:
            seen = sum(threads.map(call, range(1, 1000, 62)), Counter())
        assert pipeline.close(timeout_s=30)
    assert seen == {True: 17 * 200}
