"""Models that do not load: who is told why, what is rolled back, and what happens when the cause is gone."""

from __future__ import annotations

import httpx
import pytest

from tests.process.calls import Load, manage, message_of, open_request, post
from tests.serving import ECHO, ServerProcess, wait_for, write_model

CLASS = """
class Handler:
    def initialize(self, context):
        {statement}

    def handle(self, data, context):
        return [row["body"] for row in data]
"""

WARM_UP = """
def handle(data, context):
    if data is None:
        return None
    for row in data:
        with open("../warmed_up", "ab") as file:
            file.write(row["body"])
        if row["body"] == b"a bad input":
            raise ValueError("cannot warm up with this")
    return [row["body"] for row in data]
"""

NEEDS_FILE = """
import os

if not os.path.exists("{path}"):
    raise FileNotFoundError("no weights at {path}")

def handle(data, context):
    return None if data is None else [row["body"] for row in data]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loading")
    write_model(folder, "good")
    options = ["--workers", "1", "--enable-model-api", "--model-store", str(folder)]
    with ServerProcess(f"good={folder / 'good-1.0'}", folder=folder, options=options) as server:
        yield server


def model(server, source, *, config=None, files=()):
    """A model folder, its name and how many processes there were before."""
    name = f"m{len(list(server.folder.glob('m*-1.0')))}"
    folder = write_model(server.folder, name, source, config=config)
    for file, content in files:
        (folder / file).write_bytes(content)
    return name, str(folder)


def register(server, url, **parameters):
    return manage(server, "POST", "/models", url=url, initial_workers=1, **parameters)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def handle(data, context:", "SyntaxError: "),
        (CLASS.format(statement="raise ValueError('no weights')"), "ValueError: no weights"),
        (CLASS.format(statement="open('weights.pt')"), "No such file or directory: 'weights.pt'"),
        (CLASS.format(statement="raise SystemExit(3)"), "exited with status 3"),
        (CLASS.format(statement="import os; os._exit(7)"), "exited with status 7"),
        (CLASS.format(statement="import ctypes; ctypes.string_at(0)"), "killed by SIGSEGV"),
    ],
)
def test_a_registration_whose_worker_cannot_load_says_why_and_leaves_nothing(server, source, reason):
    before = {process.pid for process in server.processes()}
    name, url = model(server, source)
    reply = register(server, url)
    assert reply.status_code == 500
    assert message_of(reply).startswith(f"Failed to start workers for model {name} version: 1.0")
    assert reason in message_of(reply)
    assert "Traceback" not in reply.text
    assert manage(server, "GET", f"/models/{name}").status_code == 404
    assert post(server, name, "a").status_code == 404
    wait_for("end of the workers", lambda: {process.pid for process in server.processes()} == before)


def test_a_model_that_runs_out_of_memory_while_it_loads_says_so(server):
    _, url = model(server, CLASS.format(statement="raise MemoryError('no room for weights')"))
    reply = register(server, url)
    assert reply.status_code == 507
    assert "no room for weights" in message_of(reply)


def test_a_load_that_takes_too_long_is_ended(server):
    _, url = model(server, CLASS.format(statement="import time; time.sleep(600)"))
    reply = register(server, url, startup_timeout=1)
    assert reply.status_code == 500
    assert "not ready within the startup timeout of 1 s" in message_of(reply)


def test_a_folder_without_its_handler_is_no_model(server):
    name, url = model(server, ECHO)
    (server.folder / f"{name}-1.0" / "handler.py").unlink()
    reply = register(server, url)
    assert reply.status_code == 500
    assert "no handler 'handler': it is neither a built-in one nor a file of the model" in message_of(reply)


def test_another_models_load_failure_costs_no_request(server):
    _, url = model(server, CLASS.format(statement="import os; os.abort()"))
    with Load(server, "good", clients=2) as load:
        assert register(server, url).status_code == 500
        load.wait_for_answers(2)
    assert set(load.outcomes) == {"200 a"}


# --- warm-up ----------------------------------------------------------------------------------------------------------


def test_warm_up_inputs_run_before_a_worker_counts_as_ready(server):
    name, url = model(
        server, WARM_UP, config="warmUp: [one.bin, two.bin]", files=[("one.bin", b"first"), ("two.bin", b"second")]
    )
    assert register(server, url).status_code == 200
    assert (server.folder / "warmed_up").read_bytes() == b"firstsecond"
    assert server.describe(name)[0]["batching"]["batches"] == 0


def test_a_warm_up_input_that_fails_fails_the_load(server):
    _, url = model(server, WARM_UP, config="warmUp: [bad.bin]", files=[("bad.bin", b"a bad input")])
    reply = register(server, url)
    assert reply.status_code == 500
    assert "warm-up row 1 of 1 failed" in message_of(reply)


@pytest.mark.parametrize("file", ["missing.txt", "../outside.txt"])
def test_a_warm_up_input_that_is_no_file_of_the_archive_fails_the_load(server, file):
    (server.folder / "outside.txt").write_text("a secret")
    _, url = model(server, WARM_UP, config=f"warmUp: [{file}]")
    reply = register(server, url)
    assert reply.status_code == 500
    assert f"warmUp names {file}, which is not a file of the archive" in message_of(reply)


# --- models of the command line ---------------------------------------------------------------------------------------


def health(server):
    return httpx.get(f"{server.inference}/ping", trust_env=False).status_code


def worker_of(server, model):
    return server.describe(model)[0]["workers"][0]


def test_a_model_that_cannot_load_at_start_is_retried_and_recovers_when_the_cause_is_gone(tmp_path):
    weights = tmp_path / "weights"
    broken = write_model(tmp_path, "broken", NEEDS_FILE.format(path=weights))
    good = write_model(tmp_path, "good")
    with ServerProcess(broken, good, folder=tmp_path, options=["--workers", "1"], waits_for_models=False) as server:
        server.wait_until_ready("good")
        assert post(server, "good", "a").text == "a"
        worker = wait_for("failure", lambda: (w := worker_of(server, "broken")).get("failure") and w)
        assert worker["failure"] == f"FileNotFoundError: no weights at {weights}"
        assert worker["status"] == "UNLOADING"
        assert health(server) == 200
        wait_for("second failure", lambda: worker_of(server, "broken")["restarts"] >= 2)
        refused = post(server, "broken", "a")  # at once: it would wait for what may never come
        assert refused.status_code == 503
        assert message_of(refused).endswith("(its handler does not load)")
        weights.touch()
        server.wait_until_ready("broken")
        assert post(server, "broken", "a").text == "a"
        worker = worker_of(server, "broken")
        assert worker["state"] == "ready"
        assert "failure" not in worker
        assert worker["restarts"] >= 1


def test_a_model_that_fails_for_its_whole_retry_window_is_given_up(tmp_path):
    weights = tmp_path / "weights"
    broken = write_model(tmp_path, "broken", NEEDS_FILE.format(path=weights), config="maxRetryTimeoutInSec: 1")
    options = ["--workers", "1", "--snapshots"]
    with ServerProcess(broken, folder=tmp_path, options=options, waits_for_models=False) as server:
        wait_for("given up", lambda: server.describe("broken")[0]["workers"][0]["state"] == "given up")
        assert health(server) == 500
        reply = post(server, "broken", "a")
        assert reply.status_code == 503
        assert message_of(reply).endswith("(its handler does not load)")  # why not is told to operators
        weights.touch()
        manage(server, "PUT", "/models/broken", min_worker=0, synchronous="true")
        assert manage(server, "PUT", "/models/broken", min_worker=1, synchronous="true").status_code == 200
        assert health(server) == 200
        assert post(server, "broken", "a").text == "a"


NO_TORCH = """
raise ModuleNotFoundError("No module named 'torch'", name="torch")
"""


def test_without_torch_the_server_runs_and_a_model_that_needs_it_says_so(tmp_path):
    stub = tmp_path / "stub"
    stub.mkdir()
    (stub / "torch.py").write_text(NO_TORCH)
    needs_torch = write_model(tmp_path, "needs_torch", "import torch\n" + ECHO)
    needs_none = write_model(tmp_path, "needs_none")
    with ServerProcess(
        needs_torch,
        needs_none,
        folder=tmp_path,
        options=["--workers", "1"],
        environment={"PYTHONPATH": str(stub)},
        waits_for_models=False,
    ) as server:
        server.wait_until_ready("needs_none")
        assert post(server, "needs_none", "a").text == "a"
        failure = wait_for("failure", lambda: worker_of(server, "needs_torch").get("failure"))
        assert failure.startswith("torch is not installed in ")
        assert failure.endswith("; install it with pip install torch")


SLOW = """
import os, time

def handle(data, context):
    if data is None:
        open("../is_loading", "w").close()
        while not os.path.exists("../may_be_ready"):
            time.sleep(0.01)
        return None
    return [row["body"] for row in data]
"""


def test_a_client_that_does_not_wait_for_its_registration_gets_its_model_all_the_same(server):
    name, url = model(server, SLOW)
    with open_request(server.management, "POST", f"/models?url={url}&initial_workers=1"):
        wait_for("a worker that loads", (server.folder / "is_loading").exists)
    (server.folder / "may_be_ready").touch()
    server.wait_until_ready(name)
    assert post(server, name, "x").text == "x"
    assert manage(server, "DELETE", f"/models/{name}").status_code == 200
