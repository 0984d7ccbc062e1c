"""Local models in programs of their own: forks, interrupts, and the interpreter's end."""

import os
import subprocess
import sys
import textwrap

import pytest

from tests.serving import write_model

LIMIT_S = 60.0


def run_program(text: str, *arguments: object) -> str:
    """What a program prints. It has to end by itself, in time, with status 0, and to leave standard error empty."""
    watchdog = f"import faulthandler; faulthandler.dump_traceback_later({LIMIT_S}, exit=True)\n"
    program = watchdog + textwrap.dedent(text)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=2 * LIMIT_S,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# --- forks -----------------------------------------------------------------------------------------------------------

IN_CHILD = """
import os, sys, threading, traceback
import flambeau
from flambeau.errors import ForkedModel

def in_child(work):
    pid = os.fork()
    if not pid:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0

def refused(use):
    try:
        use()
    except ForkedModel as error:
        return "load it in the process that calls it" in str(error)
    return False

def double(rows):
    return [row * 2 for row in rows]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
class TestForks:
    def test_a_child_is_refused_its_parents_model_and_may_load_its_own(self):
        out = run_program(
            IN_CHILD
            + """
model = flambeau.load(double, batch_size=4, workers=2, batch_policy="fixed", max_batch_delay_ms=1)
assert model(1) == 2 and model.submit(2).result() == 4

def work():
    assert refused(lambda: model(1))
    assert refused(lambda: model.submit(1))
    assert refused(lambda: model.stream(1))
    assert refused(lambda: list(model.map([1])))
    assert model.close()
    assert model.describe()["modelName"] == "double"
    with flambeau.load(double, batch_size=4) as own:
        assert own(3) == 6
        assert own.submit(4).result(10) == 8
        assert own.submit(5, timeout_s=10).result(10) == 10
    print("child")

in_child(work)
assert model(5) == 10 and model.submit(6).result() == 12
assert model.close()
print("parent")
"""
        )
        assert out.split() == ["child", "parent"]

    def test_children_may_be_forked_while_threads_call(self):
        out = run_program(
            IN_CHILD
            + """
model = flambeau.load(double, batch_size=4, workers=2)
stop = threading.Event()

def loop():
    row = 0
    while not stop.is_set():
        row += 1
        assert model(row) == 2 * row
        assert model.submit(row, timeout_s=10).result() == 2 * row

threads = [threading.Thread(target=loop) for _ in range(4)]
for thread in threads:
    thread.start()

def work():
    assert refused(lambda: model(1))
    assert refused(lambda: model.submit(1))
    own = flambeau.load(double)
    assert own(1) == 2 and own.submit(2).result(10) == 4 and own.close()

for _ in range(20):
    in_child(work)
stop.set()
for thread in threads:
    thread.join()
print(model(4))
"""
        )
        assert out.split() == ["8"]

    def test_a_child_that_ends_leaves_its_parents_files_alone(self, tmp_path):
        source = "def handle(data, context):\n    return [row['body'] for row in data]\n"
        folder = write_model(tmp_path, "forked", source)
        out = run_program(
            IN_CHILD
            + """
import pathlib
from flambeau.archive.plan import ArchiveSpec
from flambeau.archive.writer import write_archive
folder = pathlib.Path(sys.argv[1])
archive = write_archive(ArchiveSpec(model_name="forked", handler=str(folder / "handler.py"), export_path=folder.parent))
model = flambeau.load(archive)
directory = pathlib.Path(model._files.directory)
assert directory.is_dir()
faulthandler.cancel_dump_traceback_later()  # its thread is not in the child, which would wait for it when it ends
pid = os.fork()
if not pid:
    model.close()
    sys.exit()  # as programs end, with everything that is to be done then
assert os.waitpid(pid, 0)[1] == 0
assert directory.is_dir() and model("x") == "x"
model.close()
assert not directory.exists()
print("ok")
""",
            folder,
        )
        assert out.split() == ["ok"]

    def test_a_handler_may_fork(self):
        out = run_program(
            IN_CHILD
            + """
def run(rows):
    in_child(lambda: refused(lambda: model(1)) or 1 / 0)
    return rows

