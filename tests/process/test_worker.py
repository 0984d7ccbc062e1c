"""The real worker process, spoken to over a socket pair with the wire codec."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from flambeau.request import InferenceRequest, RowError
from flambeau.runtime.connection import Connection
from flambeau.runtime.loop import EXIT_LOAD_FAILED, EXIT_PROTOCOL_ERROR
from flambeau.wire.codec import encode
from flambeau.wire.messages import WIRE_VERSION, Batch, Hello, Load, Place

TIMEOUT_S = 30

ECHO = "def handle(data, context): return [row['body'] for row in data]"


class Worker:
    """The server's side of one worker."""

    def __init__(self, folder):
        self.folder = folder
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(TIMEOUT_S)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flambeau.runtime", "--fd", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        theirs.close()
        self.connection = Connection(self.socket)
        self.hello = self.connection.receive()

    def send(self, message):
        self.connection.send(message)

    def load(self, source, **settings):
        (self.folder / "handler.py").write_text(textwrap.dedent(source))
        arguments = {"model_name": "m", "model_version": "1", "handler": "handler", "batch_size": 8, **settings}
        self.send(Load(model_dir=str(self.folder), **arguments))
        return self.connection.receive()

    def batch(self, *values, batch_id=1):
        self.send(rows(*values, batch_id=batch_id))
        return self.connection.receive()

    def wait(self):
        """The exit code; its output is in ``out`` and ``err``."""
        self.out, self.err = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode

    def close(self):
        self.socket.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def rows(*values, batch_id=1):
    return Batch(
        batch_id,
        [InferenceRequest(f"id-{index}", [], [("body", "", value)]) for index, value in enumerate(values)],
    )


@pytest.fixture
def worker(tmp_path):
    worker = Worker(tmp_path)
    yield worker
    worker.close()


def test_it_says_hello_before_it_is_asked(worker):
    assert worker.hello == Hello(worker.process.pid, WIRE_VERSION)


def test_it_loads_answers_batches_and_ends_with_the_connection(worker):
    loaded = worker.load(ECHO)
    assert (loaded.error, loaded.out_of_memory) == ("", False)
    assert loaded.seconds > 0
    assert loaded.resident_bytes > 1_000_000
    reply = worker.batch(b"a", b"b", batch_id=7)
    assert (reply.batch_id, [row.body for row in reply.rows]) == (7, [b"a", b"b"])
    assert reply.seconds > 0
    assert [update.name for update in reply.metrics] == ["PredictionTime"]
    worker.socket.close()
    assert worker.wait() == 0
    assert worker.err == ""


def test_batches_that_wait_in_the_socket_are_answered_in_order(worker):
    worker.load(ECHO)
    for batch_id in range(50):
        worker.send(rows(str(batch_id).encode(), batch_id=batch_id))
    replies = [worker.connection.receive() for _ in range(50)]
    assert [(reply.batch_id, reply.rows[0].body) for reply in replies] == [(n, str(n).encode()) for n in range(50)]


def test_large_bodies_go_through_in_both_directions(worker):
    worker.load(ECHO)
    values = [bytes([n]) * 1_000_000 for n in range(4)]
    writer = threading.Thread(target=worker.send, args=(rows(*values),))
    writer.start()
    reply = worker.connection.receive()
    writer.join()
    assert [row.body for row in reply.rows] == values


def test_a_handler_that_raises_costs_the_row_and_its_traceback_is_on_stderr(worker):
    worker.load("""
        def handle(data, context):
            return [row["body"].index(b"a") for row in data or ()]
    """)
    reply = worker.batch(b"xa", b"b")
    assert [row.error for row in reply.rows] == [RowError.NONE, RowError.FAILED]
    assert reply.rows[1].body == b"Prediction failed"
    assert worker.batch(b"a").rows[0].body == b"0"
    worker.socket.close()
    assert worker.wait() == 0
    assert "Traceback" in worker.err
    assert "ValueError" in worker.err


@pytest.mark.parametrize(("argument", "code"), [("5", 5), ("", 0), ("'a reason'", 1)])
def test_a_handler_that_exits_ends_the_worker_with_its_code(worker, argument, code):
    worker.load(f"""
        import sys
        def handle(data, context):
            if data is not None:
                sys.exit({argument})
    """)
    assert worker.batch(b"a") is None
    assert worker.wait() == code


