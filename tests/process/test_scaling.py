"""Workers that come, go and move, and settings that change, while requests are served."""

from __future__ import annotations

import os

import pytest

from tests.process.calls import GATED, Gate, Load, manage, message_of, open_request, pending, post
from tests.serving import ServerProcess, wait_for, write_model

HANDLER = (
    GATED
    + '''
def handle(data, context):
    """Does what each body says; answers with the size of the batch and the body."""
    if data is None:
        return None
    take_time()
    bodies = [row["body"].decode() for row in data]
    if "pause" in bodies:
        time.sleep(0.02)
    if "wait" in bodies:
        wait_at_gate()
    if "large" in bodies:
        return [b"x" * 1_000_000 for _ in bodies]
    return [f"{len(bodies)} {body}" for body in bodies]
'''
)

THREADS = """
import os
seen_at_import = os.environ.get("OMP_NUM_THREADS")
import torch

def handle(data, context):
    if data is None:
        return None
    seen = {
        "torch": torch.get_num_threads(),
        "inter_op": torch.get_num_interop_threads(),
        "OMP_NUM_THREADS": int(seen_at_import),
        "cores": sorted(os.sched_getaffinity(0)),
    }
    return [seen for _ in data]
"""

CORES = sorted(os.sched_getaffinity(0))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scaling")
    models = [
        write_model(folder, "m", HANDLER, config="batchSize: 4\njobQueueSize: 1000\nmaxBatchDelay: 20000\n"),
        write_model(folder, "small_queue", HANDLER, config="jobQueueSize: 2\n"),
        write_model(folder, "few_bytes", HANDLER, config="jobQueueBytes: 1000\nretryOnWorkerDeath: false\n"),
    ]
    options = ["--workers", "1", "--set", "max_response_size=1000000"]
    with ServerProcess(*models, folder=folder, options=options) as server:
        yield server


def scale(server, model, **parameters):
    return manage(server, "PUT", f"/models/{model}", synchronous="true", **parameters)


def workers(server, model):
    return server.describe(model)[0]["workers"]


# --- scaling ----------------------------------------------------------------------------------------------------------


def test_no_request_is_lost_while_workers_come_and_go(server):
    with Load(server, "m", body="pause") as load:
        for count in (3, 1, 2):
            reply = scale(server, "m", min_worker=count)
            assert reply.json()["status"] == f"Workers scaled to {count} for model: m"
            assert [worker["status"] for worker in workers(server, "m")] == ["READY"] * count
            load.wait_for_answers(10)
    assert {outcome[:3] for outcome in load.outcomes} == {"200"}, load.outcomes
    scale(server, "m", min_worker=1)


def test_processes_of_workers_that_were_scaled_away_are_gone(server):
    scale(server, "m", min_worker=3)
    before = {worker["pid"] for worker in workers(server, "m")}
    scale(server, "m", min_worker=1)
    (left,) = workers(server, "m")
    assert before & {process.pid for process in server.processes()} == {left["pid"]}


def test_without_workers_requests_are_refused_at_once_until_there_are_some_again(server):
    scale(server, "m", min_worker=0)
    assert workers(server, "m") == []
    reply = post(server, "m", "a")
    assert reply.status_code == 503
    assert message_of(reply).startswith('Model "m" has no worker to serve inference request.')
    scale(server, "m", min_worker=1)
    assert post(server, "m", "a").text == "1 a"


def test_scaling_by_a_range_leaves_a_number_that_is_in_it(server):
    scale(server, "m", min_worker=2)
    scale(server, "m", min_worker=1, max_worker=3)
    assert len(workers(server, "m")) == 2
    scale(server, "m", min_worker=1, max_worker=1)
    assert len(workers(server, "m")) == 1


# --- live settings ----------------------------------------------------------------------------------------------------


def test_batch_size_and_delay_change_from_the_next_batch_on(server):
    with Gate(server, "small_queue", ["wait", "a", "b"]) as held:
        assert scale(server, "small_queue", batch_size=2, max_batch_delay=7).status_code == 200
    assert sorted(reply.text for reply in held.replies) == ["1 wait", "2 a", "2 b"]
    description = server.describe("small_queue")[0]
    assert (description["batchSize"], description["maxBatchDelay"]) == (2, 7)
    scale(server, "small_queue", batch_size=1)


def test_a_batch_size_that_grows_may_have_answers_larger_than_the_old_one_had(server):
    before = workers(server, "m")
    with Gate(server, "m", ["wait", *["large"] * 8]) as held:
        scale(server, "m", batch_size=8)
    assert {(reply.status_code, len(reply.content)) for reply in held.replies[1:]} == {(200, 1_000_000)}
    assert [worker["restarts"] for worker in workers(server, "m")] == [worker["restarts"] for worker in before]


