"""A signal's handler that raises in the main thread, at each place where CPython would run it, one after the other."""

import dis
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from flambeau.config.model import BatchingConfig, BatchPolicy
from flambeau.errors import CallTimedOut
from flambeau.local import combining, outcomes, pending, queue, streams, timekeeper
from flambeau.local.combining import CombiningEngine

FILES = {str(Path(module.__file__)) for module in (combining, outcomes, pending, queue, streams, timekeeper)}
LIMIT_S = 20.0

traceable = pytest.mark.skipif(sys.version_info >= (3, 13), reason="the steps that it traces have gaps")


class Interrupted(BaseException):
    """What the signal's handler raises; not a KeyboardInterrupt, which would end pytest where a test is wrong."""


class Interrupter:
    """Raises in the calling thread at the n-th place at which a signal could be handled: after any call, at any
    function's beginning and at any jump back. There may be a few more of them than one version of CPython has."""

    def __init__(self, nth: int) -> None:
        self.left = nth
        self.has_raised = False
        self._names: dict[object, dict[int, str]] = {}
        self._before: dict[object, str] = {}

    def __enter__(self):
        sys._getframe().f_trace_opcodes = (
            True  # from Python 3.12 on, has the frames that are entered next say each step
        )
        sys.settrace(self._enter_frame)
        return self

    def __exit__(self, *_):
        sys.settrace(None)

    def _enter_frame(self, frame, event, argument):
        if frame.f_code.co_filename not in FILES:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        self._before[frame] = "beginning"
        return self._in_frame

    def _in_frame(self, frame, event, argument):
        if event == "return":
            self._before.pop(frame, None)
        if event != "opcode":
            return self._in_frame
        code = frame.f_code
        if code not in self._names:
            self._names[code] = {each.offset: each.opname for each in dis.get_instructions(code)}
        before, self._before[frame] = self._before.get(frame, ""), self._names[code].get(frame.f_lasti, "")
        if before.startswith(("CALL", "beginning", "RESUME", "JUMP_BACKWARD", "JUMP_ABSOLUTE")):
            self.left -= 1
            if self.left == 0:
                self.has_raised = True
                raise Interrupted
        return self._in_frame


class Scene:
    """An engine whose handler can be held, and threads that use it."""

    def __init__(self, workers: int = 1, **settings) -> None:
        self.held = threading.Semaphore(0)
        """Released once for each row that says "hold" and may go on."""
        self.holding = threading.Semaphore(0)
        self.answers: list[object] = []
        self.engine = CombiningEngine("m", [self.run] * workers, BatchingConfig(**settings))
        self._threads: list[threading.Thread] = []

    def run(self, rows):
        for row in rows:
            if row == "hold":
                self.holding.release()
                assert self.held.acquire(timeout=LIMIT_S)
            elif isinstance(row, Callable):
                row()
        return [("answer", row) for row in rows]

    def calling(self, row) -> None:
        """Have a thread call."""

        def call():
            self.answers.append(self.engine.call(row, LIMIT_S, 0) == ("answer", row))

        self.doing(call)

    def doing(self, work: Callable[[], object]) -> None:
        thread = threading.Thread(target=work)
        self._threads.append(thread)
        thread.start()

    def hold(self) -> None:
        """Have a worker held by a thread's call."""
        self.calling("hold")
        assert self.holding.acquire(timeout=LIMIT_S)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < end, "the engine hangs"
            time.sleep(0.0002)

    def is_at_rest(self) -> bool:
        depth = self.engine.describe()["queue"]["depth"]
        with self.engine._mutex:
            return (
                depth == 0
                and len(self.engine._idle) == len(self.engine._workers)
                and all(worker.owner == 0 for worker in self.engine._workers)
            )

    def check(self) -> None:
        """All others have been answered, nothing is left in the engine, and it works."""
        engine = self.engine
        for thread in self._threads:
            thread.join(LIMIT_S)
            assert not thread.is_alive(), "a thread waits for its answer"
        assert all(self.answers)
        self.wait_for(self.is_at_rest)
        self._threads.clear()
        for each in range(3):
            self.calling(each)
        assert engine.submit("future", LIMIT_S, 0).result(LIMIT_S) == ("answer", "future")
        assert engine.call("call", LIMIT_S, 0) == ("answer", "call")
        for thread in self._threads:
            thread.join(LIMIT_S)
        assert len(self.answers) >= 3
        assert all(self.answers)
        assert engine._helpers <= len(engine._workers)
        assert engine.close(LIMIT_S)