def test_a_thread_that_never_ends_does_not_keep_a_worker_that_exits(worker):
    worker.load("""
        import sys, threading
        def handle(data, context):
            if data is not None:
                threading.Thread(target=threading.Event().wait).start()
                sys.exit(6)
    """)
    assert worker.batch(b"a") is None
    assert worker.wait() == 6


def test_what_a_handler_prints_is_its_output_and_never_the_wire(worker):
    worker.load("""
        import logging, os, sys
        def handle(data, context):
            if data is None:
                return
            print("printed \\ud800")
            os.write(1, b"raw\\n")
            print("to stderr", file=sys.stderr)
            logging.getLogger("mine").info("logged")
            return [sys.stdin.read()]
    """)
    assert worker.batch(b"a").rows[0].body == b""
    worker.socket.close()
    assert worker.wait() == 0
    assert worker.out.splitlines() == ["printed \\ud800", "raw", "logged"]
    assert worker.err == "to stderr\n"


def test_a_line_is_there_as_soon_as_it_is_printed(worker):
    worker.load("""
        import threading
        def handle(data, context):
            if data is not None:
                print("hanging", flush=False)
                threading.Event().wait()
    """)
    worker.send(rows(b"a"))
    assert worker.process.stdout.readline() == "hanging\n"


HANGS = """
    import threading, time
    def handle(data, context):
        if data is not None:
            print("hanging")
            {hang}
"""


@pytest.mark.parametrize("hang", ["threading.Event().wait()", "time.sleep(1000)", "while True: pass"])
def test_a_worker_goes_with_its_server_even_while_its_handler_hangs(worker, hang):
    worker.load(HANGS.format(hang=hang))
    worker.send(rows(b"a"))
    assert worker.process.stdout.readline() == "hanging\n"
    worker.socket.close()
    assert worker.wait() == 0


def test_a_worker_goes_with_its_server_while_it_loads(worker):
    (worker.folder / "handler.py").write_text("import threading\nprint('hanging')\nthreading.Event().wait()")
    worker.send(Load(model_name="m", model_version="1", model_dir=str(worker.folder), handler="handler", batch_size=1))
    assert worker.process.stdout.readline() == "hanging\n"
    worker.socket.close()
    assert worker.wait() == 0


