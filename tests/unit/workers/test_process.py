"""A worker process that is nothing but a script: what it may do to the server, and what is left of it."""

from __future__ import annotations

import asyncio
import os
import resource
import stat
import sys
from contextlib import asynccontextmanager

import psutil
import pytest
import uvloop

from flambeau.request import InferenceRequest
from flambeau.wire.messages import Batch, Load
from flambeau.workers.exits import OomCounter
from flambeau.workers.process import Launch, WorkerFailed, WorkerHooks, start_worker

TIMEOUT_S = 20

PROLOGUE = """
import os, signal, socket, subprocess, sys, time

from flambeau.request import InferenceReply
from flambeau.wire.codec import encode
from flambeau.wire.messages import Batch, BatchReply, Hello, Load, Loaded, Place
from flambeau.runtime.connection import Connection

sock = socket.socket(fileno=int(sys.argv[sys.argv.index("--fd") + 1]))
connection = Connection(sock)


def be_ready():
    connection.send(Hello(os.getpid()))
    connection.receive()
    connection.send(Loaded(resident_bytes=5, seconds=0.25))
"""


class Stage:
    """A script as the interpreter of workers, and what it told the server."""

    def __init__(self, folder, script):
        self.python = folder / "worker"
        self.python.write_text(f"#!{sys.executable}\n{PROLOGUE}\n{script}")
        self.python.chmod(stat.S_IRWXU)
        self.lines = []
        self.replies = asyncio.Queue()
        self.lost = asyncio.Event()
        self.said = asyncio.Event()
        self.hooks = WorkerHooks(
            on_reply=lambda worker_id, reply: self.replies.put_nowait((worker_id, reply)),
            on_released=lambda worker_id: None,
            on_lost=lambda worker_id: self.lost.set(),
            on_line=self._on_line,
        )

    def _on_line(self, worker_id, line, is_error):
        self.lines.append((line, is_error))
        self.said.set()

    async def start(self, *, startup_timeout_s=TIMEOUT_S, max_frame_bytes=1_000_000, python=None):
        load = Load(model_name="m", model_version="1.0", model_dir="/", handler="h", batch_size=1)
        launch = Launch(
            worker_id=7,
            python=python or str(self.python),
            environment=os.environ,
            load=load,
            startup_timeout_s=startup_timeout_s,
            max_frame_bytes=max_frame_bytes,
            oom_counter=OomCounter(lambda: 0),
        )
        return await start_worker(launch, self.hooks)

    @asynccontextmanager
    async def running(self, **options):
        worker = await self.start(**options)
        try:
            yield worker
        finally:
            await worker.end()


def run(scenario):
    """``asyncio.run`` with the server's kind of loop, which is sure to reap a process whose children hold its pipes."""
    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(scenario)
    finally:
        loop.close()


def with_script(script):
    """Runs a test that is given a stage with this script."""

    def decorate(scenario):
        def test(tmp_path):
            async def limited():
                stage = Stage(tmp_path, script)
                await asyncio.wait_for(scenario(stage), TIMEOUT_S)
                assert asyncio.all_tasks() == {asyncio.current_task()}

            run(limited())

        test.__name__ = scenario.__name__
        return test

    return decorate


def memory_map():
    with open("/proc/self/maps") as maps:
        return maps.read()


def batch(*values):
    return Batch(1, [InferenceRequest("id", [], [("body", "", value)]) for value in values])


@with_script("""
be_ready()
while (batch := connection.receive()) is not None:
    connection.send(BatchReply(batch.batch_id, [InferenceReply(row.parameters[0][2]) for row in batch.rows], 0.5))
""")
async def test_it_is_ready_answers_and_ends_when_its_connection_is_closed(stage):
    async with stage.running() as worker:
        assert (worker.load_s, worker.resident_bytes) == (0.25, 5)
        worker.send(batch(b"a"))
        worker_id, reply = await stage.replies.get()
        assert (worker_id, [row.body for row in reply.rows]) == (7, [b"a"])
    assert worker.gone.result().reason == "exited with status 0"
    assert not psutil.pid_exists(worker.pid)


@with_script("""
connection.send(Hello(os.getpid()))
connection.receive()
connection.send(Loaded(error="ValueError: no weights", out_of_memory=True))
""")
async def test_a_load_that_failed_says_why(stage):
    with pytest.raises(WorkerFailed, match="ValueError: no weights") as failed:
        await stage.start()
    assert failed.value.out_of_memory


@with_script("print('no such device', file=sys.stderr); sys.exit(9)")
async def test_one_that_ends_before_it_is_ready_is_explained_by_its_last_line(stage):
    with pytest.raises(WorkerFailed, match="exited with status 9: no such device"):
        await stage.start()
    assert stage.lines == [("no such device", True)]


@with_script("time.sleep(600)")
async def test_one_that_is_not_ready_in_time_is_ended(stage):
    with pytest.raises(WorkerFailed, match=r"not ready within the startup timeout of 0\.1 s"):
        await stage.start(startup_timeout_s=0.1)


@with_script("signal.signal(signal.SIGTERM, signal.SIG_IGN); be_ready(); time.sleep(600)")
async def test_one_that_minds_neither_its_connection_nor_sigterm_is_killed(stage):
    worker = await stage.start()
    ended = await worker.end(reap_s=0.1, term_s=0.1)
    assert ended.reason == "killed by SIGKILL"


