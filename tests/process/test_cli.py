"""The commands, run as commands.

Waiting is on a line of output or on the end of a process; pytest's time limit ends it.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

BIN = Path(sys.executable).parent
PORT_OPTIONS = ("--port", "--management-port", "--metrics-port", "--grpc-port", "--grpc-management-port")
ANY_PORTS = tuple(word for option in PORT_OPTIONS for word in (option, "0"))

HANDLER = """
def handle(data, context):
    return None if data is None else [len(row["body"]) for row in data]
"""
MANIFEST = {
    "runtime": "python",
    "model": {"modelName": "length", "modelVersion": "2.0", "handler": "handler.py:handle"},
}


@pytest.fixture
def environ(tmp_path):
    """An environment without settings of its own, in which the system's temporary folder is the test's."""
    temp = tmp_path / "tmp"
    temp.mkdir()
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("TS_", "LOG_", "METRICS_"))}
    return {**inherited, "TMPDIR": str(temp), "COLUMNS": "200"}


@pytest.fixture
def run(tmp_path, environ):
    """Runs a command to its end in the test's folder."""

    def run(*command, **variables):
        return subprocess.run(
            [BIN / command[0], *command[1:]],
            cwd=tmp_path,
            env={**environ, **variables},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.fixture
def start(tmp_path, environ):
    """Starts a command that stays, and ends what is left of it after the test."""
    processes = []

    def start(*command, **variables):
        process = subprocess.Popen(
            [BIN / command[0], *command[1:]],
            cwd=tmp_path,
            env={**environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def model(tmp_path):
    """A model folder whose handler answers with the length of each body."""
    folder = tmp_path / "length_model"
    (folder / "MAR-INF").mkdir(parents=True)
    (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(MANIFEST))
    (folder / "handler.py").write_text(HANDLER)
    return folder


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


def wait_for_line(process, text):
    """Read output up to a line that has this text; returns all that was read."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"ended without saying {text!r}:\n{''.join(lines)}")


def wait_for_worker(url):
    """Describe a model until its version has a worker that is ready; returns the description."""
    with httpx.Client(timeout=30) as client:
        while True:
            answer = client.get(url)
            if answer.status_code == 200 and any(worker["status"] == "READY" for worker in answer.json()[0]["workers"]):
                return answer.json()[0]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- flambeau ---------------------------------------------------------------------------------------------------------


def test_version(run):
    assert run("flambeau", "--version").stdout.startswith("flambeau 0.")


def test_without_arguments_the_help_is_shown(run):
    done = run("flambeau")
    assert done.returncode == 0
    assert "serve" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "problem", "hint"),
    [
        (["serve"], "no model and no model store", "flambeau serve model.mar"),
        (["serve", "nowhere.mar"], "model not found: nowhere.mar", "--model-store DIR"),
        (["serve", "--model-store", "nowhere"], "model store not found", "--model-store"),
        (["serve", "--set", "job_queue_sise=1"], "did you mean 'job_queue_size'?", "--show-config"),
        (["serve", "--set", "job_queue_size=x"], "must be an integer", "integer of at least 1"),
        (["serve", "--set", "job_queue_size"], "--set job_queue_size: no value", "--set key=value"),
        (["serve", "--no-such-option"], "No such option: --no-such-option", "flambeau serve --help"),
        (["srve"], "No such command", "flambeau --help"),
    ],
)
def test_wrong_usage_is_one_line_and_a_hint(run, arguments, problem, hint):
    done = run("flambeau", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    error, advice = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert problem in error
    assert advice.startswith("  hint: ")
    assert hint in advice


def test_show_config_names_the_origin_of_every_value(run, tmp_path):
    (tmp_path / "config.properties").write_text("enable_envvars_config=true\njob_queue_size=5\nmax_request_size=6\n")
    done = run("flambeau", "serve", "--show-config", "--json", "--host", "h", TS_MAX_REQUEST_SIZE="7")
    settings = json.loads(done.stdout)
    assert settings["job_queue_size"] == {"value": "5", "origin": "config.properties:2"}
    assert settings["max_request_size"] == {"value": "7", "origin": "environment TS_MAX_REQUEST_SIZE"}
    assert settings["inference_address"] == {"value": "http://h:8080", "origin": "command line"}
    assert settings["model_store"] == {"value": None, "origin": "default"}


def test_show_config_is_a_line_a_setting(run, tmp_path):
    done = run("flambeau", "serve", "--show-config", "--model-store", "m")
    line = next(line for line in done.stdout.splitlines() if line.startswith("model_store "))
    assert line.split() == ["model_store", str(tmp_path / "m"), "command", "line"]


def test_models_that_are_here_are_named_by_their_whole_path_and_others_as_they_are(run, tmp_path, model):
    done = run("flambeau", "serve", "--show-config", "--json", "length_model", "n=length_model", "x.mar", "y=z.mar")
    here = tmp_path / "length_model"
    assert json.loads(done.stdout)["load_models"]["value"] == f"{here},n={here},x.mar,y=z.mar"


def test_a_model_is_served_with_the_settings_of_the_command_line(start, tmp_path, model):
    server = start(
        "flambeau", "serve", model, *ANY_PORTS, "--ready-file", "ready.json",
        "--workers", "1", "--batch-size", "4", "--max-batch-delay", "2.5", "--set", "job_queue_size=33",
    )  # fmt: skip
    summary = wait_for_line(server, "logs")
    assert "Ctrl-C" in summary
    assert "loading length_model" in summary
    ready = json.loads((tmp_path / "ready.json").read_text())
    assert ready["pid"] == server.pid
    version = wait_for_worker(f"{ready['management_address']}/models/length")
    answer = httpx.post(f"{ready['inference_address']}/predictions/length", content=b"12345")
    assert answer.text == "5"
    assert (version["modelVersion"], version["batchSize"], version["maxWorkers"]) == ("2.0", 4, 1)
    assert version["jobQueueStatus"]["remainingCapacity"] == 33


def test_models_may_lie_above_the_working_directory(start, tmp_path, model):
    (tmp_path / "deep").mkdir()
    server = start(
        "flambeau",
        "serve",
        "deep/../length_model",
        "other=deep/../length_model",
        *ANY_PORTS,
        "--ready-file",
        "ready.json",
    )
    wait_for_line(server, "logs")
    management = json.loads((tmp_path / "ready.json").read_text())["management_address"]
    assert wait_for_worker(f"{management}/models/length")["modelUrl"] == str(model)
    assert wait_for_worker(f"{management}/models/other")["modelUrl"] == str(model)


def test_a_model_that_cannot_be_served_is_named_on_the_console(start, tmp_path, model):
    (tmp_path / "broken.mar").write_text("not an archive")
    (model / "handler.py").write_text("raise RuntimeError('no weights')")
    server = start("flambeau", "serve", "broken.mar", model, *ANY_PORTS)
    output = wait_for_line(server, "no weights")
    assert f"\nerror: Failed to load model: {tmp_path}/broken.mar: Archive is neither a zip file nor" in output
    assert "\nerror: Backend worker error: worker 9000 of model length 2.0: RuntimeError: no weights\n" in output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_server_and_removes_the_ready_file(start, tmp_path, store, number):
    server = start("flambeau", "serve", "--model-store", store, *ANY_PORTS, "--ready-file", "ready.json")
    wait_for_line(server, "is listening")
    ready = json.loads((tmp_path / "ready.json").read_text())
    assert httpx.get(f"{ready['inference_address']}/ping").json() == {"status": "Healthy"}
    server.send_signal(number)
    assert server.wait(timeout=30) == 0
    assert not (tmp_path / "ready.json").exists()
    assert "Traceback" not in server.stdout.read()


def test_a_ready_file_that_was_left_is_gone_when_the_server_cannot_start(run, tmp_path, store):
    (tmp_path / "ready.json").write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        run("flambeau", "serve", "--model-store", store, *ANY_PORTS, "--port", port, "--ready-file", "ready.json")
    assert not (tmp_path / "ready.json").exists()


def test_an_address_in_use_is_one_line_and_a_hint(run, store):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = run("flambeau", "serve", "--model-store", store, *ANY_PORTS, "--port", port)
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()
    assert error == f"error: cannot listen on http://127.0.0.1:{port}: Address already in use"
    assert "another program listens there" in hint


def test_the_model_store_of_torchserves_file_is_served(start, tmp_path, store):
    port = free_port()
    (tmp_path / "config.properties").write_text(
        f"inference_address=http://127.0.0.1:{port}\nmanagement_address=http://127.0.0.1:{port}\n"
        f"metrics_address=http://127.0.0.1:0\ngrpc_inference_port=0\ngrpc_management_port=0\nmodel_store=$$STORE$$\nnumber_of_netty_threads=32\n"
    )
    server = start("flambeau", "serve", STORE=str(store))
    assert "has no effect" in wait_for_line(server, "is listening")


# --- torchserve -------------------------------------------------------------------------------------------------------


@pytest.fixture
def torchserve_config(tmp_path, store):
    """A properties file of free ports."""
    path = tmp_path / "ts.properties"
    lines = [f"{name}_address=http://127.0.0.1:{free_port()}" for name in ("inference", "management", "metrics")]
    lines += ["grpc_inference_port=0", "grpc_management_port=0", f"model_store={store}"]
    path.write_text("\n".join(lines))
    return path


def test_torchserve_version(run):
    for option in ("-v", "--version"):
        assert run("torchserve", option).stdout.startswith("TorchServe Version is 0.12.0 (Flambeau 0.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing mandatory parameter --model-store"),
        (["--start", "--model-store", "nowhere"], "--model-store directory not found: "),
        (["--ts-config", "nowhere"], "--ts-config file not found: nowhere"),
        (["--log-config", "nowhere"], "--log-config file not found: nowhere"),
        (["--workflow-store", "nowhere"], "--workflow-store directory not found: nowhere"),
    ],
)
def test_torchserve_names_what_is_missing_and_exits_with_1(run, arguments, message):
    done = run("torchserve", *arguments)
    assert done.returncode == 1
    assert done.stdout.startswith(message)


def test_a_bad_value_is_an_invalid_configuration(run, tmp_path):
    (tmp_path / "config.properties").write_text("job_queue_size=x")
    done = run("torchserve", "--model-store", ".")
    assert done.returncode == 1
    assert done.stderr.startswith("Invalid configuration: config.properties:1: job_queue_size=x: must be an integer")


def test_an_invalid_temp_directory_is_named(run):
    done = run("torchserve", "--model-store", ".", TEMP="/nowhere")
    assert (done.returncode, done.stdout) == (1, "Invalid temp directory: /nowhere\n")


def test_start_stop_and_version_exclude_one_another(run):
    assert run("torchserve", "--start", "--stop").returncode == 2


def test_stopping_what_does_not_run_is_no_error(run):
    done = run("torchserve", "--stop")
    assert (done.returncode, done.stdout) == (0, "TorchServe is not currently running.\n")


def test_a_server_in_the_background_is_started_once_and_stopped(run, start, tmp_path, torchserve_config):
    launcher = start("torchserve", "--start", "--ts-config", torchserve_config, "--ncs")
    output = wait_for_line(launcher, "Model server started.")
    assert "Torchserve version: 0.12.0" in output
    assert f"Config file: {torchserve_config}" in output
    assert launcher.wait(timeout=30) == 0
    pid_file = tmp_path / "tmp" / ".model_server.pid"
    server = psutil.Process(int(pid_file.read_text()))
    assert server.parent().pid != os.getpid()
    assert (tmp_path / "key_file.json").exists()

    second = run("torchserve", "--start", "--ts-config", torchserve_config)
    assert second.returncode == 1
    assert second.stdout == "TorchServe is already running, please use torchserve --stop to stop TorchServe.\n"

    stopped = run("torchserve", "--stop", "--foreground")
    assert (stopped.returncode, stopped.stdout) == (0, "TorchServe has stopped.\n")
    assert not server.is_running()
    assert not pid_file.exists()
    assert not (tmp_path / "key_file.json").exists()


def test_a_server_in_the_foreground_stays_until_a_signal_and_writes_snapshots(start, tmp_path, torchserve_config):
    server = start("torchserve", "--foreground", "--disable-token-auth", "--ts-config", torchserve_config)
    wait_for_line(server, "Model server started.")
    assert not (tmp_path / "key_file.json").exists()
    server.send_signal(signal.SIGINT)
    assert server.wait(timeout=30) == 0
    assert not (tmp_path / "tmp" / ".model_server.pid").exists()
    assert list((tmp_path / "logs" / "config").glob("*-shutdown.cfg"))


def test_an_orphan_pid_file_is_removed(run, tmp_path):
    pid_file = tmp_path / "tmp" / ".model_server.pid"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    pid_file.write_text(str(ended.pid))
    done = run("torchserve", "--start")
    assert done.stdout.splitlines() == ["Removing orphan pid file.", "Missing mandatory parameter --model-store"]
    assert not pid_file.exists()


def test_a_pid_that_went_to_a_younger_process_is_not_stopped(run, tmp_path):
    pid_file = tmp_path / "tmp" / ".model_server.pid"
    pid_file.write_text(str(os.getpid()))
    os.utime(pid_file, (1, 1))
    assert run("torchserve", "--stop").stdout == "TorchServe is not currently running.\n"
