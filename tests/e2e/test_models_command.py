"""``flambeau models`` against a real server."""

from __future__ import annotations

import json

import pytest

from flambeau.cli.main import run
from tests.serving import ECHO, ServerProcess, write_model


@pytest.fixture
def models(tmp_path, monkeypatch, capsys):
    """Runs the command in the test's folder. Returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def models(*arguments: object):
        code = run(["models", *map(str, arguments)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return models


@pytest.fixture(scope="module")
def open_server(tmp_path_factory):
    """One that lets clients register models, with one model in it and one that does not load."""
    folder = tmp_path_factory.mktemp("open-server")
    store = tmp_path_factory.mktemp("store")
    write_model(store, "echo", version="1.0")
    write_model(store, "echo", version="2.0")
    write_model(store, "broken", "raise RuntimeError('not today')")
    options = ["--enable-model-api", "--model-store", str(store), "--workers", "1"]
    with ServerProcess(store / "echo-1.0", folder=folder, options=options) as server:
        yield server


def test_a_model_goes_through_its_life(models, open_server):
    url = ("--url", open_server.management)
    assert models("register", "echo-2.0", "--workers", 1, *url) == (
        0,
        'Model "echo" Version: 2.0 registered with 1 initial workers\n',
        "",
    )
    code, out, _ = models("list", *url)
    assert code == 0
    assert [line.split()[:5] for line in out.splitlines()] == [
        ["model", "version", "workers", "batch", "waiting"],
        ["echo", "1.0", "(default)", "1", "ready"],
        ["echo", "2.0", "1", "ready", "1"],
    ]
    assert models("default", "echo", "2.0", *url)[0] == 0
    versions = json.loads(models("--json", *url)[1])
    assert {version["modelVersion"]: version["isDefault"] for version in versions} == {"1.0": False, "2.0": True}
    assert models("scale", "echo", "--version", "1.0", "--workers", 2, *url)[0] == 0
    description = json.loads(models("describe", "echo", "--version", "1.0", "--json", *url)[1])
    assert len(description["workers"]) == 2
    assert models("scale", "echo", "--batch-size", 8, *url)[1] == "Settings changed for model: echo\n"
    assert "batchSize" in models("describe", "echo", *url)[1]
    assert models("default", "echo", "1.0", *url)[0] == 0
    assert models("unregister", "echo", "--version", "2.0", *url) == (0, 'Model "echo" unregistered\n', "")


def test_a_folder_here_can_be_registered_with_a_server_of_this_machine(models, open_server, tmp_path):
    write_model(tmp_path, "local", ECHO)
    url = ("--url", open_server.management)
    assert models("register", "local-1.0", "--workers", 0, *url)[0] == 0
    assert "local" in models(*url)[1]
    assert models("unregister", "local", "--json", *url)[1] == '{\n  "status": "Model \\"local\\" unregistered"\n}\n'


def test_a_model_that_does_not_load_says_where_to_look(models, open_server):
    code, out, error = models("register", "broken-1.0", "--workers", 1, "--url", open_server.management)
    assert (code, out) == (1, "")
    assert "not today" in error
    assert "flambeau logs --kind model" in error


def test_a_server_without_the_model_api_is_told_from_other_refusals(models, server):
    for arguments in (("register", "x.mar"), ("unregister", "obedient")):
        code, _, error = models(*arguments, "--url", server.management)
        assert code == 1
        assert error == (
            "error: the server does not let clients register and unregister models\n"
            "  hint: start it with --enable-model-api\n"
        )


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("describe", "none"), 1, "Model not found: none"),
        (("scale", "obedient"), 2, "nothing to change"),
        (("scale", "obedient", "--workers", "-1"), 2, "Invalid value for '--workers'"),
        (("scale", "obedient", "--workers", "2", "--max-workers", "1"), 1, "max_worker cannot be less"),
        (("default", "obedient", "9"), 1, "Model version 9 does not exist for model obedient"),
        (("describe",), 2, "Missing argument 'MODEL'"),
        (("frobnicate",), 2, "No such command 'frobnicate'"),
    ],
)
def test_wrong_calls_are_refused_with_a_sentence(models, server, arguments, code, sentence):
    url = () if arguments[0] == "frobnicate" else ("--url", server.management)
    status, out, error = models(*arguments, *url)
    assert (status, out) == (code, "")
    assert sentence in error


def test_the_inference_address_is_told_from_the_management_address(models, server):
    assert "--url wants the management address" in models("--url", server.inference)[2]


def test_without_a_server_it_says_so(models, unused_url):
    code, _, error = models("list", "--url", unused_url)
    assert code == 1
    assert error.startswith(f"error: no server at {unused_url}\n  hint: start one with flambeau serve")


def test_a_server_that_wants_keys_gets_them_from_its_key_file(models, model, tmp_path):
    folder = tmp_path / "server"
    options = ["--token-auth", "--workers", "1"]
    with ServerProcess(model, folder=folder, options=options, waits_for_models=False) as server:
        url = ("--url", server.management)
        code, _, error = models(*url)
        assert code == 1
        assert "--key-file" in error
        assert models("--key-file", folder / "key_file.json", *url)[0] == 0