def test_a_response_timeout_changes_for_what_is_under_way(server):
    with Gate(server, "few_bytes", ["wait"]) as held:
        scale(server, "few_bytes", response_timeout=1)
        wait_for("end of the worker", lambda: workers(server, "few_bytes")[0]["state"] != "ready")
    assert message_of(held.replies[0]) == "Worker died. No answer within the response timeout of 1 s."
    scale(server, "few_bytes", response_timeout=100)
    assert post(server, "few_bytes", "a").text == "1 a"


@pytest.mark.parametrize("parameter", ["batch_size", "max_batch_delay", "response_timeout"])
def test_live_settings_that_are_no_numbers_change_nothing(server, parameter):
    before = server.describe("m")[0]
    reply = scale(server, "m", **{parameter: "many"})
    assert reply.status_code == 400
    assert parameter in message_of(reply)
    assert server.describe("m")[0]["batchSize"] == before["batchSize"]


# --- queue ------------------------------------------------------------------------------------------------------------


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(server):
    with Gate(server, "small_queue", ["wait", "a", "b"]) as held:
        refused = post(server, "small_queue", "one too many")
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert message_of(refused).endswith("(queue is full: 2 jobs)")
    assert [reply.text for reply in held.replies] == ["1 wait", "1 a", "1 b"]


def test_a_queue_is_also_full_by_bytes(server):
    with Gate(server, "few_bytes", ["wait", "a" * 600]) as held:
        refused = post(server, "few_bytes", "b" * 600)
        assert refused.status_code == 503
        assert message_of(refused).endswith("(queue is full: 1000 bytes)")
    assert [reply.status_code for reply in held.replies] == [200, 200]


def test_a_request_whose_client_has_left_costs_no_worker_anything(server):
    batches = server.describe("small_queue")[0]["batching"]["batches"]
    with Gate(server, "small_queue", ["wait"]) as held:
        path = "/predictions/small_queue"
        with open_request(server.inference, "POST", path), open_request(server.inference, "POST", path):
            wait_for("queued requests", lambda: pending(server, "small_queue") == 2)
        wait_for("room in the queue", lambda: pending(server, "small_queue") == 0)
    assert [reply.status_code for reply in held.replies] == [200]
    assert post(server, "small_queue", "a").text == "1 a"
    assert server.describe("small_queue")[0]["batching"]["batches"] == batches + 2


def test_a_request_that_no_worker_takes_in_time_is_refused(server):
    scale(server, "few_bytes", response_timeout=1)
    with Gate(server, "few_bytes", ["wait", "a"]) as held:
        wait_for("end of patience", lambda: pending(server, "few_bytes") == 0)
    refused = held.replies[1]
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert "did not take the request within its response timeout of 1 s" in message_of(refused)


# --- placement --------------------------------------------------------------------------------------------------------


def pinned_to(pid):
    """Cores of each thread of a process, as the kernel sees them."""
    return [sorted(os.sched_getaffinity(int(thread))) for thread in os.listdir(f"/proc/{pid}/task")]


def is_placed_as_described(worker):
    return all(cores == (worker["cores"] or CORES) for cores in pinned_to(worker["pid"]))


@pytest.fixture(scope="module")
def placed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("placement")
    models = [write_model(folder, "first", THREADS), write_model(folder, "second", HANDLER)]
    with ServerProcess(*models, folder=folder, options=["--workers", "1"]) as server:
        yield server


def test_workers_of_models_that_load_at_once_do_not_share_cores(placed):
    (first,), (second,) = workers(placed, "first"), workers(placed, "second")
    wait_for("places", lambda: is_placed_as_described(first) and is_placed_as_described(second))
    if first["cores"] and len(CORES) > 1:
        assert not set(first["cores"]) & set(second["cores"])


def test_a_worker_has_the_threads_that_describe_shows_from_the_start_and_when_they_change(placed):
    manage(placed, "PUT", "/models/second", min_worker=0, synchronous="true")
    alone = workers(placed, "first")[0]
    wait_for("threads of a worker that is alone", lambda: threads(placed)["torch"] == alone["threads"])
    manage(placed, "PUT", "/models/second", min_worker=1, synchronous="true")
    with_company = workers(placed, "first")[0]
    wait_for("threads of one that is not", lambda: threads(placed)["torch"] == with_company["threads"])
    assert with_company["pid"] == alone["pid"]
    assert with_company["threads"] <= alone["threads"]
    assert threads(placed)["inter_op"] == 1
    assert threads(placed)["cores"] == (with_company["cores"] or CORES)
    manage(placed, "PUT", "/models/first", min_worker=0, synchronous="true")
    manage(placed, "PUT", "/models/first", min_worker=1, synchronous="true")
    fresh = workers(placed, "first")[0]
    assert threads(placed)["OMP_NUM_THREADS"] == threads(placed)["torch"] == fresh["threads"]


def threads(server):
    return post(server, "first", "a").json()


def test_all_threads_of_a_worker_move_when_workers_come_and_go(placed):
    for count in (2, 1):
        manage(placed, "PUT", "/models/second", min_worker=count, synchronous="true")
        for worker in workers(placed, "first") + workers(placed, "second"):
            wait_for("place", lambda worker=worker: is_placed_as_described(worker))
