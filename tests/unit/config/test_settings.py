from dataclasses import fields

import pytest

from flambeau.config.model import BatchingConfig, ModelConfig, PlacementConfig
from flambeau.config.model_settings import MODEL_SETTINGS, MODEL_SETTINGS_BY_GROUP
from flambeau.config.server import HttpLimits, ServerConfig
from flambeau.config.settings import SERVER_SETTINGS, SETTINGS_BY_GROUP, EnvironmentRule
from flambeau.config.sources import read_field

TORCHSERVE_KEYS_WITH_VARIABLES = """
    debug inference_address management_address metrics_address load_models blacklist_env_vars default_workers_per_model
    default_response_timeout default_startup_timeout unregister_model_timeout number_of_netty_threads
    netty_client_threads job_queue_size number_of_gpu metrics_config metrics_mode model_metrics_auto_detect
    disable_system_metrics ipex_enable ipex_gpu_enable cpu_launcher_enable cpu_launcher_args async_logging
    cors_allowed_origin cors_allowed_methods cors_allowed_headers decode_input_request keystore keystore_pass
    keystore_type private_key_file certificate_file max_request_size max_response_size limit_max_image_pixels
    default_service_handler service_envelope model_server_home model_store prefer_direct_buffer allowed_urls
    install_py_dep_per_model enable_metrics_api grpc_inference_address grpc_management_address grpc_inference_port
    grpc_management_port grpc_inference_max_connection_age_ms grpc_management_max_connection_age_ms
    grpc_inference_max_connection_age_grace_ms grpc_management_max_connection_age_grace_ms enable_grpc_ssl
    initial_worker_port initial_distribution_port workflow_store cpp_log_config ts_open_inference_protocol
    token_expiration_min ts_header_key_sequence_id ts_header_key_sequence_start ts_header_key_sequence_end
    disable_token_authorization enable_model_api
"""
TORCHSERVE_KEYS_OF_FILES = """
    enable_envvars_config use_env_allowed_urls use_native_io io_ratio metric_time_interval system_metrics_cmd models
    model_snapshot version tsConfigFile python vmargs plugins_path
"""
TORCHSERVE_MODEL_KEYS = """
    minWorkers maxWorkers batchSize maxBatchDelay responseTimeout startupTimeout deviceType deviceIds parallelType
    parallelLevel torchrun maxRetryTimeoutInSec clientTimeoutInMills jobQueueSize useJobTicket continuousBatching
    sequenceBatching sequenceMaxIdleMSec sequenceTimeoutMSec maxSequenceJobQueueSize maxNumSequence asyncCommunication
    useVenv
"""


def test_every_key_of_torchserve_is_known():
    assert len(TORCHSERVE_KEYS_WITH_VARIABLES.split()) == 63
    assert {*TORCHSERVE_KEYS_WITH_VARIABLES.split(), *TORCHSERVE_KEYS_OF_FILES.split()} <= set(SERVER_SETTINGS)
    assert len(TORCHSERVE_MODEL_KEYS.split()) == 23
    assert set(TORCHSERVE_MODEL_KEYS.split()) <= set(MODEL_SETTINGS)


def test_what_torchserve_reads_from_the_environment_has_a_variable():
    settings = [SERVER_SETTINGS[key] for key in TORCHSERVE_KEYS_WITH_VARIABLES.split()]
    assert [setting.key for setting in settings if setting.variable is None and not setting.without_effect] == []


def test_no_key_stands_twice():
    assert len(SERVER_SETTINGS) == sum(map(len, SETTINGS_BY_GROUP.values()))
    assert len(MODEL_SETTINGS) == sum(map(len, MODEL_SETTINGS_BY_GROUP.values()))


def test_every_field_of_the_server_has_one_setting():
    set_by_others = {"limits", "effective_properties", "load_all_models"}
    wanted = {field.name for field in fields(ServerConfig)} - set_by_others
    wanted |= {f"limits.{field.name}" for field in fields(HttpLimits)}
    assert sorted(setting.field for setting in SERVER_SETTINGS.values() if setting.field) == sorted(wanted)


def test_every_field_of_a_model_has_one_setting():
    wanted = {field.name for field in fields(ModelConfig)} - {"batching", "placement", "handler_settings"}
    wanted |= {f"batching.{field.name}" for field in fields(BatchingConfig)}
    wanted |= {f"placement.{field.name}" for field in fields(PlacementConfig)}
    assert sorted(setting.field for setting in MODEL_SETTINGS.values() if setting.field) == sorted(wanted)


@pytest.mark.parametrize("setting", SERVER_SETTINGS.values(), ids=SERVER_SETTINGS)
def test_a_server_setting_says_what_it_does_or_why_it_does_nothing(setting):
    assert bool(setting.help) != bool(setting.without_effect)
    is_read_by_loader = setting.key in ("enable_envvars_config", "use_env_allowed_urls")
    assert setting.field or setting.without_effect or is_read_by_loader


@pytest.mark.parametrize("setting", MODEL_SETTINGS.values(), ids=MODEL_SETTINGS)
def test_a_model_setting_says_what_it_does_or_why_it_does_nothing(setting):
    assert bool(setting.help) != bool(setting.without_effect)


@pytest.mark.parametrize("setting", SERVER_SETTINGS.values(), ids=SERVER_SETTINGS)
def test_the_default_of_every_setting_reads_back_as_it_is_written(setting):
    default = read_field(ServerConfig(), setting)
    if default is not None and not setting.without_effect:
        assert setting.type.parse(setting.type.format(default)) == default


def test_variables_are_distinct():
    variables = [setting.variable for setting in SERVER_SETTINGS.values() if setting.variable]
    assert len(variables) == len(set(variables))
    assert SERVER_SETTINGS["enable_envvars_config"].environment_rule is EnvironmentRule.NEVER
