import json
import os

import pytest

from flambeau.config.server import Address, MetricsMode, StartupModel
from flambeau.config.settings import SERVER_SETTINGS
from flambeau.config.sources import load_server_config
from flambeau.errors import ConfigError


@pytest.fixture
def load(tmp_path):
    """Loads from a folder that holds ``config.properties`` with the given text."""

    def load(properties=None, *, cli=None, environ=None, **options):
        if properties is not None:
            (tmp_path / "config.properties").write_text(properties, encoding="iso-8859-1")
        return load_server_config(cli=cli or {}, environ=environ or {}, cwd=tmp_path, **options)

    return load


def test_without_any_source_everything_is_default(load):
    loaded = load()
    assert loaded.config.job_queue_size == 100
    assert loaded.config.inference_address == Address("http", "127.0.0.1", 8080)
    assert set(loaded.origins.values()) == {"default"}
    assert loaded.warnings == []
    assert loaded.file is None


def test_every_setting_has_an_origin(load):
    assert set(load().origins) == set(SERVER_SETTINGS)


def test_values_of_the_file_carry_file_and_line(load):
    loaded = load("# comment\njob_queue_size=7\nmetrics_mode = Prometheus\nmax_request_size: 10\n")
    assert loaded.config.job_queue_size == 7
    assert loaded.config.metrics_mode is MetricsMode.PROMETHEUS
    assert loaded.config.limits.max_request_bytes == 10
    assert loaded.origins["job_queue_size"] == "config.properties:2"
    assert loaded.origins["max_response_size"] == "default"


def test_the_command_line_goes_before_the_file(load):
    loaded = load("job_queue_size=7\nenable_model_api=false", cli={"job_queue_size": 8, "enable_model_api": True})
    assert loaded.config.job_queue_size == 8
    assert loaded.config.enable_model_api
    assert loaded.origins["job_queue_size"] == "command line"


def test_variables_are_not_read_unless_enabled(load):
    assert load("", environ={"TS_JOB_QUEUE_SIZE": "9"}).config.job_queue_size == 100


def test_enabled_variables_go_before_the_command_line(load):
    loaded = load("enable_envvars_config=true", cli={"job_queue_size": 8}, environ={"TS_JOB_QUEUE_SIZE": "9"})
    assert loaded.config.job_queue_size == 9
    assert loaded.origins["job_queue_size"] == "environment TS_JOB_QUEUE_SIZE"


def test_allowed_urls_are_read_from_the_environment_only_with_leave_of_their_own(load):
    environ = {"TS_ALLOWED_URLS": "https://a/.*"}
    assert load("enable_envvars_config=true", environ=environ).origins["allowed_urls"] == "default"
    loaded = load("enable_envvars_config=true\nuse_env_allowed_urls=true", environ=environ)
    assert loaded.config.allowed_urls == ("https://a/.*",)
    assert load("use_env_allowed_urls=true", environ=environ).origins["allowed_urls"] == "default"


def test_log_locations_are_read_always_and_the_command_line_goes_before_them(load, tmp_path):
    environ = {"LOG_LOCATION": "/var/log/a", "METRICS_LOCATION": "m", "TEMP": "/t"}
    config = load("log_dir=x", environ=environ).config
    assert (str(config.log_dir), config.metrics_dir, str(config.temp_dir)) == ("/var/log/a", tmp_path / "m", "/t")
    assert load(environ=environ, cli={"log_dir": "mine"}).config.log_dir == tmp_path / "mine"


@pytest.mark.parametrize(("word", "expected"), [("oip", True), ("true", False), ("OIP", False)])
def test_the_protocol_variable_goes_before_everything_and_knows_one_word(load, word, expected):
    in_file = f"ts_open_inference_protocol={'false' if expected else 'true'}"
    config = load(in_file, environ={"TS_OPEN_INFERENCE_PROTOCOL": word}).config
    assert config.open_inference_protocol is expected


def test_an_empty_protocol_variable_says_nothing(load):
    assert load(
        "ts_open_inference_protocol=true", environ={"TS_OPEN_INFERENCE_PROTOCOL": ""}
    ).config.open_inference_protocol