@with_script("")
async def test_an_interpreter_that_is_not_there_is_named(stage):
    with pytest.raises(WorkerFailed, match="/no/python could not be started: No such file or directory"):
        await stage.start(python="/no/python")


@pytest.mark.parametrize("spare_files", [0, 1, 2, 3])
def test_a_start_without_files_left_fails_like_any_other_and_leaves_nothing_open(tmp_path, spare_files):
    async def scenario():
        stage = Stage(tmp_path, "")
        open_files = os.listdir("/proc/self/fd")
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        next_file = os.dup(0)
        os.close(next_file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (next_file + spare_files, limits[1]))
        try:
            with pytest.raises(WorkerFailed, match="could not be started: Too many open files"):
                await stage.start()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert os.listdir("/proc/self/fd") == open_files

    run(scenario())


@with_script("be_ready()")
async def test_memory_that_a_worker_did_not_want_to_share_is_given_back(stage):
    worker = await stage.start()
    await worker.end()
    assert "memfd:flambeau" not in memory_map()


@with_script("time.sleep(600)")
async def test_a_start_that_is_cancelled_leaves_no_process(stage):
    others = set(psutil.Process().children())  # of other tests

    def children():
        return set(psutil.Process().children()) - others

    starting = asyncio.ensure_future(stage.start())
    while not children():  # noqa: ASYNC110 - a process sets no event
        await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    while children():  # noqa: ASYNC110 - one that was hardly there is reaped by the loop, in its own time
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("connection.send(Hello(os.getpid(), wire_version=99)); time.sleep(600)", "it speaks wire version 99, not "),
        ("connection.send(Place(cores=(), threads=1)); time.sleep(600)", "it sent Place, which only the server sends"),
        ("sock.sendall(b'GET / HTTP/1.1'); sock.sendall(bytes(100)); time.sleep(1)", "exited with status 0"),
        ("sock.close(); sys.exit(4)", "exited with status 4"),
    ],
)
def test_one_that_does_not_speak_the_protocol_does_not_become_ready(tmp_path, script, reason):
    async def scenario():
        with pytest.raises(WorkerFailed, match=reason):
            await Stage(tmp_path, script).start()

    run(asyncio.wait_for(scenario(), TIMEOUT_S))


@with_script("""
be_ready()
connection.receive()
connection.send(BatchReply(1, [InferenceReply(bytes(2_000_000))], 0.0))
connection.receive()
""")
async def test_a_frame_over_the_limit_costs_the_worker_its_connection(stage):
    async with stage.running() as worker:
        worker.send(batch(b"a"))
        await stage.lost.wait()
        await worker.gone
    assert stage.replies.empty()


@with_script("""
be_ready()
connection.receive()
connection.send(BatchReply(1, [InferenceReply(bytes(2_000_000))], 0.0))
connection.receive()
""")
async def test_the_limit_of_frames_can_be_raised_while_it_runs(stage):
    async with stage.running() as worker:
        worker.allow_frames(3_000_000)
        worker.allow_frames(10)
        worker.send(batch(b"a"))
        _, reply = await stage.replies.get()
        assert len(reply.rows[0].body) == 2_000_000


@with_script("""
be_ready()
sys.stdout.buffer.write(b"one\\r\\n\\xff\\xfe\\n" + b"x" * 150_000 + b"\\nlast")
sys.stdout.flush()
""")
async def test_output_comes_as_lines_whatever_it_is(stage):
    async with stage.running() as worker:
        await worker.gone
    lines = [line for line, is_error in stage.lines if not is_error]
    assert lines[:2] == ["one", "\ufffd\ufffd"]
    assert "".join(lines[2:-1]) == "x" * 150_000
    assert max(map(len, lines)) <= 128 * 1024
    assert lines[-1] == "last"


@with_script("""
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
be_ready()
os._exit(3)
""")
async def test_what_it_has_started_does_not_outlive_it(stage):
    async with stage.running() as worker:
        ended = await worker.gone
    assert ended.reason == "exited with status 3"
    ((child, _),) = stage.lines
    while psutil.pid_exists(int(child)):  # noqa: ASYNC110 - it has been killed; its reaping sets no event
        await asyncio.sleep(0.01)


@with_script("be_ready(); time.sleep(600)")
async def test_one_that_is_killed_says_for_what(stage):
    async with stage.running() as worker:
        worker.kill("no answer within the response timeout of 1 s")
        worker.kill("another reason")
        ended = await worker.gone
    assert ended.reason == "no answer within the response timeout of 1 s"
    assert not ended.out_of_memory
    assert stage.lost.is_set()


@with_script(
    "be_ready(); connection.receive(); print('MemoryError', file=sys.stderr, flush=True);"
    "connection.send(BatchReply(1, [InferenceReply(b'')], 0.0)); connection.receive(); sys.exit(3)"
)
async def test_its_end_is_not_explained_by_what_it_wrote_about_an_earlier_batch(stage):
    worker = await stage.start()
    worker.send(batch(b"1"))
    await stage.replies.get()
    await stage.said.wait()
    worker.send(batch(b"2"))
    ended = await worker.gone
    assert (ended.in_full, ended.out_of_memory) == ("exited with status 3", False)