def a_call_alone(scene: Scene, interrupted: Interrupter) -> None:
    with interrupted:
        assert scene.engine.call("mine", None, 0) == ("answer", "mine")


def a_call_while_another_runs_and_one_waits(scene: Scene, interrupted: Interrupter) -> None:
    scene.hold()
    scene.calling("waits")
    scene.wait_for(lambda: scene.engine._queue.depth == 1)
    is_over = threading.Event()

    def let_go():
        scene.wait_for(lambda: is_over.is_set() or scene.engine._queue.depth == 2)
        scene.held.release()

    scene.doing(let_go)
    try:
        with interrupted:
            assert scene.engine.call("mine", None, 0) == ("answer", "mine")
    finally:
        is_over.set()


def a_call_whose_time_is_over_while_another_runs(scene: Scene, interrupted: Interrupter) -> None:
    scene.hold()
    scene.calling("waits")
    scene.wait_for(lambda: scene.engine._queue.depth == 1)
    try:
        with interrupted, pytest.raises(CallTimedOut):
            scene.engine.call("mine", 0.0, 0)
    finally:
        scene.held.release()


def a_call_that_others_come_to_wait_for(scene: Scene, interrupted: Interrupter) -> None:
    def others_come():
        with ExitStack() as untraced:
            untraced.callback(sys.settrace, sys.gettrace())
            sys.settrace(None)
            scene.calling("first")
            scene.calling("second")
            scene.wait_for(lambda: scene.engine._queue.depth == 2)

    with interrupted:
        scene.engine.call(others_come, None, 0)


def a_call_that_a_future_comes_to_wait_for(scene: Scene, interrupted: Interrupter) -> None:
    futures = []

    def another_comes():
        with ExitStack() as untraced:
            untraced.callback(sys.settrace, sys.gettrace())
            sys.settrace(None)
            futures.append(scene.engine.submit("submitted", None, 0))

    try:
        with interrupted:
            scene.engine.call(another_comes, None, 0)
    finally:
        for future in futures:
            assert future.result(LIMIT_S) == ("answer", "submitted")


def the_first_submit(scene: Scene, interrupted: Interrupter) -> None:
    with interrupted:
        future = scene.engine.submit("mine", None, 0)
    assert future.result(LIMIT_S) == ("answer", "mine")


def a_submit_with_a_deadline_while_others_wait(scene: Scene, interrupted: Interrupter) -> None:
    scene.hold()
    scene.calling("waits")
    scene.wait_for(lambda: scene.engine._queue.depth == 1)
    try:
        with interrupted:
            scene.engine.submit("mine", LIMIT_S, 0)
    finally:
        scene.held.release()


def a_submit_that_is_cancelled(scene: Scene, interrupted: Interrupter) -> None:
    scene.hold()
    try:
        with interrupted:
            assert scene.engine.submit("mine", None, 0).cancel()
    finally:
        scene.held.release()


def a_stream_that_is_closed(scene: Scene, interrupted: Interrupter) -> None:
    with interrupted:
        parts = scene.engine.stream("mine", None, 0)
        assert next(parts) == ("answer", "mine")
        parts.close()


def a_closing_at_rest(scene: Scene, interrupted: Interrupter) -> None:
    with interrupted:
        assert scene.engine.close(LIMIT_S)