def test_placeholders_are_replaced_by_variables(load):
    text = "inference_address=http://0.0.0.0:$$PORT$$\nmodel_store=/a/$$NAME$$/b"
    config = load(text, environ={"PORT": "9000", "NAME": "n"}).config
    assert config.inference_address.port == 9000
    assert str(config.model_store) == "/a/n/b"


def test_a_placeholder_of_an_unset_variable_stops_the_start(load):
    with pytest.raises(ConfigError) as caught:
        load("\nmodel_store=$$NOWHERE$$")
    assert str(caught.value) == ("config.properties:2: model_store=$$NOWHERE$$: Invalid Environment Variable NOWHERE")


def test_an_unknown_key_is_named_with_the_nearest_and_does_not_stop_the_start(load):
    loaded = load("job_queue_sise=7\nzzz=1")
    assert loaded.warnings == [
        "config.properties:1: unknown setting 'job_queue_sise' is ignored; did you mean 'job_queue_size'?",
        "config.properties:2: unknown setting 'zzz' is ignored",
    ]


def test_an_unknown_key_on_the_command_line_stops_the_start(load):
    with pytest.raises(ConfigError, match=r"command line: job_queue_sise=7: no such setting; did you mean"):
        load(cli={"job_queue_sise": "7"})


def test_a_key_without_effect_is_named_with_its_reason(load):
    warnings = load("vmargs=-Xmx4g\nversion=0.12.0").warnings
    assert warnings == ["config.properties:1: vmargs has no effect: there is no Java virtual machine"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("job_queue_size=many", "job_queue_size=many: must be an integer"),
        ("job_queue_size=0", "job_queue_size=0: must be at least 1"),
        ("inference_address=8080", "inference_address=8080: Invalid binding address: 8080 "),
        ("metrics_address=http://a:65535", "metrics_address=http://a:65535: Invalid port number: 65535"),
        ("models={", "models={: not JSON: "),
        ("blacklist_env_vars=(", "blacklist_env_vars=(: not a regular expression: "),
    ],
)
def test_a_value_that_cannot_be_used_stops_the_start_with_its_source(load, line, message):
    with pytest.raises(ConfigError) as caught:
        load(line)
    assert str(caught.value).startswith(f"config.properties:1: {message}")


def test_a_bad_variable_is_named_as_the_source(load):
    with pytest.raises(ConfigError, match="environment TS_JOB_QUEUE_SIZE: job_queue_size=x: must be an integer"):
        load("enable_envvars_config=true", environ={"TS_JOB_QUEUE_SIZE": "x"})


def test_the_variable_names_the_file_before_the_command_line_does(load, tmp_path):
    (tmp_path / "a.cfg").write_text("job_queue_size=1")
    (tmp_path / "b.cfg").write_text("job_queue_size=2")
    loaded = load(
        "job_queue_size=3", cli={"tsConfigFile": "a.cfg"}, environ={"TS_CONFIG_FILE": str(tmp_path / "b.cfg")}
    )
    assert loaded.config.job_queue_size == 2
    assert loaded.file == tmp_path / "b.cfg"
    assert load(cli={"tsConfigFile": "a.cfg"}).config.job_queue_size == 1


def test_a_file_that_is_named_and_missing_stops_the_start(load):
    with pytest.raises(ConfigError, match="command line: --config=nowhere: no such file"):
        load(cli={"tsConfigFile": "nowhere"})


def test_the_newest_snapshot_goes_before_config_properties(load, tmp_path):
    folder = tmp_path / "logs" / "config"
    folder.mkdir(parents=True)
    for name, queue_size, modified_at in (("1-startup.cfg", 11, 100), ("2-snapshot.cfg", 12, 200)):
        (folder / name).write_text(f"job_queue_size={queue_size}\nmodel_snapshot={{}}")
        os.utime(folder / name, (modified_at, modified_at))
    loaded = load("job_queue_size=3")
    assert loaded.config.job_queue_size == 12
    assert loaded.origins["job_queue_size"] == "logs/config/2-snapshot.cfg:1"
    assert load(use_snapshots=False).config.job_queue_size == 3


