"""What is being served is written down after every change, and comes back after a restart."""

from __future__ import annotations

import json
import shutil
import signal

import pytest

from tests.process.calls import manage, post, run_serve
from tests.serving import ECHO, ServerProcess, wait_for, write_model

OPTIONS = ["--enable-model-api", "--snapshots"]


def serve(folder, **options):
    return ServerProcess(folder=folder, options=[*OPTIONS, "--model-store", str(folder)], **options)


def snapshots(folder):
    """Names of the snapshots, oldest first; of those that are being written, none."""
    return sorted(path.name for path in (folder / "logs" / "config").glob("*.cfg") if not path.name.startswith("."))


def latest(folder):
    """The models of the latest snapshot."""
    text = (folder / "logs" / "config" / snapshots(folder)[-1]).read_text()
    line = next(line for line in text.splitlines() if line.startswith("model_snapshot"))
    return json.loads(line.partition("=")[2].replace("\\", ""))["models"]


def written(folder, condition):
    wait_for("snapshot", lambda: snapshots(folder) and condition(latest(folder)))


def test_a_restart_brings_back_models_versions_workers_and_live_settings(tmp_path):
    for number in ("1.0", "2.0"):
        write_model(
            tmp_path, "m", f"def handle(data, context): return ['{number}' for _ in data or []]", version=number
        )
    write_model(tmp_path, "other", config="responseTimeout: 50\nmaxBatchDelay: 10\n")
    with serve(tmp_path) as server:
        for url, workers in (("m-1.0", 1), ("m-2.0", 2), ("other-1.0", 0)):
            assert manage(server, "POST", "/models", url=url, initial_workers=workers).status_code == 200
        manage(server, "PUT", "/models/m/2.0/set-default")
        manage(server, "PUT", "/models/other", batch_size=3, max_batch_delay=7, response_timeout=9)
        written(tmp_path, lambda models: models["other"]["1.0"]["responseTimeout"] == 9)
    assert snapshots(tmp_path)[-1].endswith("-shutdown.cfg")
    with serve(tmp_path, waits_for_models=False) as server:
        server.wait_until_ready("m")
        assert post(server, "m", "a").text == "2.0"
        assert post(server, "m/1.0", "a").text == "1.0"
        assert [len(version["workers"]) for version in server.describe("m")] == [1, 2]
        wait_for("the other model", lambda: manage(server, "GET", "/models/other").status_code == 200)
        (other,) = server.describe("other")
        assert (other["batchSize"], other["maxBatchDelay"], other["responseTimeout"]) == (3, 7, 9)
        assert (other["minWorkers"], other["workers"]) == (0, [])


def test_a_server_that_was_killed_comes_back_to_its_last_change(tmp_path):
    write_model(tmp_path, "m")
    with serve(tmp_path) as server:
        manage(server, "POST", "/models", url="m-1.0", initial_workers=1)
        manage(server, "PUT", "/models/m", min_worker=2, synchronous="true")
        written(tmp_path, lambda models: models["m"]["1.0"]["minWorkers"] == 2)
        server.kill()
    with serve(tmp_path, waits_for_models=False) as server:
        server.wait_until_ready("m", workers=2)
        assert post(server, "m", "a").text == "a"


def test_an_unregistered_model_does_not_come_back(tmp_path):
    write_model(tmp_path, "m")
    with serve(tmp_path) as server:
        manage(server, "POST", "/models", url="m-1.0", initial_workers=1)
        written(tmp_path, lambda models: "m" in models)
        manage(server, "DELETE", "/models/m")
        written(tmp_path, lambda models: models == {})


def test_an_archive_that_has_become_unusable_is_logged_and_the_others_come_back(tmp_path):
    write_model(tmp_path, "bad")
    write_model(tmp_path, "good")
    with serve(tmp_path) as server:
        for url in ("bad-1.0", "good-1.0"):
            manage(server, "POST", "/models", url=url, initial_workers=1)
    (tmp_path / "bad-1.0" / "MAR-INF" / "MANIFEST.json").write_text("{")
    with serve(tmp_path, waits_for_models=False) as server:
        server.wait_until_ready("good")
        assert manage(server, "GET", "/models/bad").status_code == 404
        wait_for("line in the log", lambda: "Failed to restore model: bad-1.0: " in server.log())


