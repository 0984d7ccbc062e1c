"""Local models whose batches run in worker processes: real processes, real memory."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from concurrent.futures import wait as wait_for_futures
from pathlib import Path

import local_functions as functions
import numpy as np
import psutil
import pytest

from flambeau.config.model import BatchingConfig, BatchPolicy, ModelConfig
from flambeau.errors import (
    CallTimedOut,
    ConfigError,
    HandlerFailed,
    ModelClosed,
    QueueFull,
    ReentrantCall,
    StartFailed,
    WorkerDied,
)
from flambeau.local.background import background
from flambeau.local.payload import RemoteTraceback
from flambeau.local.processes import SLOT_BYTES, ProcessEngine
from flambeau.local.rows import Fields
from tests.serving import write_model

TIMEOUT_S = 60.0
LARGE = 100_000
"""Numbers in an array that goes through shared memory."""


@pytest.fixture
def start() -> Iterator:
    engines = []

    def start(source, *, workers=1, batch_size=1, delay_s=0.0, fixed=False, config=None, **options) -> ProcessEngine:
        policy = BatchPolicy.FIXED if fixed else BatchPolicy.ADAPTIVE
        batching = BatchingConfig(batch_size=batch_size, max_batch_delay_s=delay_s, policy=policy)
        settings = ModelConfig(batching=batching, **(config or {}))
        engines.append(ProcessEngine("model 'm'", source, settings, workers=workers, model="m", **options))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close(0.0)


def call(engine, row, timeout_s=TIMEOUT_S, priority=0):
    return engine.call(row, timeout_s, priority)


def submit(engine, row, timeout_s=None, priority=0):
    return engine.submit(row, timeout_s, priority)


def occupy(engine, gate):
    """A row that its worker has, and keeps until ``gate`` is there."""
    future = submit(engine, gate)
    functions.wait_for(gate.with_name("taken"))
    return future


def pids(engine) -> list[int]:
    return [worker["pid"] for worker in engine.describe()["workers"]]


def wait_gone(process_ids) -> None:
    for pid in process_ids:
        try:
            psutil.Process(pid).wait(TIMEOUT_S)
        except psutil.NoSuchProcess:
            pass


def run_script(tmp_path: Path, text: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(text))
    return subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=TIMEOUT_S)


@pytest.fixture(scope="module")
def echo() -> Iterator[ProcessEngine]:
    engine = ProcessEngine("model 'echo'", functions.echo, ModelConfig(), workers=1)
    yield engine
    assert engine.close(None)


# --- values ----------------------------------------------------------------------------------------------------------


def test_values_arrive_as_what_they_are_and_come_back_as_what_they_are(echo):
    for value in (None, 7, 2.5, "text", b"", b"x" * LARGE, [1, {"a": (2, None)}], {"b": b"y" * LARGE}, Path("/x")):
        assert call(echo, value) == value
    row = Fields(image=b"z" * LARGE, top=3)
    again = call(echo, row)
    assert again == row
    assert type(again) is Fields


def test_the_handler_sees_types_as_they_were(start):
    engine = start(functions.types)
    rows = [b"x", b"x" * LARGE, bytearray(5), np.zeros(LARGE), {}, Fields()]
    assert [call(engine, row) for row in rows] == ["bytes", "bytes", "bytearray", "ndarray", "dict", "Fields"]


def test_arrays_are_seen_where_the_caller_put_them_and_aligned(start):
    engine = start(functions.describe_arrays)
    assert call(engine, np.ones(LARGE)) == (False, 0, float(LARGE))


def test_results_are_seen_where_the_worker_put_them_and_do_not_change_while_they_are_in_use(start):
    engine = start(functions.filled)
    results = [call(engine, (number, LARGE)) for number in range(20)]
    assert not results[0].flags.owndata
    assert results[0].ctypes.data % 64 == 0
    for number, result in enumerate(results):
        assert result.shape == (LARGE,)
        assert (result == number).all()
    engine.close(None)
    assert [float(result[-1]) for result in results] == list(range(20))


def test_what_is_larger_than_the_shared_memory_goes_through_the_socket(echo):
    array = np.arange(SLOT_BYTES // 8 + 1)
    assert np.array_equal(call(echo, array), array)


def test_what_does_not_pickle_is_refused_where_it_is_called(echo):
    with pytest.raises((TypeError, AttributeError)):
        call(echo, lambda: None)
    assert call(echo, 1) == 1


def test_every_thread_gets_its_own_answers(start):
    engine = start(functions.echo, workers=2, batch_size=8)
    wrong = []

    def ask(thread):
        wrong.extend((thread, n) for n in range(200) if call(engine, (thread, n)) != (thread, n))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert wrong == []
    assert engine.describe()["batching"]["rows"] == 12 * 200


def test_a_class_is_made_once_in_the_worker(start):
    engine = start(functions.Adder, warm_up=[10])
    assert [call(engine, 1), call(engine, 2)] == [11, 13]


def test_a_model_folder_runs_as_on_the_server(start, tmp_path):
    source = (
        "def handle(data, context): return data and [sorted((k, type(v).__name__) for k, v in r.items()) for r in data]"
    )
    engine = start(write_model(tmp_path, source=source), handler="handler.py:handle")
    assert call(engine, b"x") == [("body", "bytes")]
    assert call(engine, {"a": 1}) == [("body", "dict")]
    assert call(engine, Fields(a=1, b="x")) == [("a", "int"), ("b", "str")]


# --- errors ----------------------------------------------------------------------------------------------------------


def test_an_error_comes_back_as_it_was_raised_and_costs_its_own_row_alone(start, tmp_path):
    engine = start(functions.failing, batch_size=8, delay_s=TIMEOUT_S, fixed=True)
    rows = ["a", "raise", "b", "return", "c", "d", "e", "f"]
    futures = [submit(engine, row) for row in rows]
    wait_for_futures(futures, TIMEOUT_S)
    raised = futures[1].exception()
    assert type(raised) is functions.OwnError
    assert (str(raised), raised.row) == ("0: bad batch", 0)
    assert isinstance(raised.__cause__, RemoteTraceback)
    assert "in failing" in str(raised.__cause__)
    assert type(futures[3].exception()) is ValueError
    assert [future.result() for index, future in enumerate(futures) if index not in (1, 3)] == list("abcdef")


def test_without_isolation_a_batch_fails_as_one(start):
    engine = start(functions.failing, batch_size=2, delay_s=TIMEOUT_S, fixed=True, config={"isolate_failures": False})
    futures = [submit(engine, row) for row in ("a", "raise")]
    assert [str(future.exception(TIMEOUT_S)) for future in futures] == ["1: bad batch"] * 2


def test_a_result_that_does_not_pickle_is_its_rows_error(start):
    engine = start(functions.unpicklable)
    with pytest.raises(Exception, match=r"[Pp]ickle"):
        call(engine, True)
    assert call(engine, False) is False


def test_an_error_of_a_class_that_the_model_alone_knows_is_told_in_words(start, tmp_path):
    source = """