def a_closing_with_calls_under_way(scene: Scene, interrupted: Interrupter) -> None:
    scene.hold()
    scene.calling("waits")
    scene.wait_for(lambda: scene.engine._queue.depth == 1)
    is_over = threading.Event()

    def let_go():
        scene.wait_for(lambda: is_over.is_set() or scene.engine._is_closed)
        scene.held.release()

    scene.doing(let_go)
    try:
        with interrupted:
            assert scene.engine.close(LIMIT_S)
    finally:
        is_over.set()


def a_closing_that_does_not_wait(scene: Scene, interrupted: Interrupter) -> None:
    scene.hold()
    futures = [scene.engine.submit(number, None, 0) for number in range(3)]
    try:
        with interrupted:
            scene.engine.close(0.0)
    finally:
        scene.held.release()
        assert all(future.exception(LIMIT_S) or future.result() for future in futures)


ALONE = {"batch_size": 1}
ADAPTIVE = {"batch_size": 4}
FIXED = {"batch_size": 2, "policy": BatchPolicy.FIXED, "max_batch_delay_s": 0.001}
PAIR = {"batch_size": 2, "workers": 2}


@traceable
@pytest.mark.parametrize("settings", [ALONE, ADAPTIVE, FIXED], ids=["one", "adaptive", "fixed"])
@pytest.mark.parametrize(
    "play",
    [
        a_call_alone,
        a_call_while_another_runs_and_one_waits,
        a_call_whose_time_is_over_while_another_runs,
        a_call_that_others_come_to_wait_for,
        a_call_that_a_future_comes_to_wait_for,
        the_first_submit,
        a_submit_with_a_deadline_while_others_wait,
        a_submit_that_is_cancelled,
        a_stream_that_is_closed,
    ],
    ids=lambda play: play.__name__,
)
def test_wherever_a_call_is_interrupted_the_others_are_answered_and_the_engine_works_on(play, settings):
    places = 0
    while True:
        places += 1
        scene = Scene(**settings)
        interrupter = Interrupter(places)
        try:
            play(scene, interrupter)
        except Interrupted:
            scene.check()  # while the error is handled, and with it all frames that were left are still there
        else:
            assert not interrupter.has_raised, "an interrupt was swallowed"
            scene.check()
            break
    assert places > 5


@traceable
@pytest.mark.parametrize("settings", [ALONE, FIXED], ids=["one", "fixed"])
@pytest.mark.parametrize(
    "play",
    [a_closing_at_rest, a_closing_with_calls_under_way, a_closing_that_does_not_wait],
    ids=lambda play: play.__name__,
)
def test_wherever_closing_is_interrupted_it_can_be_done_again(play, settings):
    places = 0
    while True:
        places += 1
        scene = Scene(**settings)
        try:
            play(scene, Interrupter(places))
        except Interrupted:
            pass
        else:
            break
        finally:
            scene.engine.close(LIMIT_S)
            assert scene.engine._all_back.is_set()
    assert places > 5


@pytest.fixture
def interruptible():
    """Programs that a shell starts in the background begin with interrupts ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_reaches_a_caller_that_sleeps():
    scene = Scene()
    scene.hold()
    main = threading.main_thread().ident

    def interrupt():
        scene.wait_for(lambda: scene.engine._queue.depth == 1)
        signal.pthread_kill(main, signal.SIGINT)

    scene.doing(interrupt)
    with pytest.raises(KeyboardInterrupt):
        scene.engine.call("mine", None, 0)
    scene.held.release()
    scene.check()


def test_an_interrupt_in_a_handler_is_its_callers_alone():
    scene = Scene()

    def interrupt():
        for number in range(4):
            scene.calling(number)
        scene.wait_for(lambda: scene.engine._queue.depth == 4)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scene.engine.call(interrupt, None, 0)
    scene.check()
