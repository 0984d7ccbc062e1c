"""Versions of a model: registered, made the default and unregistered while requests are served."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.process.calls import GATED, TIMEOUT_S, Gate, Load, manage, message_of, open_request, post
from tests.serving import ServerProcess, wait_for, write_model

HANDLER = (
    GATED
    + """
def handle(data, context):
    if data is None:
        return None
    take_time()
    if data[0]["body"] == b"wait":
        wait_at_gate()
    return [context.manifest["model"]["modelVersion"] for _ in data]
"""
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("versions")
    for number in ("1.0", "2.0"):
        write_model(folder, "m", HANDLER, version=number)
    options = ["--enable-model-api", "--model-store", str(folder), "--set", "unregister_model_timeout=2"]
    with ServerProcess(folder=folder, options=options) as server:
        yield server


@pytest.fixture
def both(server):
    """Both versions of the model, the first of them the default."""
    for number in ("1.0", "2.0"):
        assert register(server, number).status_code == 200
    yield server
    for number in ("2.0", "1.0", "2.0"):
        manage(server, "DELETE", f"/models/m/{number}")


def register(server, number, **parameters):
    return manage(server, "POST", "/models", url=f"m-{number}", initial_workers=1, **parameters)


def test_the_default_moves_without_losing_a_request(both):
    with Load(both, "m") as load:
        assert set(load.outcomes) == {"200 1.0"}
        assert manage(both, "PUT", "/models/m/2.0/set-default").status_code == 200
        load.wait_for_answers(16)
        assert manage(both, "DELETE", "/models/m/1.0").status_code == 200
        load.wait_for_answers(16)
    assert set(load.outcomes) == {"200 1.0", "200 2.0"}
    assert post(both, "m/1.0", "a").status_code == 404


def test_the_default_version_stays_while_there_are_others(both):
    reply = manage(both, "DELETE", "/models/m/1.0")
    assert (reply.status_code, message_of(reply)) == (403, "Cannot remove default version for model m")
    assert post(both, "m", "a").text == "1.0"


def test_what_was_accepted_before_a_version_is_unregistered_is_answered(both):
    with ThreadPoolExecutor(1) as operator:
        with Gate(both, "m/2.0", ["wait", "a", "b"]) as held:
            unregistered = operator.submit(manage, both, "DELETE", "/models/m/2.0")
            wait_for("no such version", lambda: manage(both, "GET", "/models/m/2.0").status_code == 404)
            assert not unregistered.done()
        assert [(reply.status_code, reply.text) for reply in held.replies] == [(200, "2.0")] * 3
        assert unregistered.result(TIMEOUT_S).status_code == 200


def test_unregistering_waits_no_longer_than_its_time_limit(both):
    with Gate(both, "m/2.0", ["wait"]) as held:
        (pid,) = [worker["pid"] for worker in both.describe("m")[1]["workers"]]
        reply = manage(both, "DELETE", "/models/m/2.0")
        assert (reply.status_code, message_of(reply)) == (408, "Timed out while cleaning resources: m")
        assert not psutil.pid_exists(pid)
    assert held.replies[0].status_code == 503


def test_a_client_that_leaves_while_its_version_is_unregistered_leaves_no_worker_behind(both):
    (pid,) = [worker["pid"] for worker in both.describe("m")[1]["workers"]]
    with Gate(both, "m/2.0", ["wait"]), open_request(both.management, "DELETE", "/models/m/2.0"):
        wait_for("no such version", lambda: manage(both, "GET", "/models/m/2.0").status_code == 404)
    wait_for("end of the worker", lambda: not psutil.pid_exists(pid))


def test_of_two_registrations_of_one_version_at_once_one_is_refused(server):
    with ThreadPoolExecutor(2) as operators:
        replies = list(operators.map(lambda _: register(server, "1.0"), range(2)))
    assert sorted(reply.status_code for reply in replies) == [200, 409]
    assert len(server.describe("m")[0]["workers"]) == 1
    assert manage(server, "DELETE", "/models/m").status_code == 200


def test_a_version_that_comes_and_goes_often_leaves_nothing_behind(server):
    process = psutil.Process(server.pid)

    def held():
        return process.num_fds(), len(server.processes()), len(list((server.folder / "tmp").rglob("models/*")))

    register(server, "1.0")
    manage(server, "DELETE", "/models/m")
    before = held()
    for _ in range(20):
        assert register(server, "1.0").status_code == 200
        assert post(server, "m", "a").text == "1.0"
        assert manage(server, "DELETE", "/models/m").status_code == 200
    wait_for("as before", lambda: all(now <= then for now, then in zip(held(), before, strict=True)))