class Mine(Exception): pass
def handle(data, context):
    if data: raise Mine("only here")
"""
    engine = start(write_model(tmp_path, source=source), handler="handler.py:handle")
    with pytest.raises(HandlerFailed, match="Mine: only here"):
        call(engine, 1)


def test_a_model_that_does_not_load_says_why_and_what_it_wrote(start):
    with pytest.raises(StartFailed) as failure:
        start(functions.Unloadable)
    assert "no weights" in str(failure.value)
    assert "about to fail" in str(failure.value)


def test_a_warm_up_row_that_fails_is_a_failed_load(start):
    with pytest.raises(StartFailed, match="bad row"):
        start(functions.failing, warm_up=["return"])


@pytest.mark.parametrize("source", [lambda rows: rows, threading.Lock()], ids=["lambda", "lock"])
def test_what_cannot_be_sent_to_a_worker_is_refused_with_advice(start, source):
    if "cloudpickle" in sys.modules:
        pytest.skip("cloudpickle sends it")
    with pytest.raises(ConfigError, match="top level of a module"):
        start(source)


def test_a_row_that_kills_its_worker_fails_alone_and_the_worker_comes_back(start):
    engine = start(functions.deadly, batch_size=3, delay_s=TIMEOUT_S, fixed=True)
    (before,) = pids(engine)
    futures = [submit(engine, row) for row in ("a", "exit", "b")]
    assert isinstance(futures[1].exception(TIMEOUT_S), WorkerDied)
    assert {futures[0].result(TIMEOUT_S), futures[2].result(TIMEOUT_S)}.isdisjoint({before})


# --- time and turns --------------------------------------------------------------------------------------------------


def test_a_call_whose_time_is_over_is_given_up_and_one_that_waits_costs_no_work(start, tmp_path):
    engine = start(functions.numbered)
    gate = tmp_path / "gate"
    with pytest.raises(CallTimedOut, match=r"0\.05 s"):
        call(engine, gate, timeout_s=0.05)
    with pytest.raises(CallTimedOut):
        call(engine, "blocking", timeout_s=0.01)
    assert isinstance(submit(engine, "future", timeout_s=0.01).exception(TIMEOUT_S), CallTimedOut)
    gate.touch()
    assert call(engine, "next") == (1, 1)


def test_an_infinite_time_out_is_none(echo):
    assert call(echo, 1, timeout_s=float("inf")) == 1
    assert submit(echo, 2, timeout_s=float("inf")).result(TIMEOUT_S) == 2


def test_a_row_can_be_cancelled_until_a_worker_has_it(start, tmp_path):
    engine = start(functions.numbered)
    gate = tmp_path / "gate"
    taken = occupy(engine, gate)
    waiting, last = submit(engine, "cancelled"), submit(engine, "last")
    assert not taken.cancel()
    assert waiting.cancel()
    with pytest.raises(CancelledError):
        waiting.result(TIMEOUT_S)
    gate.touch()
    assert taken.result(TIMEOUT_S) == (0, 1)
    assert last.result(TIMEOUT_S) == (1, 1)


def test_rows_of_greater_priority_are_taken_first(start, tmp_path):
    engine = start(functions.numbered)
    gate = tmp_path / "gate"
    first = occupy(engine, gate)
    waiting = {priority: submit(engine, "row", priority=priority) for priority in (0, 2, -1, 1)}
    gate.touch()
    assert first.result(TIMEOUT_S) == (0, 1)
    assert {priority: future.result(TIMEOUT_S)[0] for priority, future in waiting.items()} == {2: 1, 1: 2, 0: 3, -1: 4}


def test_rows_count_toward_the_batch_what_the_size_function_says(start, tmp_path):
    engine = start(functions.numbered, batch_size=10, size_of=lambda row: len(row) if isinstance(row, str) else 10)
    gate = tmp_path / "gate"
    first = occupy(engine, gate)
    waiting = [submit(engine, "x" * size) for size in (4, 6, 3, 30, 1)]
    gate.touch()
    assert first.result(TIMEOUT_S) == (0, 1)
    assert [future.result(TIMEOUT_S)[1] for future in waiting] == [2, 2, 1, 1, 1]


def test_a_queue_at_its_limit_refuses(start, tmp_path):
    engine = start(functions.numbered, config={"queue_jobs": 2})
    gate = tmp_path / "gate"
    accepted = [occupy(engine, gate), submit(engine, 1), submit(engine, 2)]
    for use in (call, submit):
        with pytest.raises(QueueFull, match="2 calls"):
            use(engine, 3)
    assert engine.describe()["queue"] == {"remainingCapacity": 0, "pendingRequests": 2}
    gate.touch()
    assert [future.result(TIMEOUT_S) for future in accepted] == [(0, 1), (1, 1), (2, 1)]


def test_a_caller_that_is_interrupted_takes_its_row_back(start, tmp_path):
    engine = start(functions.interrupting)
    gate = tmp_path / "gate"
    with pytest.raises(KeyboardInterrupt):
        call(engine, (os.getpid(), gate))
    gate.touch()
    engine.close(None)


def test_a_call_from_a_futures_own_call_back_is_refused_instead_of_waiting_for_itself(echo):
    outcomes = []
    called = threading.Event()

    def call_again(future):
        try:
            call(echo, 2)
        except ReentrantCall as error:
            outcomes.append(error)
        called.set()

    submit(echo, 1).add_done_callback(call_again)
    assert called.wait(TIMEOUT_S)
    assert len(outcomes) == 1


def test_a_generators_parts_are_a_stream_or_a_list(start):
    engine = start(functions.counting_down)
    parts = engine.stream(2, TIMEOUT_S, 0)
    assert [next(parts), next(parts)] == [2, 1]
    with pytest.raises(KeyError, match="zero"):
        next(parts)
    with pytest.raises(KeyError, match="zero"):
        call(engine, 2)
    with pytest.raises(ValueError, match="negative"):
        list(engine.stream(-1, TIMEOUT_S, 0))


# --- the end ---------------------------------------------------------------------------------------------------------


def test_closing_answers_what_was_accepted_and_ends_the_workers(start):
    engine = start(functions.echo, workers=2)
    workers = pids(engine)
    futures = [submit(engine, number) for number in range(100)]
    assert engine.close(None)
    assert [future.result(0) for future in futures] == list(range(100))
    wait_gone(workers)
    assert engine.close(None)
    for use in (call, submit):
        with pytest.raises(ModelClosed):
            use(engine, 1)


def test_closing_in_a_hurry_tells_those_that_wait(start, tmp_path):
    engine = start(functions.numbered)
    futures = [occupy(engine, tmp_path / "never"), submit(engine, 1), submit(engine, 2)]
    assert not engine.close(0.0)
    assert [type(future.exception(TIMEOUT_S)) for future in futures] == [ModelClosed] * 3


def test_a_close_that_is_interrupted_ends_the_workers_all_the_same(start, tmp_path, monkeypatch):
    engine = start(functions.numbered)
    workers = pids(engine)
    future = occupy(engine, tmp_path / "never")

    def interrupted(coroutine):
        coroutine.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(background(), "wait_for", interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.close(None)
    assert type(future.exception(TIMEOUT_S)) is ModelClosed
    wait_gone(workers)


def test_a_model_that_is_dropped_leaves_no_workers(start):
    engine = ProcessEngine("model 'm'", functions.echo, ModelConfig(), workers=1)
    workers = pids(engine)
    del engine
    gc.collect()
    wait_gone(workers)


def test_workers_and_folders_are_gone_when_the_program_is(tmp_path):
    finished = run_script(
        tmp_path,
        """
        import tempfile
        tempfile.tempdir = __file__.rpartition("/")[0]
        from flambeau.config.model import ModelConfig
        from flambeau.local.processes import ProcessEngine

        def slowly(rows):
            import time
            time.sleep(0.2)
            print("answered", rows[0], flush=True)
            return rows

        if __name__ == "__main__":
            engine = ProcessEngine("model 'm'", slowly, ModelConfig(), workers=1)
            print(engine.describe()["workers"][0]["pid"], flush=True)
            engine.submit(1, None, 0)
            engine.submit(2, None, 0)
        """,
    )
    assert finished.stderr == ""
    pid, *answered = finished.stdout.splitlines()
    assert answered == ["answered 1", "answered 2"]
    wait_gone([int(pid)])
    assert os.listdir(tmp_path) == ["program.py"]


def test_workers_do_not_outlive_a_program_that_is_killed_while_they_are_busy(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent(
            """
            import json, tempfile
            tempfile.tempdir = __file__.rpartition("/")[0]
            from flambeau.config.model import ModelConfig
            from flambeau.local.processes import ProcessEngine

            def forever(rows):
                while True:
                    pass

            if __name__ == "__main__":
                engine = ProcessEngine("model 'm'", forever, ModelConfig(), workers=2)
                busy = engine.submit(1, None, 0)
                print(json.dumps([worker["pid"] for worker in engine.describe()["workers"]]), flush=True)
                busy.result()
            """
        )
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        workers = json.loads(program.stdout.readline())
        assert len(workers) == 2
        program.send_signal(signal.SIGKILL)
        wait_gone(workers)


def test_a_main_module_without_a_guard_is_told_so_instead_of_starting_workers_without_end(tmp_path):
    finished = run_script(
        tmp_path,
        """
        from flambeau.config.model import ModelConfig
        from flambeau.local.processes import ProcessEngine

        def echo(rows):
            return rows

        engine = ProcessEngine("model 'm'", echo, ModelConfig(), workers=1)
        """,
    )
    assert finished.returncode == 1
    assert 'below  if __name__ == "__main__":' in finished.stderr


def test_a_forked_child_is_told_that_the_model_is_its_parents_and_may_load_its_own(tmp_path):
    finished = run_script(
        tmp_path,
        """
        import os, sys, warnings
        warnings.simplefilter("ignore")
        from flambeau.config.model import ModelConfig
        from flambeau.errors import ForkedModel
        from flambeau.local.processes import ProcessEngine

        def echo(rows):
            return rows

        if __name__ == "__main__":
            engine = ProcessEngine("model 'm'", echo, ModelConfig(), workers=1)
            child = os.fork()
            if not child:
                try:
                    engine.call(1, None, 0)
                except ForkedModel:
                    print("refused", flush=True)
                engine.close(None)
                own = ProcessEngine("model 'm'", echo, ModelConfig(), workers=1)
                print("child", own.call(2, None, 0), flush=True)
                own.close(None)
                os._exit(0)
            os.waitpid(child, 0)
            print("parent", engine.call(3, None, 0), flush=True)
            engine.close(None)
        """,
    )
    assert finished.stderr == ""
    assert finished.stdout.split("\n") == ["refused", "child 2", "parent 3", ""]


def test_a_forked_child_that_lives_on_does_not_keep_the_workers(tmp_path):
    finished = run_script(
        tmp_path,
        """
        import os, signal, time, warnings
        warnings.simplefilter("ignore")
        from flambeau.config.model import ModelConfig
        from flambeau.local.processes import ProcessEngine

        def echo(rows):
            return rows

        if __name__ == "__main__":
            engine = ProcessEngine("model 'm'", echo, ModelConfig(), workers=1)
            child = os.fork()
            if not child:
                signal.pause()
            ended_by = []
            kill = os.killpg
            os.killpg = lambda pid, number: (ended_by.append(number), kill(pid, number))
            engine.close(None)
            print(signal.SIGTERM in ended_by)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        """,
    )
    assert (finished.stdout, finished.stderr) == ("False\n", "")


def test_what_the_handler_prints_is_printed_by_the_program(tmp_path):
    finished = run_script(
        tmp_path,
        """
        import sys
        from flambeau.config.model import ModelConfig
        from flambeau.local.processes import ProcessEngine

        def talk(rows):
            print("to stdout")
            print("to stderr", file=sys.stderr)
            return rows

        if __name__ == "__main__":
            engine = ProcessEngine("model 'm'", talk, ModelConfig(), workers=1)
            engine.call(1, None, 0)
            engine.close(None)
        """,
    )
    assert (finished.stdout, finished.stderr) == ("to stdout\n", "to stderr\n")
