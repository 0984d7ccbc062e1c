"""Starting and stopping a server from a program."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.serving import write_model
from ts import launcher

requests = pytest.importorskip("requests", reason="the launcher registers models by requests: pip install requests")


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A model store with one model, and an environment of this test's own."""
    folder = tmp_path / "store"
    folder.mkdir()
    write_model(folder, "echo")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.properties").write_text(
        "\n".join(f"{name}_address=http://127.0.0.1:0" for name in ("inference", "management", "metrics"))
        + "\nenable_grpc=false\n"
    )
    return folder


def test_a_server_is_started_and_stopped(store, tmp_path, capfd):
    lines = launcher.start(
        model_store=store,
        snapshot_file=tmp_path / "config.properties",
        no_config_snapshots=True,
        disable_token=True,
        models="echo=echo-1.0",
        enable_model_api=True,
    )
    try:
        assert "Model server started." in capfd.readouterr().out
    finally:
        launcher.stop()
    printed = list(iter(lambda: lines.get(timeout=30), None))  # ends with the server
    assert all(isinstance(line, str) for line in printed)
    assert "TorchServe has stopped." in capfd.readouterr().out


def test_a_server_that_cannot_start_says_why(store, tmp_path):
    with pytest.raises(RuntimeError, match="--model-store directory not found"):
        launcher.start(model_store=tmp_path / "nowhere", snapshot_file=tmp_path / "config.properties")


@pytest.fixture
def registered(monkeypatch):
    """What arrives where the launcher believes the management API to be."""
    seen = []

    class Management(BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append({name: value for name, (value,) in parse_qs(urlsplit(self.path).query).items()})
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Management) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        monkeypatch.setattr(launcher, "MANAGEMENT_URL", f"http://127.0.0.1:{server.server_port}/models")
        yield seen
        server.shutdown()
        serving.join()


def test_a_model_is_registered_with_one_worker_that_is_waited_for(registered):
    assert launcher.register_model("m", "m.mar").status_code == 200
    assert registered == [{"model_name": "m", "url": "m.mar", "initial_workers": "1", "synchronous": "true"}]


def test_a_model_is_registered_with_whatever_parameters(registered):
    assert launcher.register_model_with_params((("url", "m.mar"), ("batch_size", "4"))).status_code == 200
    assert registered == [{"url": "m.mar", "batch_size": "4"}]
