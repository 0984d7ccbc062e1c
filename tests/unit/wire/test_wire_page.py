"""What ``docs/wire.md`` says is what the code does, down to the worker that it shows."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from wire_strategies import MAX_FRAME_BYTES, plain

from flambeau.request import InferenceReply, InferenceRequest, MetricUpdate, Purpose, RowError
from flambeau.wire import codec
from flambeau.wire.frames import FrameReader
from flambeau.wire.messages import Batch, BatchReply, Hello, Load, Loaded, MessageType, Place

PAGE = (Path(__file__).parents[3] / "docs" / "wire.md").read_text(encoding="utf-8")
TIME_LIMIT_S = 20


def test_the_examples_are_the_messages_that_they_are_said_to_be():
    reader = FrameReader(MAX_FRAME_BYTES)
    received = []
    for line in re.findall(r"```text\n(.+)\n```", PAGE):
        frame = bytes.fromhex(line)
        reader.buffer()[: len(frame)] = frame
        received += reader.advance(len(frame))
    expected = [Hello(4711), BatchReply(7, [InferenceReply(b'"cat"')], 0.25)]
    assert [plain(message) for message in received] == [plain(message) for message in expected]


@pytest.mark.parametrize("kind", list(MessageType), ids=lambda kind: kind.name)
def test_every_message_has_its_section(kind):
    title = "".join(part.capitalize() for part in kind.name.split("_"))
    assert re.search(rf"^### {kind.value} · {title}, ", PAGE, re.MULTILINE)


@pytest.mark.parametrize(
    "message", [Hello, Load, Loaded, Batch, BatchReply, Place, InferenceRequest, InferenceReply, MetricUpdate]
)
def test_every_field_is_described(message):
    for field in msgspec.structs.fields(message):
        assert f"`{field.name}`" in PAGE, field.name


def test_every_number_that_stands_for_something_is_described():
    row_errors = re.search(r"^\| `error` \| integer.*$", PAGE, re.MULTILINE).group()
    purposes = re.search(r"^\| `purpose` \| .*$", PAGE, re.MULTILINE).group()
    for numbers, line in ((RowError, row_errors), (Purpose, purposes)):
        for number in numbers:
            assert re.search(rf"\b{number.value} [a-z]", line), number


@pytest.fixture
def worker(tmp_path):
    """The worker of the page, and the server's end of its socket."""
    script = tmp_path / "worker.py"
    script.write_text(re.search(r"```python\n(.*?)```", PAGE, re.DOTALL).group(1), encoding="utf-8")
    ours, theirs = socket.socketpair()
    ours.settimeout(TIME_LIMIT_S)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, str(script), "--fd", str(theirs.fileno())], pass_fds=(theirs.fileno(),)
        )
    with ours:
        yield process, ours
    process.kill()
    process.wait()


def test_the_worker_of_the_page_works(worker, tmp_path):
    process, sock = worker
    reader = FrameReader(MAX_FRAME_BYTES)

    def receive():
        while True:
            count = sock.recv_into(reader.buffer())
            assert count, "the worker closed its connection"
            messages = reader.advance(count)
            if messages:
                (message,) = messages
                return message

    def send(message):
        sock.sendall(b"".join(bytes(buffer) for buffer in codec.encode(message)))

    assert receive() == Hello(process.pid)
    send(Load(model_name="m", model_version="1.0", model_dir=str(tmp_path), handler="h", batch_size=8))
    assert receive() == Loaded()
    for batch_id, sizes in ((1, [0, 5]), (2, [100_000, 3, 20_000])):
        rows = [InferenceRequest("r", [(b"a", b"b")], [("body", "", bytes(size))]) for size in sizes]
        send(Batch(batch_id, rows))
        reply = receive()
        assert reply.batch_id == batch_id
        assert [row.body for row in reply.rows] == [b"%d" % size for size in sizes]
    send(Place(cores=[0], threads=1))
    sock.close()
    assert process.wait(TIME_LIMIT_S) == 0
