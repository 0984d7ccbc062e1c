import json
import re
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.config.properties import ENCODING, parse_properties
from flambeau.errors import ConfigError
from flambeau.registry.snapshot import (
    SNAPSHOTS_KEPT,
    SnapshotKind,
    SnapshotModel,
    latest_snapshot,
    parse_model_snapshot,
    write_snapshot,
)

NOON = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=timezone.utc)
RESNET = SnapshotModel(
    default_version=True,
    mar_name="resnet.mar",
    min_workers=1,
    max_workers=2,
    batch_size=8,
    max_batch_delay=50,
    response_timeout=120,
)
RESNET_JSON = {
    "defaultVersion": True,
    "marName": "resnet.mar",
    "minWorkers": 1,
    "maxWorkers": 2,
    "batchSize": 8,
    "maxBatchDelay": 50,
    "responseTimeout": 120,
    "startupTimeout": 120,
    "runtimeType": "python",
    "parallelLevel": 0,
}

names = st.text(min_size=1).filter(lambda text: text.isprintable())
versions = st.builds(
    SnapshotModel,
    mar_name=names,
    min_workers=st.integers(0, 4),
    max_workers=st.integers(4, 8),
    batch_size=st.integers(1, 64),
    max_batch_delay=st.integers(0, 1000),
    response_timeout=st.integers(1, 1000),
)


def read(path):
    """The settings of a snapshot, as a server that starts reads them."""
    return {entry.key: entry.value for entry in parse_properties(path.read_text(ENCODING), path.name)}


def write(directory, now=NOON, kind=SnapshotKind.SNAPSHOT, properties=None, models=None):
    return write_snapshot(directory, kind, properties or {}, models or {}, now)


def snapshot_with(**changes):
    return {"models": {"resnet": {"1.0": {**RESNET_JSON, **changes}}}}


# --- writing -----------------------------------------------------------------------------------------------------


def test_name_is_local_time_to_the_millisecond_and_the_occasion(tmp_path):
    assert write(tmp_path, kind=SnapshotKind.STARTUP).name == "20260131120000123-startup.cfg"


def test_file_holds_the_settings_and_the_models_in_torchserves_words(tmp_path):
    path = write(tmp_path, properties={"job_queue_size": "7"}, models={"resnet": {"1.0": RESNET}})
    settings = read(path)
    assert settings["job_queue_size"] == "7"
    assert json.loads(settings["model_snapshot"]) == {
        "name": "20260131120000123-snapshot.cfg",
        "modelCount": 1,
        "created": int(NOON.timestamp() * 1000),
        "models": {"resnet": {"1.0": RESNET_JSON}},
    }


def test_snapshot_that_the_server_was_started_from_is_replaced(tmp_path):
    path = write(tmp_path, properties={"model_snapshot": "old"})
    assert json.loads(read(path)["model_snapshot"])["modelCount"] == 0


def test_directory_is_made_and_holds_nothing_but_the_snapshot(tmp_path):
    path = write(tmp_path / "logs" / "config")
    assert list(path.parent.iterdir()) == [path]


def test_only_the_owner_can_read_it(tmp_path):
    assert write(tmp_path).stat().st_mode & 0o777 == 0o600


def test_snapshot_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    in_the_way = tmp_path / "20260131120000123-snapshot.cfg"
    in_the_way.mkdir()
    with pytest.raises(OSError):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == [in_the_way]


def test_oldest_are_deleted_beyond_the_number_kept_and_other_files_are_not(tmp_path):
    notes = tmp_path / "mine.cfg"
    notes.touch()
    paths = [write(tmp_path, now=NOON + timedelta(seconds=second)) for second in range(SNAPSHOTS_KEPT + 2)]
    assert set(tmp_path.iterdir()) == {notes, *paths[2:]}


# --- finding the latest ------------------------------------------------------------------------------------------


def test_no_directory_no_snapshot(tmp_path):
    assert latest_snapshot(tmp_path / "missing") is None
    assert latest_snapshot(tmp_path) is None


def test_latest_is_the_newest_whatever_its_occasion(tmp_path):
    write(tmp_path, kind=SnapshotKind.STARTUP)
    last = write(tmp_path, now=NOON + timedelta(milliseconds=1), kind=SnapshotKind.SHUTDOWN)
    assert latest_snapshot(tmp_path) == last