def test_an_archive_whose_version_has_changed_becomes_the_default_under_its_new_one(tmp_path):
    write_model(tmp_path, "m")
    with serve(tmp_path) as server:
        manage(server, "POST", "/models", url="m-1.0", initial_workers=1)
    manifest = tmp_path / "m-1.0" / "MAR-INF" / "MANIFEST.json"
    manifest.write_text(manifest.read_text().replace('"1.0"', '"1.1"'))
    with serve(tmp_path, waits_for_models=False) as server:
        server.wait_until_ready("m")
        assert post(server, "m", "a").text == "a"
        assert [version["modelVersion"] for version in server.describe("m")] == ["1.1"]


@pytest.mark.parametrize(
    ("snapshot", "problem"),
    [
        ("{", "model_snapshot"),
        ('{"models": []}', "must be a JSON object"),
        ('{"models": {"m": {"1.0": {"marName": "m-1.0", "minWorkers": "two"}}}}', "model_snapshot.models.m.1.0"),
        (
            '{"models": {"m": {"1.0": {"marName": "gone.mar", "minWorkers": 1, "maxWorkers": 1, "batchSize": 1, '
            '"maxBatchDelay": 1, "responseTimeout": 1}}}}',
            "Model archive file for model :m, version :1.0 not found in model store",
        ),
    ],
)
def test_a_snapshot_that_cannot_be_restored_is_one_line_and_no_server(tmp_path, snapshot, problem):
    config = tmp_path / "snapshot.cfg"
    config.write_text(f"model_snapshot={snapshot}\nmodel_store={tmp_path}\n")
    done = run_serve(tmp_path, "--config", str(config))
    assert done.returncode in (1, 2)
    error, *hint = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert problem in error
    assert all(line.startswith("  hint: ") for line in hint)
    assert not list((tmp_path / "tmp").iterdir())


def test_a_server_that_could_not_start_does_not_overwrite_what_was_served(tmp_path):
    write_model(tmp_path, "m")
    with serve(tmp_path) as server:
        manage(server, "POST", "/models", url="m-1.0", initial_workers=1)
        written(tmp_path, lambda models: "m" in models)
        before = snapshots(tmp_path)
        port = server.inference.rpartition(":")[2]
        done = run_serve(tmp_path, *OPTIONS, "--model-store", str(tmp_path), "--port", port)
        assert done.returncode == 1
        assert snapshots(tmp_path) == before


def test_a_server_that_is_stopped_while_it_restores_does_not_forget_what_it_had_not_restored_yet(tmp_path):
    for name in ("a", "b", "c"):
        write_model(tmp_path, name)
    with serve(tmp_path) as server:
        for name in ("a", "b", "c"):
            manage(server, "POST", "/models", url=f"{name}-1.0", initial_workers=1)
    with serve(tmp_path, waits_for_models=False) as server:
        server.signal(signal.SIGTERM)
        assert server.wait_ended() == 0
    assert set(latest(tmp_path)) == {"a", "b", "c"}


def test_a_disk_that_takes_no_snapshot_does_not_stop_serving(tmp_path):
    write_model(tmp_path, "m", ECHO)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "config").write_text("not a folder")
    with ServerProcess(
        tmp_path / "m-1.0", folder=tmp_path, options=["--workers", "1"], waits_for_models=True
    ) as server:
        assert post(server, "m", "a").text == "a"
    shutil.rmtree(tmp_path / "logs")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "config").write_text("not a folder")
    with serve(tmp_path) as server:
        assert manage(server, "POST", "/models", url="m-1.0", initial_workers=1).status_code == 200
        assert post(server, "m", "a").text == "a"
        wait_for("line in the log", lambda: "snapshot not written to" in server.log())