def test_a_worker_goes_when_its_server_is_killed(tmp_path):
    (tmp_path / "handler.py").write_text(textwrap.dedent(HANGS.format(hang="threading.Event().wait()")))
    server = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_worker import Worker, rows
        worker = Worker(Path({str(tmp_path)!r}))
        worker.load(Path({str(tmp_path / "handler.py")!r}).read_text())
        worker.send(rows(b"a"))
        worker.process.stdout.readline()
        print(worker.process.pid, flush=True)
        sys.stdin.read()
    """)
    with subprocess.Popen(
        [sys.executable, "-c", server], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        pid = int(process.stdout.readline())
        gone = os.pidfd_open(pid)
        process.kill()
        assert select.select([gone], [], [], TIMEOUT_S)[0]
        os.close(gone)


def test_ctrl_c_is_for_the_server(worker):
    worker.load(ECHO)
    worker.process.send_signal(signal.SIGINT)
    assert worker.batch(b"a").rows[0].body == b"a"


@pytest.mark.parametrize(
    ("source", "error", "out_of_memory"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'", False),
        ("def handle(data, context): raise RuntimeError('CUDA error: no')", "RuntimeError: CUDA error: no", True),
        ("def handle(data, context): raise MemoryError", "MemoryError", True),
        ("def handle(:", "SyntaxError: invalid syntax", False),
        ("raise ValueError('a\\n  b\\ud800')", "ValueError: a b?", False),
    ],
)
def test_a_load_that_fails_says_why_and_ends_the_worker(worker, source, error, out_of_memory):
    loaded = worker.load(source)
    assert (loaded.error, loaded.out_of_memory) == (error, out_of_memory)
    assert worker.wait() == EXIT_LOAD_FAILED
    assert "Traceback" in worker.err or "SyntaxError" in worker.err


def test_a_handler_may_exit_while_it_loads(worker):
    assert worker.load("import sys; sys.exit(9)") is None
    assert worker.wait() == 9


def test_warm_up_rows_run_before_it_is_ready_and_leave_no_metrics(worker):
    row = InferenceRequest("warm", [], [("body", "", b"w")])
    loaded = worker.load(
        """
        seen = []
        def handle(data, context):
            seen.extend(bytes(row["body"]).decode() for row in data or ())
            return [",".join(seen) for row in data or ()]
        """,
        warm_up=[row, row],
    )
    assert loaded.error == ""
    reply = worker.batch(b"a")
    assert reply.rows[0].body == b"w,w,a"
    assert len(reply.metrics) == 1


def test_a_warm_up_row_that_fails_fails_the_load(worker):
    row = InferenceRequest("warm", [], [("body", "", b"w")])
    loaded = worker.load("def handle(data, context): return [1 / 0 for row in data or ()]", warm_up=[row])
    assert loaded.error == "warm-up row 1 of 1 failed: Prediction failed"
    assert worker.wait() == EXIT_LOAD_FAILED
    assert "ZeroDivisionError" in worker.err


def test_the_working_directory_is_the_models(worker):
    worker.load("import os\ndef handle(data, context): return [os.getcwd() for row in data or ()]")
    assert worker.batch(b"a").rows[0].body == str(worker.folder).encode()


PLACEMENT = """
    import os, threading
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    def handle(data, context):
        threads = [sorted(os.sched_getaffinity(int(name))) for name in os.listdir("/proc/self/task")]
        return [{"threads": threads, "omp": os.environ.get("OMP_NUM_THREADS")} for row in data or ()]
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores can be set on Linux only")
def test_every_thread_is_on_its_cores_and_moves_when_told(worker):
    cores = sorted(os.sched_getaffinity(0))
    worker.load(PLACEMENT, cores=cores[:1], threads=1)
    placed = json.loads(worker.batch(b"a").rows[0].body)
    assert len(placed["threads"]) >= 3
    assert all(on == cores[:1] for on in placed["threads"])
    assert placed["omp"] == "1"
    worker.send(Place(cores=cores[-1:], threads=2))
    moved = json.loads(worker.batch(b"a").rows[0].body)
    assert all(on == cores[-1:] for on in moved["threads"])
    assert moved["omp"] == "2"


def test_torch_uses_the_threads_that_it_is_told(worker):
    pytest.importorskip("torch")
    worker.load(
        """
        import torch
        def handle(data, context):
            return [[torch.get_num_threads(), torch.get_num_interop_threads()] for row in data or ()]
        """,
        threads=1,
    )
    assert json.loads(worker.batch(b"a").rows[0].body) == [1, 1]
    worker.send(Place(cores=(), threads=2))
    assert json.loads(worker.batch(b"a").rows[0].body) == [2, 1]


def test_cores_that_do_not_exist_are_logged_and_served_without(worker):
    assert worker.load(ECHO, cores=[100_000]).error == ""
    assert worker.batch(b"a").rows[0].body == b"a"


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x04\x00\x00\x00\x02" + bytes(11) + b"\xc1\xc1"])
def test_garbage_ends_the_worker_with_a_code_of_its_own(worker, garbage):
    worker.load(ECHO)
    worker.socket.sendall(garbage)
    assert worker.wait() == EXIT_PROTOCOL_ERROR
    assert "broke the wire protocol" in worker.err


@pytest.mark.parametrize("message", [rows(b"a"), Hello(1)])
def test_a_message_out_of_turn_ends_the_worker(worker, message):
    worker.send(message)
    assert worker.wait() == EXIT_PROTOCOL_ERROR


@pytest.mark.parametrize("kept", [0, 20])
def test_a_server_that_closes_before_the_load_is_complete_ends_the_worker(worker, kept):
    load = Load(model_name="m", model_version="1", model_dir="/", handler="handler", batch_size=1)
    worker.socket.sendall(encode(load)[0][:kept])
    worker.socket.close()
    assert worker.wait() == 0