def test_latest_is_right_when_clocks_are_put_back(tmp_path):
    summer, winter = timezone(timedelta(hours=2)), timezone(timedelta(hours=1))
    write(tmp_path, now=NOON.astimezone(summer))
    last = write(tmp_path, now=(NOON + timedelta(minutes=10)).astimezone(winter))
    assert latest_snapshot(tmp_path) == last


def test_files_that_are_no_snapshots_are_passed_over(tmp_path):
    for name in ("config.properties", "20260131-startup.cfg", ".20270131120000123-snapshot.cfg.x1y2"):
        (tmp_path / name).touch()
    assert latest_snapshot(tmp_path) is None


# --- reading -----------------------------------------------------------------------------------------------------


def test_models_are_read_in_the_order_of_the_file():
    content = {"models": {"b": {"2.0": RESNET_JSON, "1.0": {**RESNET_JSON, "defaultVersion": False}}, "a": {}}}
    models = parse_model_snapshot(content)
    assert [(name, list(versions)) for name, versions in models.items()] == [("b", ["2.0", "1.0"]), ("a", [])]
    assert models["b"]["2.0"] == RESNET


def test_what_older_torchserve_releases_leave_out_has_its_default():
    optional = ("defaultVersion", "startupTimeout", "runtimeType", "parallelLevel")
    entry = {key: value for key, value in RESNET_JSON.items() if key not in optional}
    model = parse_model_snapshot({"models": {"resnet": {"1.0": entry}}})["resnet"]["1.0"]
    assert (model.default_version, model.startup_timeout, model.runtime_type, model.parallel_level) == (
        False,
        120,
        "python",
        0,
    )


def test_unknown_keys_are_passed_over():
    assert parse_model_snapshot(snapshot_with(workflow="x"))["resnet"]["1.0"] == RESNET


@pytest.mark.parametrize(
    ("content", "key", "problem"),
    [
        ({}, "model_snapshot.models", "must be a JSON object"),
        ({"models": []}, "model_snapshot.models", "must be a JSON object"),
        ({"models": {"resnet": 1}}, "model_snapshot.models.resnet", "must be a JSON object"),
        ({"models": {"resnet": {"1.0": None}}}, "model_snapshot.models.resnet.1.0", "object"),
        ({"models": {"resnet": {"1.0": {}}}}, "model_snapshot.models.resnet.1.0", "marName"),
        (snapshot_with(marName=""), "model_snapshot.models.resnet.1.0", "marName"),
        (snapshot_with(minWorkers="2"), "model_snapshot.models.resnet.1.0", "minWorkers"),
        (snapshot_with(minWorkers=-1), "model_snapshot.models.resnet.1.0", "minWorkers"),
        (snapshot_with(batchSize=0), "model_snapshot.models.resnet.1.0", "batchSize"),
        (snapshot_with(minWorkers=3), "model_snapshot.models.resnet.1.0.maxWorkers", "less than minWorkers"),
    ],
)
def test_malformed_content_is_refused_and_its_place_named(content, key, problem):
    with pytest.raises(ConfigError, match=re.escape(problem)) as refusal:
        parse_model_snapshot(content)
    assert refusal.value.key == key


def test_two_default_versions_are_refused():
    with pytest.raises(ConfigError, match=r"1\.0, 2\.0: only one version"):
        parse_model_snapshot({"models": {"resnet": {"1.0": RESNET_JSON, "2.0": RESNET_JSON}}})


@given(models=st.dictionaries(names, st.dictionaries(names, versions)), properties=st.dictionaries(names, names))
def test_what_is_written_is_read_back(tmp_path_factory, models, properties):
    properties.pop("model_snapshot", None)
    path = write(tmp_path_factory.mktemp("config"), properties=properties, models=models)
    settings = read(path)
    assert parse_model_snapshot(json.loads(settings.pop("model_snapshot"))) == models
    assert settings == properties


@given(st.recursive(st.none() | st.booleans() | st.integers() | names, lambda inner: st.dictionaries(names, inner)))
def test_any_other_json_is_refused(value):
    with pytest.raises(ConfigError, match=re.escape("model_snapshot.models.resnet.1.0")):
        parse_model_snapshot({"models": {"resnet": {"1.0": value}}})
