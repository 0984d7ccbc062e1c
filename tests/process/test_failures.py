"""What becomes of requests when workers die, hang, run out of memory or do not load."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from tests.process.calls import Load, manage, message_of, post, post_at_once
from tests.serving import ServerProcess, wait_for, write_model

HANDLER = '''
import ctypes, os, sys, time


def handle(data, context):
    """Does what each body says; answers with the size of the batch and the body."""
    if data is None:
        return None
    bodies = [row["body"].decode() for row in data]
    for body in bodies:
        if body == "sys.exit":
            sys.exit(5)
        if body == "os._exit":
            os._exit(0)
        if body == "segfault":
            ctypes.string_at(0)
        if body == "hang":
            while True:
                time.sleep(60)
        if body == "close":
            os.closerange(3, 100)  # the connection to the server is among them
        if body == "pause":
            time.sleep(0.02)
        if body == "die with memory":
            print("terminate called after throwing an instance of 'std::bad_alloc'", file=sys.stderr, flush=True)
            os.abort()
    return [f"{len(bodies)} {body}" for body in bodies]
'''

BATCH = """
batchSize: 4
maxBatchDelay: 20000
batchPolicy: fixed
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("failures")
    models = [
        write_model(folder, "four", HANDLER, config=BATCH),
        write_model(folder, "impatient", HANDLER, config=BATCH + "responseTimeout: 3\n"),
        write_model(folder, "torchserve", HANDLER, config=BATCH + "retryOnWorkerDeath: false\n"),
        write_model(folder, "many", HANDLER, config="batchSize: 8\njobQueueSize: 10000\n"),
    ]
    options = ["--workers", "1", "--enable-model-api", "--model-store", str(folder)]
    with ServerProcess(*models, folder=folder, options=options) as server:
        yield server


def ready_pids(server, model):
    return {worker["pid"] for worker in server.describe(model)[0]["workers"] if worker["status"] == "READY"}


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ("sys.exit", 500, "Exited with status 5."),
        ("os._exit", 500, "Exited with status 0."),
        ("segfault", 500, "Killed by SIGSEGV."),
        ("die with memory", 507, "Killed by SIGABRT, out of memory."),
    ],
)
def test_a_request_that_ends_its_worker_fails_alone_and_says_why(server, body, status, reason):
    bad, *others = post_at_once(server, "four", [body, "a", "b", "c"])
    assert bad.status_code == status
    assert message_of(bad) == f"Worker died. {reason}"
    assert [(reply.status_code, reply.text) for reply in others] == [(200, "1 a"), (200, "1 b"), (200, "1 c")]


def test_a_worker_that_hangs_is_replaced_and_the_request_that_hung_it_fails_alone(server):
    hung = server.describe("impatient")[0]["workers"][0]["pid"]
    bad, *others = post_at_once(server, "impatient", ["hang", "a", "b", "c"])
    assert message_of(bad) == "Worker died. No answer within the response timeout of 3 s."
    assert [reply.text for reply in others] == ["1 a", "1 b", "1 c"]
    assert not psutil.pid_exists(hung)


def test_a_worker_that_closes_its_connection_is_ended(server):
    reply = post(server, "many", "close")
    assert reply.status_code == 500
    assert message_of(reply).startswith("Worker died.")
    assert post(server, "many", "a").text == "1 a"


def test_no_request_is_lost_when_workers_are_killed_under_load(server):
    manage(server, "PUT", "/models/many", min_worker=2, synchronous="true")
    first, second = (worker["pid"] for worker in server.describe("many")[0]["workers"])
    with Load(server, "many", clients=16, body="pause") as load:
        os.kill(first, signal.SIGKILL)
        load.wait_for_answers(50)
        wait_for("the worker in its place", lambda: ready_pids(server, "many") - {first, second})
        os.kill(second, signal.SIGKILL)
        load.wait_for_answers(50)
    assert {outcome[:3] for outcome in load.outcomes} == {"200"}, load.outcomes
    server.wait_until_ready("many", workers=2)
    assert not ready_pids(server, "many") & {first, second}


def test_no_request_is_lost_when_all_workers_are_killed_at_once(server):
    manage(server, "PUT", "/models/many", min_worker=2, synchronous="true")
    with Load(server, "many", clients=16, body="pause") as load:
        for pid in ready_pids(server, "many"):
            os.kill(pid, signal.SIGKILL)
        load.wait_for_answers(50)
    assert {outcome[:3] for outcome in load.outcomes} == {"200"}, load.outcomes


def test_the_death_of_the_only_worker_delays_requests_and_loses_none(server):
    manage(server, "PUT", "/models/many", min_worker=1, synchronous="true")
    (only,) = ready_pids(server, "many")
    with Load(server, "many", body="pause") as load:
        os.kill(only, signal.SIGKILL)
        load.wait_for_answers(50)
    assert {outcome[:3] for outcome in load.outcomes} == {"200"}, load.outcomes


def test_without_retry_the_death_of_a_worker_fails_its_batch_as_in_torchserve(server):
    replies = post_at_once(server, "torchserve", ["segfault", "a", "b", "c"])
    assert {(reply.status_code, message_of(reply)) for reply in replies} == {(500, "Worker died. Killed by SIGSEGV.")}
    again = post_at_once(server, "torchserve", ["a", "b", "c", "d"])
    assert [reply.text for reply in again] == ["4 a", "4 b", "4 c", "4 d"]
