"""``flambeau logs`` on the logs of a real server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from flambeau.cli.main import run
from tests.e2e.conftest import PREDICT
from tests.serving import wait_for

BIN = Path(sys.executable).with_name("flambeau")


@pytest.fixture
def logs(server, tmp_path, monkeypatch, capsys):
    """Runs the command on the server's logs. Returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def logs(*arguments: object, folder: Path | None = server.log_dir):
        code = run(["logs", *map(str, arguments), *(() if folder is None else ("--log-dir", str(folder)))])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return logs


def ask(server, path=PREDICT):
    """One request, until its line is in the log."""
    before = server.log("access_log.log").count("\n")
    httpx.post(f"{server.inference}{path}", content=b"x", trust_env=False)
    wait_for("line in the access log", lambda: server.log("access_log.log").count("\n") > before)


def test_all_logs_come_in_order_of_time(logs, server):
    ask(server)
    code, out, _ = logs("--json", "-n", 100_000)
    entries = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert {entry["kind"] for entry in entries} >= {"server", "access"}
    assert [entry["time"] for entry in entries] == sorted(entry["time"] for entry in entries)


def test_a_kind_and_a_model_can_be_picked(logs, server):
    ask(server)
    ask(server, "/predictions/picked")
    entries = [json.loads(line) for line in logs("--kind", "access", "--model", "picked", "--json")[1].splitlines()]
    assert [entry["target"] for entry in entries] == ["/predictions/picked"]


def test_the_last_entries_are_shown(logs, server):
    ask(server, "/predictions/first")
    ask(server, "/predictions/last")
    assert '"POST /predictions/last HTTP/1.1" 404' in logs("--kind", "access", "-n", 1)[1]
    assert logs("-n", 0)[1] == ""


def test_what_is_older_is_left_out(logs, server):
    ask(server)
    assert logs("--since", "1h")[1].count("\n") >= 1
    assert logs("--since", "2999-01-01")[1] == ""


def test_following_shows_what_comes_until_ctrl_c(server, tmp_path):
    command = [BIN, "logs", "-f", "--kind", "access", "--log-dir", server.log_dir]
    ask(server, "/predictions/before")
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"}
    ) as process:
        assert process.stdout is not None
        try:
            while "/predictions/before" not in process.stdout.readline():
                pass
            ask(server, "/predictions/after")
            while "/predictions/after" not in process.stdout.readline():
                pass
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


def test_the_folder_is_that_of_the_configuration(logs, server, tmp_path):
    ask(server)
    (tmp_path / "config.properties").write_text(f"metrics_dir={server.log_dir}\n")
    assert logs("-n", 1, folder=None)[0] == 2
    assert logs("--kind", "metrics", "-n", 1, folder=None)[0] == 0


@pytest.mark.parametrize("since", ["10", "10x", "yesterday", "-5m", "99999999999d", "999999d"])
def test_a_time_that_is_none_is_refused(logs, since):
    code, out, error = logs("--since", since)
    assert (code, out) == (2, "")
    assert f"--since {since}: no time" in error


def test_a_folder_without_logs_is_named(logs, tmp_path):
    code, _, error = logs(folder=tmp_path)
    assert code == 2
    assert error.startswith(f"error: no logs in {tmp_path}\n")


def test_a_configuration_that_is_not_there_is_named(logs):
    code, _, error = logs("--config", "none.properties", folder=None)
    assert code == 2
    assert "no such file" in error
