import asyncio
import gc
import threading
import weakref

import pytest

import flambeau
from flambeau.errors import CallTimedOut, ModelClosed, QueueFull, ReentrantCall
from flambeau.local import LocalCallable, LocalModel
from tests.unit.local.engines import LIMIT_S, Held, calls, wait_for


def double(rows):
    return [row * 2 for row in rows]


# --- ways to call ----------------------------------------------------------------------------------------------------


def test_all_ways_to_call_give_the_same():
    async def coroutine(model):
        return await model.acall(4)

    with flambeau.load(double) as model:
        assert isinstance(model, LocalModel)
        assert isinstance(model, LocalCallable)
        assert model(4) == 8
        assert model.submit(4).result(LIMIT_S) == 8
        assert asyncio.run(coroutine(model)) == 8
        assert list(model.map([4])) == [8]
        assert list(model.stream(4)) == [8]


def test_coroutines_are_batched():
    held = Held()

    async def main(model):
        first = asyncio.ensure_future(model.acall(0))
        await asyncio.to_thread(held.wait_until_begun)
        others = [asyncio.ensure_future(model.acall(row)) for row in range(1, 5)]
        await asyncio.sleep(0)
        held.let_go(2)
        return await asyncio.gather(first, *others)

    with flambeau.load(held, batch_size=4) as model:
        assert asyncio.run(main(model)) == [0, 2, 4, 6, 8]
    assert held.batches == [[0], [1, 2, 3, 4]]


def test_a_coroutine_that_is_cancelled_takes_its_row_back():
    held = Held()

    async def main(model):
        first = asyncio.ensure_future(model.acall(1))
        await asyncio.to_thread(held.wait_until_begun)
        cancelled = asyncio.ensure_future(model.acall(2))
        await asyncio.sleep(0)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(model.acall(3), 0.01)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        depth = model.describe()["queue"]["depth"]
        held.let_go()
        return await first, depth

    with flambeau.load(held) as model:
        assert asyncio.run(main(model)) == (2, 0)
    assert held.batches == [[1]]


def test_what_the_handler_raises_reaches_coroutines_and_futures():
    def fail(rows):
        raise LookupError("none")

    async def main(model):
        await model.acall(1)

    with flambeau.load(fail) as model:
        with pytest.raises(LookupError, match="none"):
            asyncio.run(main(model))
        with pytest.raises(LookupError, match="none"):
            model.submit(1).result(LIMIT_S)
        with pytest.raises(LookupError, match="none"):
            list(model.stream(1))


def test_timeouts_and_priorities_hold_for_all_ways_to_call():
    held = Held()

    async def late(model):
        await model.acall("acall", timeout_s=0.01)

    with flambeau.load(held) as model, calls() as started:
        started.start("first", lambda: model("first"))
        held.wait_until_begun()
        with pytest.raises(CallTimedOut):
            model("call", timeout_s=0.01)
        with pytest.raises(CallTimedOut):
            model.submit("submit", timeout_s=0.01).result(LIMIT_S)
        with pytest.raises(CallTimedOut):
            asyncio.run(late(model))
        with pytest.raises(CallTimedOut):
            list(model.stream("stream", timeout_s=0.01))
        with pytest.raises(CallTimedOut):
            list(model.map(["map"], timeout_s=0.01))
        low = model.submit("low")
        started.start("high", lambda: model("high", priority=1))
        wait_for(lambda: model.describe()["queue"]["depth"] == 2)
        stream = model.stream("highest", priority=2)
        held.let_go(4)
        assert list(stream) == ["highesthighest"]
        assert low.result(LIMIT_S) == "lowlow"
    assert held.batches == [["first"], ["highest"], ["high"], ["low"]]


def test_the_queues_limit_holds_for_all_ways_to_call():
    held = Held()

    async def main(model):
        await model.acall(3)

    with flambeau.load(held, queue_size=1) as model:
        first = model.submit(1)
        held.wait_until_begun()
        second = model.submit(2)
        for use in (model, model.submit, model.stream, lambda row: asyncio.run(main(model))):
            with pytest.raises(QueueFull):
                use(3)
        held.let_go(2)
        assert [first.result(LIMIT_S), second.result(LIMIT_S)] == [2, 4]


def test_one_models_handler_may_call_another_model():
    with flambeau.load(double) as inner, flambeau.load(lambda rows: [inner(row) for row in rows]) as outer:
        assert outer(3) == 6
        assert outer.submit(3).result(LIMIT_S) == 6


