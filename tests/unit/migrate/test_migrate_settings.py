"""``config.properties``, key by key."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flambeau.config.properties import parse_properties
from flambeau.config.server import ServerConfig
from flambeau.config.settings import SERVER_SETTINGS, SNAPSHOT_NOTE
from flambeau.errors import ConfigError
from flambeau.migrate.findings import Severity
from flambeau.migrate.settings import check_files, check_settings, read_properties, usable_settings


def found(text, **environ):
    properties = parse_properties(text, "config.properties")
    return {one.key: (one.severity, one.line) for one in check_settings(properties, "config.properties", environ)}


def test_settings_that_work_are_not_mentioned():
    assert found("inference_address=http://0.0.0.0:8080\njob_queue_size=10\n") == {}


def test_unknown_keys_are_noted_with_what_was_probably_meant():
    properties = parse_properties("\njob_queue_sze=10", "")
    (finding,) = check_settings(properties, "c", {})
    assert (finding.severity, finding.place, finding.todo) == (Severity.NOTE, "c:2", "did you mean job_queue_size?")


def test_values_that_stop_the_server_block():
    assert found("job_queue_size=many") == {"job_queue_size": (Severity.BLOCKS, 1)}


def test_placeholders_need_their_variables():
    text = "model_store=$$STORE$$\njob_queue_size=$$SIZE$$"
    assert set(found(text)) == {"model_store", "job_queue_size"}
    assert found(text, STORE="/models", SIZE="10") == {}
    assert found(text, STORE="/models", SIZE="x") == {"job_queue_size": (Severity.BLOCKS, 2)}


def test_every_key_without_an_effect_is_named_unless_it_asks_for_nothing():
    for key, setting in SERVER_SETTINGS.items():
        if setting.without_effect and setting.without_effect is not SNAPSHOT_NOTE:
            assert found(f"{key}=something")[key][0] in (Severity.CHANGE, Severity.DIFFERS), key
            assert found(f"{key}=false") == {}
            assert found(f"{key}=") == {}


def test_only_settings_with_which_a_server_starts_are_used_further():
    properties = parse_properties("a=b\njob_queue_size=x\nmodel_store=$$S$$\nmetrics_mode=prometheus\n", "")
    assert usable_settings(properties, {}) == {"metrics_mode": "prometheus"}


def test_files_that_are_not_there_block(tmp_path):
    config = replace(ServerConfig(), certificate_file=tmp_path / "none.pem")
    (finding,) = check_files(config, {"certificate_file": 7}, "c")
    assert (finding.severity, finding.place, finding.key) == (Severity.BLOCKS, "c:7", "certificate_file")


def test_a_metrics_file_is_read(tmp_path):
    path = tmp_path / "metrics.yaml"
    path.write_text("model_metrics:\n  counter:\n    - name: a\n      unit: count\n      dimensions: []\n")
    config = replace(ServerConfig(), metrics_config=path)
    assert list(check_files(config, {}, "c")) == []
    path.write_text("model_metrics: 3\n")
    (finding,) = check_files(config, {}, "c")
    assert finding.severity is Severity.BLOCKS


@pytest.mark.parametrize("content", ["key=\\u12", None])
def test_what_is_no_properties_file_is_an_error(tmp_path, content):
    path = tmp_path / "c.properties"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError):
        read_properties(path)
