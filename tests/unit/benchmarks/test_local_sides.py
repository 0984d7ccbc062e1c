"""The processes that the report measures, spoken to as it does."""

import json
import socket
import sys
import threading
from pathlib import Path

import pytest

from benchmarks.local_report.http_client import HttpCaller
from benchmarks.local_report.load import LoadFailed, Window
from benchmarks.local_report.measured import MeasuredProcess


@pytest.fixture
def started(tmp_path: Path):
    processes = []

    def start(*arguments: str) -> MeasuredProcess:
        processes.append(MeasuredProcess([sys.executable, *arguments], tmp_path / "log"))
        return processes[-1]

    yield start
    for process in processes:
        process.stop()


def test_a_process_answers_an_order_with_a_sample(started, tmp_path: Path):
    row = tmp_path / "row"
    row.write_bytes(b"x")
    options = {"work": "hello", "row": str(row), "batch_size": 4}
    process = started("-m", "benchmarks.local_report.bare_side", json.dumps(options))
    process.wait_until_ready()
    window = Window.after(1, 0.2)
    process.order(10, window)
    sample = process.sample(window)
    assert sample.calls > 0
    assert sample.calls % 4 == 0
    assert sample.seconds == pytest.approx(0.2)
    assert sample.quantile_ms(0.5) > 0


def test_what_a_library_prints_does_not_disturb_the_talk(started):
    script = (
        "from benchmarks.local_report.orders import Orders; orders = Orders()\n"
        "import os; print('hello'); os.system('echo there')\n"
        "orders.serve(None)"
    )
    started("-c", script).wait_until_ready()


def test_a_process_that_ends_gives_its_last_words_as_the_reason(started):
    with pytest.raises(LoadFailed, match=r"^no module of that kind$"):
        started("-c", "raise SystemExit('no module of that kind')").wait_until_ready()


def test_a_failing_call_reaches_the_report_as_its_reason(started):
    script = (
        "from benchmarks.local_report.orders import Orders; orders = Orders()\n"
        "from benchmarks.local_report.load import LoadFailed\n"
        "def measure(clients, window): raise LoadFailed('too hot')\n"
        "orders.serve(measure)"
    )
    process = started("-c", script)
    process.wait_until_ready()
    window = Window.after(0, 0)
    process.order(1, window)
    with pytest.raises(LoadFailed, match=r"^too hot$"):
        process.sample(window)


def answering(*pieces: bytes) -> str:
    """The URL of a server that answers its one connection's first request with these pieces."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(1 << 16)
            for piece in pieces:
                connection.sendall(piece)

    threading.Thread(target=answer).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/predictions/m"


def test_http_client_reads_a_reply_in_pieces():
    url = answering(b"HTTP/1.1 200 OK\r\ncontent-le", b"ngth: 5\r\n\r\nhe", b"llo")
    with HttpCaller(url) as call:
        assert call(b"x") == b"hello"


def test_http_client_takes_no_other_status_for_an_answer():
    with (
        HttpCaller(answering(b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy")) as call,
        pytest.raises(OSError, match="status 503"),
    ):
        call(b"x")


def test_http_client_notices_an_end_in_mid_reply():
    with (
        HttpCaller(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhe")) as call,
        pytest.raises(ConnectionResetError),
    ):
        call(b"x")