def test_models_of_the_command_line_give_way_to_a_snapshot_and_that_is_said(load):
    loaded = load("model_snapshot={}", cli={"load_models": "a.mar"})
    assert loaded.warnings == ["the models of the command line are ignored: those of the snapshot are restored"]


def test_defaults_of_the_command_give_way_to_the_file(load):
    assert load("", defaults={"snapshots": "false"}).config.snapshots is False
    assert load("snapshots=true", defaults={"snapshots": "false"}).config.snapshots is True


def test_models_to_load(load):
    config = load("load_models=a.mar,n=b.mar").config
    assert config.startup_models == (StartupModel(url="a.mar"), StartupModel(url="b.mar", name="n"))
    assert load("", cli={"load_models": "ALL"}).config.load_all_models


@pytest.mark.parametrize(("line", "expected"), [("true", False), ("false", True)])
def test_token_authorization_is_what_the_file_says(load, line, expected):
    assert load(f"disable_token_authorization={line}").config.token_authorization is expected


def test_token_authorization_is_undecided_when_nobody_says_anything(load):
    assert load("").config.token_authorization is None


def test_host_and_ports_replace_parts_of_whatever_the_addresses_are(load):
    text = "inference_address=https://a:1\nmanagement_address=unix:/tmp/m\nmetrics_address=http://c:3"
    loaded = load(text, cli={"host": "0.0.0.0", "inference_port": 0})
    assert loaded.config.inference_address == Address("https", "0.0.0.0", 0)
    assert loaded.config.management_address == Address("unix", path="/tmp/m")
    assert loaded.config.metrics_address == Address("http", "0.0.0.0", 3)
    assert loaded.origins["metrics_address"] == "command line"
    assert loaded.origins["management_address"] == "config.properties:2"


def test_a_port_out_of_range_is_an_error_of_the_command_line(load):
    with pytest.raises(ConfigError, match="command line: metrics_port=65535: Invalid port number"):
        load(cli={"metrics_port": 65535})


def test_paths_are_absolute_and_empty_ones_are_not_set(load, tmp_path):
    config = load("model_store=models\nmetrics_config=\nlog_dir=").config
    assert config.model_store == tmp_path / "models"
    assert config.metrics_config is None
    assert config.log_dir == tmp_path / "logs"
    assert config.key_file == tmp_path / "key_file.json"


def test_open_doors_are_pointed_out(load):
    assert load("", cli={"enable_model_api": True}).warnings == [
        "allowed_urls is at its default: with the model API on, clients may register models from any URL"
    ]
    assert load("allowed_urls=https://a/.*", cli={"enable_model_api": True}).warnings == []


def test_a_boolean_that_is_neither_word_is_pointed_out(load):
    assert load("enable_model_api=yes").warnings == [
        "config.properties:1: enable_model_api=yes counts as false: only the word 'true' is true"
    ]


def test_a_configuration_reads_back_from_its_effective_properties(load):
    text = 'load_models=all\nmodels={"m": {"1.0": {"batchSize": 2}}}\ntoken_expiration_min=0.5\nhttp_max_headers=9\n'
    loaded = load(text + "enable_envvars_config=true", cli={"disable_token_authorization": True, "host": "h"})
    again = load("", cli=loaded.config.effective_properties)
    assert again.config == loaded.config


def test_effective_properties_have_no_models_of_a_snapshot_and_nothing_without_effect(load):
    properties = load('model_snapshot={"models": {}}\nkeystore_pass=secret').config.effective_properties
    assert "model_snapshot" not in properties
    assert "secret" not in json.dumps(dict(properties))


def test_a_file_of_torchserves_docker_image_is_read(load):
    text = """inference_address=http://0.0.0.0:8080
management_address=http://0.0.0.0:8081
metrics_address=http://0.0.0.0:8082
number_of_netty_threads=32
job_queue_size=1000
model_store=/home/model-server/model-store
workflow_store=/home/model-server/wf-store
"""
    loaded = load(text)
    assert loaded.config.job_queue_size == 1000
    assert loaded.config.authorizes
    assert str(loaded.config.workflow_store) == "/home/model-server/wf-store"
    assert [warning.split(":")[1] for warning in loaded.warnings] == ["4"]