def test_a_size_function_decides_how_many_rows_make_a_batch():
    held = Held()
    with flambeau.load(held, batch_size=100, size_of=len) as model:
        futures = [model.submit("a")]
        held.wait_until_begun()
        futures += [model.submit("b" * size) for size in (60, 60, 40, 500)]
        held.let_go(4)
        assert [len(future.result(LIMIT_S)) for future in futures] == [2, 120, 120, 80, 1000]
    assert [[len(row) for row in batch] for batch in held.batches] == [[1], [60], [60, 40], [500]]


# --- views -----------------------------------------------------------------------------------------------------------


def test_a_model_says_what_it_is():
    with flambeau.load(double, batch_size=4, workers=2, max_batch_delay_ms=1.5, queue_size=9) as model:
        assert repr(model) == (
            "<LocalModel double: source='double', workers=2, kind='thread', batchSize=4, maxBatchDelayMs=1.5, "
            "batchPolicy='adaptive', device='cpu'>"
        )
        model(1)
        described = model.describe()
        assert described["modelName"] == "double"
        assert described["queue"] == {"depth": 0, "limit": 9}
        assert sum(worker["rows"] for worker in described["workers"]) == 1
        assert set(described["batching"]) == {"batches", "rows", "meanBatchSize", "meanBatchMs", "fixedCostMs"}


def test_a_description_is_of_values_that_json_can_say():
    import json

    with flambeau.load(double) as model:
        model(1)
        assert json.loads(json.dumps(model.describe())) == model.describe()


# --- the end ---------------------------------------------------------------------------------------------------------


def test_calls_after_close_are_refused_whichever_way():
    async def main(model):
        await model.acall(1)

    model = flambeau.load(double)
    assert model.close()
    assert model.close()
    for use in (
        model,
        model.submit,
        model.stream,
        lambda row: asyncio.run(main(model)),
        lambda row: list(model.map([row])),
    ):
        with pytest.raises(ModelClosed, match="model 'double' is closed"):
            use(1)
    assert model.describe()["modelName"] == "double"
    assert "double" in repr(model)


def test_a_context_manager_closes_and_answers_what_was_accepted():
    held = Held()
    with flambeau.load(held) as model:
        futures = [model.submit(row) for row in range(3)]
        held.let_go(3)
    assert [future.result(0) for future in futures] == [0, 2, 4]
    with pytest.raises(ModelClosed):
        model(1)


def test_a_context_manager_closes_when_its_block_fails():
    with pytest.raises(ZeroDivisionError), flambeau.load(double) as model:
        raise ZeroDivisionError
    with pytest.raises(ModelClosed):
        model(1)


def test_a_handler_that_closes_or_calls_its_own_model_is_told_so():
    def run(rows):
        return [model.close() if row == "close" else model(row) for row in rows]

    model = flambeau.load(run, name="own")
    for row in ("close", "call"):
        with pytest.raises(ReentrantCall, match="model 'own' was called from inside its own handler"):
            model(row)
        with pytest.raises(ReentrantCall):
            model.submit(row).result(LIMIT_S)
    assert model.close(LIMIT_S)


def test_a_model_that_is_dropped_finishes_what_it_has_and_leaves_no_thread():
    before = set(threading.enumerate())
    held = Held()
    model = flambeau.load(held, batch_size=2, workers=2)
    futures = [model.submit(row) for row in range(6)]
    dropped = weakref.ref(model)
    del model
    assert dropped() is None
    held.let_go(6)
    assert [future.result(LIMIT_S) for future in futures] == [0, 2, 4, 6, 8, 10]

    def left():
        return [thread.name for thread in set(threading.enumerate()) - before if thread.name != "flambeau-timekeeper"]

    wait_for(lambda: not left())


def test_a_model_that_is_called_and_dropped_at_once_answers():
    assert flambeau.load(double)(4) == 8
    assert flambeau.load(double).submit(4).result(LIMIT_S) == 8
    assert list(flambeau.load(double).stream(4)) == [8]
    assert list(flambeau.load(double).map([4, 5])) == [8, 10]


def test_a_model_in_a_cycle_may_be_collected_by_a_thread_that_has_its_engines_lock():
    model = flambeau.load(double)
    engine = model._engine
    stream = model.stream(1)
    model.own = [model, stream, model.submit(2)]
    del model, stream
    with engine._mutex:
        gc.collect()
    wait_for(lambda: engine._all_back.is_set())


def test_the_handler_goes_with_its_model():
    class Handler:
        def __call__(self, rows):
            return rows

    handler = Handler()
    kept = weakref.ref(handler)
    model = flambeau.load(handler)
    del handler
    assert model(1) == 1
    model.submit(2).result(LIMIT_S)
    model.close()
    wait_for(lambda: kept() is None)
