"""Archives and model URLs that cannot be served, at the API and on the command line."""

from __future__ import annotations

import io
import json
import zipfile

import httpx
import pytest

from tests.process.calls import Load, manage, message_of, post
from tests.serving import ECHO, ServerProcess, wait_for, write_model

MANIFEST = {"runtime": "python", "model": {"modelName": "m", "modelVersion": "1.0", "handler": "handler.py:handle"}}


def archive(*, manifest=MANIFEST, members=(("handler.py", ECHO),)):
    """The bytes of a ``.mar`` file."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        if manifest is not None:
            file.writestr("MAR-INF/MANIFEST.json", manifest if isinstance(manifest, str) else json.dumps(manifest))
        for name, text in members:
            file.writestr(name, text)
    return content.getvalue()


def with_model(**changes):
    return {**MANIFEST, "model": {**MANIFEST["model"], **changes}}


WITH_YAML = with_model(configFile="model-config.yaml")

BAD_ARCHIVES = {
    "empty": (b"", "Archive is empty."),
    "no_zip": (b"this is no archive at all", "neither a zip file nor a gzip-compressed tar file"),
    "truncated": (archive()[:-30], ""),
    "damaged": (archive().replace(b"return None if", b"return Nope if"), ""),
    "zip_slip": (archive(members=[("handler.py", ECHO), ("../../../escaped", "x")]), "escaped"),
    "absolute": (archive(members=[("handler.py", ECHO), ("/tmp/escaped", "x")]), "escaped"),
    "manifest_no_json": (archive(manifest="{"), "Manifest"),
    "manifest_a_list": (archive(manifest="[]"), "Manifest"),
    "manifest_without_model": (archive(manifest={"runtime": "python"}), "Missing Model entry in manifest file."),
    "no_handler": (archive(manifest=with_model(handler=None)), "names no handler"),
    "yaml_missing": (archive(manifest=WITH_YAML), "model-config.yaml"),
    "yaml_broken": (
        archive(manifest=WITH_YAML, members=[("handler.py", ECHO), ("model-config.yaml", "batchSize: [1\n")]),
        "model-config.yaml, line 2",
    ),
    "yaml_a_list": (
        archive(manifest=WITH_YAML, members=[("handler.py", ECHO), ("model-config.yaml", "- batchSize\n")]),
        "must be a mapping of settings, not a list",
    ),
}


def write_archives(store):
    for name, (content, _) in BAD_ARCHIVES.items():
        (store / f"{name}.mar").write_bytes(content)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    store = folder / "store"
    store.mkdir()
    write_archives(store)
    (folder / "beside.mar").write_bytes(archive())
    (store / "good.mar").write_bytes(archive())
    write_model(folder, "good")
    options = ["--workers", "1", "--enable-model-api", "--model-store", str(store)]
    options += ["--set", "allowed_urls=https?://.*,file:///nowhere/.*"]
    with ServerProcess(folder / "good-1.0", folder=folder, options=options) as server:
        yield server


def register(server, url, **parameters):
    return manage(server, "POST", "/models", url=url, initial_workers=1, **parameters)


def unpacked(server):
    return list((server.folder / "tmp").glob("*/models/*"))


@pytest.mark.parametrize("name", BAD_ARCHIVES)
def test_a_bad_archive_is_refused_with_the_reason_and_leaves_nothing(server, name):
    reply = register(server, f"{name}.mar")
    assert reply.status_code == 400
    assert reply.json()["type"] == "InvalidModelException"
    assert BAD_ARCHIVES[name][1] in message_of(reply)
    assert "Traceback" not in reply.text
    assert str(server.folder) not in reply.text
    assert unpacked(server) == []
    assert not list(server.folder.rglob("escaped"))
    assert post(server, "good", "a").text == "a"


@pytest.mark.parametrize(
    ("url", "status", "message"),
    [
        ("none.mar", 404, "Model not found at: none.mar"),
        ("../beside.mar", 404, "Relative path is not allowed in url: ../beside.mar"),
        ("file:///etc/passwd", 404, "Given URL file:///etc/passwd does not match any allowed URL(s)"),
        ("file:///nowhere/m.mar", 400, "Failed to download archive from: file:///nowhere/m.mar"),
        ("", 404, "empty url"),
    ],
)
def test_a_model_url_that_is_not_allowed_is_refused(server, url, status, message):
    reply = register(server, url)
    assert (reply.status_code, message_of(reply)) == (status, message)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "169.254.169.254", "10.0.0.1", "[::1]", "0x7f.1"])
def test_models_are_not_fetched_from_private_addresses(server, host):
    port = server.inference.rpartition(":")[2]
    reply = register(server, f"http://{host}:{port}/m.mar")
    assert reply.status_code == 400
    assert message_of(reply).startswith("Failed to download archive from: http://")
    assert "private addresses are not allowed" in message_of(reply)


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({"batch_size": 0}, 400),
        ({"runtime": "java"}, 400),
        ({"response_timeout": 0}, 400),
        ({"model_name": "../m"}, 400),
        ({"handler": ":"}, 500),
    ],
)
def test_a_parameter_that_cannot_be_is_refused(server, parameters, status):
    reply = register(server, "good.mar", **parameters)
    assert reply.status_code == status, reply.text
    assert unpacked(server) == []


def test_bad_archives_cost_no_other_request_anything(server):
    with Load(server, "good", clients=4) as load:
        for name in BAD_ARCHIVES:
            assert register(server, f"{name}.mar").status_code == 400
        load.wait_for_answers(4)
    assert set(load.outcomes) == {"200 a"}


def test_a_server_starts_with_the_good_ones_of_its_archives_and_logs_the_others(tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    write_archives(store)
    (store / "good.mar").write_bytes(archive())
    options = ["--workers", "1", "--model-store", str(store), "--set", "load_models=all"]
    with ServerProcess(folder=tmp_path, options=options) as server:
        server.wait_until_ready("m")
        assert post(server, "m", "a").text == "a"
        assert httpx.get(f"{server.inference}/ping", trust_env=False).status_code == 200
        for name in BAD_ARCHIVES:
            wait_for("line in the log", lambda name=name: f"Failed to load model: {name}.mar: " in server.log())


def test_an_archive_that_is_not_there_does_not_keep_a_server_from_starting(tmp_path):
    good = write_model(tmp_path, "good")
    options = ["--workers", "1", "--model-store", str(tmp_path)]
    with ServerProcess(good, "none.mar", folder=tmp_path, options=options, waits_for_models=False) as server:
        server.wait_until_ready("good")
        problem = "Failed to load model: none.mar: Model not found at: none.mar"
        wait_for("line in the log", lambda: problem in server.log())