model = flambeau.load(run)
assert model(1) == 1 and model.submit(2).result() == 2
print("ok")
"""
        )
        assert out.split() == ["ok"]


# --- the interpreter's end -------------------------------------------------------------------------------------------


def test_work_that_was_submitted_is_finished_before_the_interpreter_ends():
    out = run_program(
        """
        import threading, flambeau
        never = threading.Event()

        def slow(rows):
            never.wait(0.01)
            return rows

        model = flambeau.load(slow, batch_size=4, workers=2)
        for row in range(100):
            model.submit(row).add_done_callback(lambda future: print(f"{future.result()}\\n", end=""))
        """
    )
    assert sorted(map(int, out.split())) == list(range(100))


def test_rows_that_gather_do_not_hold_up_the_interpreters_end():
    out = run_program(
        """
        import flambeau
        model = flambeau.load(lambda rows: rows, batch_size=64, batch_policy="fixed", max_batch_delay_ms=3600_000)
        for row in range(3):
            model.submit(row).add_done_callback(lambda future: print(f"{future.result()}\\n", end=""))
        """
    )
    assert out.split() == ["0", "1", "2"]


def test_a_model_that_was_dropped_finishes_its_work_before_the_interpreter_ends():
    out = run_program(
        """
        import threading, flambeau
        never = threading.Event()

        def slow(rows):
            never.wait(0.1)
            return rows

        model = flambeau.load(slow)
        for row in range(5):
            model.submit(row).add_done_callback(lambda future: print(f"{future.result()}\\n", end=""))
        del model
        """
    )
    assert out.split() == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("holder", ["model", "stream alone", "a thread that reads"])
def test_streams_that_are_half_read_do_not_hold_up_the_interpreters_end(holder):
    out = run_program(
        """
        import itertools, sys, threading, flambeau
        read = threading.Event()

        def endless(rows):
            return [(part for part in itertools.count(row)) for row in rows]

        model = flambeau.load(endless)
        stream = model.stream(7)
        assert next(stream) == 7
        if sys.argv[1] == "stream alone":
            del model
        elif sys.argv[1] == "a thread that reads":
            def loop():
                for part in stream:
                    read.set()
            threading.Thread(target=loop, daemon=True).start()
            assert read.wait(30)
        print("read")
        """,
        holder,
    )
    assert out.split() == ["read"]


def test_daemon_threads_that_call_do_not_hold_up_the_interpreters_end():
    out = run_program(
        """
        import threading, flambeau
        from flambeau.errors import ModelClosed
        model = flambeau.load(lambda rows: rows, batch_size=4)
        calling = threading.Semaphore(0)

        def loop():
            try:
                while True:
                    model(1)
                    calling.release()
            except ModelClosed:
                pass

        for _ in range(4):
            threading.Thread(target=loop, daemon=True).start()
        for _ in range(100):
            calling.acquire()
        print("called")
        """
    )
    assert out.split() == ["called"]


def test_models_may_be_used_while_the_interpreter_ends():
    out = run_program(
        """
        import atexit, flambeau
        flambeau.load(lambda rows: rows)

        def late():
            model = flambeau.load(lambda rows: rows)
            print(model(1), model.submit(2).result(10), list(model.map([3])))
            model.close()

        atexit.register(late)
        """
    )
    assert out.split() == ["1", "2", "[3]"]


def test_a_program_that_loads_nothing_ends():
    assert run_program("import flambeau.local; print('end')").split() == ["end"]


# --- interrupts ------------------------------------------------------------------------------------------------------

STORM = """
import os, random, signal, sys, threading, time
import flambeau
from flambeau.errors import CallTimedOut

SIGNALS, THREADS, seed = 300, 8, int(sys.argv[2])
kind, workers, batch_size = sys.argv[1], int(sys.argv[3]), int(sys.argv[4])
chance = random.Random(seed)
never = threading.Event()

def handler(rows):
    if kind == "slow":
        never.wait(0.0003)
    return [row * 2 for row in rows]

model = flambeau.load(handler, workers=workers, batch_size=batch_size)
stop = threading.Event()
wrong, counts = [], [0] * THREADS

def others(thread):
    try:
        while not stop.is_set():
            row = (thread, counts[thread])
            if model(counts[thread]) != 2 * counts[thread]:
                wrong.append(row)
            if counts[thread] % 50 == 0 and model.submit(counts[thread]).result() != 2 * counts[thread]:
                wrong.append(row)
            counts[thread] += 1
    except BaseException as error:
        wrong.append(error)

def storm():
    for _ in range(SIGNALS):
        time.sleep(chance.expovariate(400))
        os.kill(os.getpid(), signal.SIGINT)
    stop.set()

threads = [threading.Thread(target=others, args=(thread,)) for thread in range(THREADS)]
threads.append(threading.Thread(target=storm))
interrupts = answers = late = 0
is_calling = False

def interrupt(number, frame):
    if is_calling:
        raise KeyboardInterrupt

def call():
    global is_calling, answers, interrupts, late
    try:
        is_calling = True
        answer = model(answers, timeout_s=30 if answers % 3 else None)
        is_calling = False
        if answer != 2 * answers:
            wrong.append(("main", answer))
        answers += 1
    except CallTimedOut:
        late += 1
    finally:
        is_calling = False

signal.signal(signal.SIGINT, interrupt)
for thread in threads:
    thread.start()
while not stop.is_set():
    try:
        call()
    except KeyboardInterrupt:
        is_calling = False
        interrupts += 1
for thread in threads:
    thread.join()

engine = model._engine
end = time.monotonic() + 10
while True:
    with engine._mutex:
        engine._drop_leaving()
        is_whole = len(engine._idle) == workers and not engine._queue.depth
    if is_whole:
        break
    assert time.monotonic() < end, "the engine is not whole"
    time.sleep(0.001)
assert wrong == [], wrong[:5]
assert late == 0
assert model(1) == 2 and model.submit(2).result(10) == 4
assert engine._helpers <= workers
assert model.close(10)
print(interrupts, answers, min(counts))
"""


@pytest.mark.parametrize(("workers", "batch_size"), [(1, 1), (1, 4), (3, 4)])
@pytest.mark.parametrize("kind", ["quick", "slow"])
def test_interrupts_of_a_caller_cost_nobody_else_an_answer(kind, workers, batch_size):
    out = run_program(STORM, kind, 1, workers, batch_size)
    interrupts, answers, fewest = map(int, out.split())
    assert interrupts > 10
    assert answers > 0
    assert fewest > 0


def test_an_interrupt_ends_a_program_that_waits_for_an_answer():
    program = textwrap.dedent(
        """
        import os, signal, threading, flambeau
        signal.signal(signal.SIGINT, signal.default_int_handler)  # shells have it ignored in the background
        held = threading.Event()
        begun = threading.Event()

        def handler(rows):
            begun.set()
            assert held.wait(60)
            return rows

        model = flambeau.load(handler)
        threading.Thread(target=model, args=(1,)).start()
        assert begun.wait(60)

        def interrupt():
            while not model.describe()["queue"]["depth"]:
                held.wait(0.001)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt).start()
        try:
            model(2)
        finally:
            held.set()
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == -2
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
