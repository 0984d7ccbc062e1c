"""What handlers and clients get wrong costs the request that is at fault, and no other."""

from __future__ import annotations

import pytest

from tests.process.calls import message_of, post, post_at_once
from tests.serving import ServerProcess, wait_for, write_model

HANDLER = '''
import resource, sys
from ts.utils.util import PredictionException


def handle(data, context):
    """Does what each body says; answers with the size of the batch and the body."""
    if data is None:
        return None
    bodies = [row["body"].decode() for row in data]
    if "too few" in bodies:
        return bodies[1:]
    if "no list" in bodies:
        return {"answer": 1}
    return [answer(body, index, len(data), context) for index, body in enumerate(bodies)]


def answer(body, index, batch_size, context):
    if body == "raise":
        raise ValueError("a secret of the server")
    if body == "reject":
        raise PredictionException("no cat in the picture", 422)
    if body == "reject with 413":
        raise PredictionException("picture too large", 413)
    if body == "memory error":
        raise MemoryError
    if body == "allocate":
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, hard))
        try:
            bytearray(64 << 30)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    if body == "object":
        return object()
    if body == "circle":
        circle = []
        circle.append(circle)
        return circle
    if body == "deep":
        deep = []
        for _ in range(100_000):
            deep = [deep]
        return deep
    if body == "too large":
        return b"x" * 100_000
    if body == "teapot":
        context.set_response_status(418, "Short and stout", idx=index)
        context.set_response_header(index, "X-Kind", "tea\\r\\nX-Smuggled: yes")
        context.set_response_content_type(index, "text/x-tea")
    if body == "bad status":
        context.set_response_status(7, idx=index)
    if body == "print":
        print("a line on stdout")
        print("a line on stderr", file=sys.stderr)
    if body == "print junk":
        sys.stdout.buffer.write(b"\\xff\\xfe\\x00\\x80 junk \\x1b[2J\\r\\n")
        sys.stdout.buffer.write(b"[METRICS]not a metric\\n[METRICS]\\xff.ms:1|#|#h:a,1\\n")
        sys.stdout.buffer.flush()
    if body == "print much":
        sys.stdout.write("x" * (1 << 20) + " the end")
        sys.stdout.flush()
        sys.stderr.write("y" * (1 << 20) + "\\n")
    return f"{batch_size} {body}"
'''

BATCH = """
batchSize: 4
maxBatchDelay: 20000
batchPolicy: fixed
"""
"""Four requests make one batch, whatever the order and the moment of their arrival."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad_input")
    models = [
        write_model(folder, "four", HANDLER, config=BATCH),
        write_model(folder, "four_together", HANDLER, config=BATCH + "isolateFailures: false\n"),
        write_model(folder, "one", HANDLER),
    ]
    options = ["--workers", "1", "--set", "max_response_size=50000"]
    with ServerProcess(*models, folder=folder, options=options) as server:
        yield server


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("raise", 503, "Prediction failed"),
        ("too few", 503, "number of batch response mismatched"),
        ("no list", 503, "Invalid model predict output"),
        ("reject", 422, "no cat in the picture"),
        ("reject with 413", 507, "picture too large"),
        ("memory error", 507, "Out of resources"),
        ("allocate", 507, "Out of resources"),
    ],
)
def test_a_row_that_fails_its_batch_fails_alone(server, body, status, message):
    bad, *others = post_at_once(server, "four", [body, "a", "b", "c"])
    assert bad.status_code == status
    assert message_of(bad) == message
    assert [(reply.status_code, reply.text) for reply in others] == [(200, "1 a"), (200, "1 b"), (200, "1 c")]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("object", "Unsupported model output data type."),
        ("circle", "Unsupported model output data type."),
        ("deep", "Unsupported model output data type."),
        ("bad status", "Unsupported model output data type."),
        ("too large", "Response of 100000 bytes is over the limit of 50000 bytes (max_response_size)"),
    ],
)
def test_an_answer_that_cannot_be_sent_fails_its_row_and_nothing_is_run_again(server, body, message):
    bad, *others = post_at_once(server, "four", [body, "a", "b", "c"])
    assert bad.status_code == 503
    assert message_of(bad) == message
    assert [reply.text for reply in others] == ["4 a", "4 b", "4 c"]


def test_without_isolation_a_row_that_raises_fails_its_batch_as_in_torchserve(server):
    replies = post_at_once(server, "four_together", ["raise", "a", "b", "c"])
    assert [reply.status_code for reply in replies] == [503] * 4


def test_the_text_of_an_exception_is_in_the_log_and_not_in_the_answer(server):
    reply = post(server, "one", "raise")
    assert "secret" not in reply.text
    assert "Traceback" not in reply.text
    wait_for("traceback in the log", lambda: "ValueError: a secret of the server" in server.log("model_log.log"))


def test_status_headers_and_content_type_are_those_of_the_row(server):
    tea, *others = post_at_once(server, "four", ["teapot", "a", "b", "c"])
    assert (tea.status_code, tea.reason_phrase, tea.text) == (418, "Short and stout", "4 teapot")
    assert tea.headers["content-type"] == "text/x-tea"
    assert tea.headers["x-kind"] == "tea  X-Smuggled: yes"
    assert "x-smuggled" not in tea.headers
    for reply in others:
        assert reply.status_code == 200
        assert "content-type" not in reply.headers


def test_what_a_handler_prints_goes_to_the_model_log(server):
    assert post(server, "one", "print").text == "1 print"
    wait_for("printed lines", lambda: {"a line on stdout", "a line on stderr"} <= printed(server))


def test_bytes_that_are_no_text_and_lines_without_an_end_do_no_harm(server):
    assert post(server, "one", "print junk").text == "1 print junk"
    assert post(server, "one", "print much").text == "1 print much"
    assert post(server, "one", "a").text == "1 a"
    assert post(server, "one", "print").text == "1 print"  # its line end lets go of what is left of the long line
    wait_for("end of the long line", lambda: " the enda line on stdout" in server.log("model_log.log"))
    wait_for("the other long line", lambda: server.log("model_log.log").count("y") >= 1 << 20)


def test_no_worker_died_of_any_of_it(server):
    workers = [worker for model in ("four", "four_together", "one") for worker in server.describe(model)[0]["workers"]]
    assert [(worker["status"], worker["restarts"]) for worker in workers] == [("READY", 0)] * 3


def printed(server):
    return {line.rpartition(" - ")[2] for line in server.log("model_log.log").splitlines()}
