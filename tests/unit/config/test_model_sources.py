from contextlib import suppress
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flambeau.config.model import BatchPolicy, ModelConfig
from flambeau.config.model_settings import MODEL_SETTINGS
from flambeau.config.model_sources import apply_scaling, model_config
from flambeau.config.server import ServerConfig
from flambeau.errors import BadRequest, ErrorKind, InvalidModel


def load(yaml_text=None, *, server=None, at_startup=False, default_workers=3, **call):
    return model_config(
        server=server or ServerConfig(),
        name="m",
        version="1.0",
        yaml_text=yaml_text,
        default_workers=default_workers,
        at_startup=at_startup,
        **call,
    )


def with_property(**settings) -> ServerConfig:
    return ServerConfig(model_defaults={"m": {"1.0": settings}})


def test_without_any_source_batches_are_single_and_wait_100_ms():
    loaded = load()
    assert loaded.config.batching.batch_size == 1
    assert loaded.config.batching.max_batch_delay_s == 0.1
    assert loaded.config.batching.policy is BatchPolicy.ADAPTIVE
    assert set(loaded.origins) == set(MODEL_SETTINGS)
    assert loaded.origins["batchSize"] == "default"


def test_batch_size_and_delay_come_from_call_then_yaml_then_property():
    text, server = "batchSize: 4\nmaxBatchDelay: 40", with_property(batchSize=2, maxBatchDelay=20)
    both = load(text, server=server, batch_size=8, max_batch_delay_s=0.0)
    assert (both.config.batching.batch_size, both.config.batching.max_batch_delay_s) == (8, 0.0)
    assert both.origins["batchSize"] == "registration"
    yaml_only = load(text, server=server)
    assert (yaml_only.config.batching.batch_size, yaml_only.config.batching.max_batch_delay_s) == (4, 0.04)
    assert yaml_only.origins["batchSize"] == "model-config.yaml"
    neither = load(server=server)
    assert (neither.config.batching.batch_size, neither.config.batching.max_batch_delay_s) == (2, 0.02)
    assert neither.origins["maxBatchDelay"] == "models property"


def test_a_delay_of_0_in_yaml_counts_as_not_set():
    assert load("maxBatchDelay: 0", server=with_property(maxBatchDelay=20)).config.batching.max_batch_delay_s == 0.02


def test_a_yaml_fixes_the_timeouts_even_where_it_does_not_name_them():
    server = ServerConfig(
        default_response_timeout_s=7, model_defaults={"m": {"1.0": {"responseTimeout": 8, "startupTimeout": 9}}}
    )
    loaded = load("startupTimeout: 50", server=server, response_timeout_s=10, startup_timeout_s=11)
    assert loaded.config.response_timeout_s == 120
    assert loaded.origins["responseTimeout"] == "default of model-config.yaml"
    assert loaded.config.startup_timeout_s == 50


def test_without_yaml_timeouts_come_from_property_then_call_then_server():
    server = ServerConfig(default_response_timeout_s=7)
    assert load(server=with_property(responseTimeout=8), response_timeout_s=10).config.response_timeout_s == 8
    assert load(server=server, response_timeout_s=10).config.response_timeout_s == 10
    loaded = load(server=server)
    assert loaded.config.response_timeout_s == 7
    assert loaded.origins["responseTimeout"] == "default_response_timeout"


def workers(loaded) -> tuple[int, int]:
    return loaded.config.min_workers, loaded.config.max_workers


def test_workers_of_a_registered_model_come_from_yaml_then_call_then_server():
    assert workers(load("minWorkers: 2\nmaxWorkers: 5", initial_workers=1)) == (2, 5)
    assert workers(load(initial_workers=4)) == (4, 4)
    assert workers(load(server=ServerConfig(default_workers_per_model=6))) == (6, 6)
    assert workers(load(server=with_property(minWorkers=2, maxWorkers=2))) == (0, 0)


def test_workers_of_a_model_loaded_at_start_come_from_command_line_then_yaml_then_property_then_default():
    text, server = "minWorkers: 2\nmaxWorkers: 5", with_property(minWorkers=1, maxWorkers=4)
    assert workers(load(text, server=server, at_startup=True, initial_workers=7)) == (7, 7)
    assert workers(load(text, server=server, at_startup=True)) == (2, 5)
    assert workers(load(server=server, at_startup=True)) == (1, 4)
    assert workers(load(server=with_property(minWorkers=9), at_startup=True)) == (9, 9)
    assert workers(load(at_startup=True)) == (3, 3)


@pytest.mark.parametrize(
    "text", ["minWorkers: 2", "maxWorkers: 2", "minWorkers: 3\nmaxWorkers: 2", "minWorkers: 1\nmaxWorkers: 0"]
)
def test_half_a_range_of_workers_does_not_count_and_is_pointed_out(text):
    loaded = load(text, initial_workers=1)
    assert workers(loaded) == (1, 1)
    assert len(loaded.warnings) == 1
    assert "do not make a range" in loaded.warnings[0]


def test_fewer_than_one_minimum_worker_becomes_one():
    assert workers(load("minWorkers: -3\nmaxWorkers: 2")) == (1, 2)


def test_queue_size_comes_from_yaml_then_server():
    server = ServerConfig(job_queue_size=50)
    assert load("jobQueueSize: 5", server=server).config.queue_jobs == 5
    assert load("jobQueueSize: 0", server=server).config.queue_jobs == 50


def test_values_of_the_wrong_type_are_ignored_with_a_warning():
    loaded = load("batchSize: '4'\njobQueueSize: true\nuseJobTicket: 1\nresponseTimeout: 0\ndeviceType: tpu")
    assert replace(loaded.config, handler_settings={}) == load("{}").config
    assert sorted(loaded.warnings) == [
        "model-config.yaml: batchSize: '4' is not an integer; ignored",
        "model-config.yaml: deviceType: 'tpu' is not one of cpu, gpu; ignored",
        "model-config.yaml: jobQueueSize: True is not an integer; ignored",
        "model-config.yaml: responseTimeout: 0 is less than 1; ignored",
        "model-config.yaml: useJobTicket: 1 is not true or false; ignored",
    ]


def test_numbers_of_the_property_that_are_not_above_0_are_ignored_with_a_warning():
    loaded = load(server=with_property(batchSize=0, maxBatchDelay="5", runtimeType="python"))
    assert loaded.config.batching.batch_size == 1
    assert len(loaded.warnings) == 2


def test_the_settings_of_our_own():
    loaded = load(
        "batchPolicy: fixed\njobQueueBytes: 1000\nretryOnWorkerDeath: false\nisolateFailures: false\nthreads: 2\n"
        "interOpThreads: 3\npinCores: false\ncores: [[0, 1], [2]]\nwarmUp: [a.jpg]\ndeviceIds: [1, 0]"
    )
    config = loaded.config
    assert config.batching.policy is BatchPolicy.FIXED
    assert (config.queue_bytes, config.retry_on_worker_death, config.isolate_failures) == (1000, False, False)
    assert (config.placement.threads, config.placement.inter_op_threads, config.placement.pin_cores) == (2, 3, False)
    assert config.placement.cores == ((0, 1), (2,))
    assert config.placement.device_ids == (1, 0)
    assert config.warm_up == ("a.jpg",)
    assert loaded.warnings == []


def test_one_bad_device_id_discards_the_list():
    assert load("deviceIds: [0, -1]").config.placement.device_ids is None


def test_times_are_kept_in_seconds():
    config = load("clientTimeoutInMills: 1500\nmaxRetryTimeoutInSec: 0").config
    assert (config.client_timeout_s, config.max_retry_timeout_s) == (1.5, 0)


def test_devices_per_worker_come_from_torchrun_then_parallel_level_and_need_a_type():
    assert load("parallelLevel: 2").config.parallel_level == 0
    assert load("parallelType: tp\nparallelLevel: 2").config.parallel_level == 2
    assert load("parallelType: pp\nparallelLevel: 2\ntorchrun: {nproc-per-node: 4}").config.parallel_level == 4


def test_settings_without_effect_are_pointed_out_and_described_all_the_same():
    loaded = load("asyncCommunication: true\nuseVenv: true")
    assert loaded.config.use_venv
    assert sorted(warning.split(" has no effect")[0] for warning in loaded.warnings) == [
        "model-config.yaml: asyncCommunication",
        "model-config.yaml: useVenv",
    ]


def test_keys_that_are_not_the_servers_are_left_to_the_handler():
    loaded = load("handler:\n  profile: true\nmine: [1]\nbatchSize: 2")
    assert loaded.warnings == []
    assert loaded.config.handler_settings == {"handler": {"profile": True}, "mine": [1], "batchSize": 2}


def test_an_empty_yaml_is_one_that_sets_nothing():
    loaded = load("# nothing\n", response_timeout_s=5)
    assert loaded.config.response_timeout_s == 120
    assert loaded.config.handler_settings == {}


def test_a_broken_yaml_is_an_invalid_model_with_file_line_and_problem():
    with pytest.raises(InvalidModel, match=r"model-config.yaml, line 2: mapping values are not allowed here") as caught:
        load("batchSize: 1\n  bad: [")
    assert caught.value.kind is ErrorKind.INVALID_MODEL


@pytest.mark.parametrize("text", ["- a", "just words", "3"])
def test_a_yaml_that_is_no_mapping_is_an_invalid_model(text):
    with pytest.raises(InvalidModel, match=r"line 1: must be a mapping"):
        load(text)


@pytest.mark.parametrize("call", [{"batch_size": 0}, {"max_batch_delay_s": -1.0}, {"response_timeout_s": 0.0}])
def test_a_number_of_the_call_that_is_out_of_range_is_the_clients_fault(call):
    with pytest.raises(BadRequest):
        load(**call)


def test_scaling_changes_what_it_names_and_leaves_the_rest():
    config = load("batchSize: 4\nmaxBatchDelay: 40\nbatchPolicy: fixed").config
    scaled = apply_scaling(config, max_batch_delay_s=0.0)
    assert scaled.batching.max_batch_delay_s == 0.0
    assert (scaled.batching.batch_size, scaled.batching.policy) == (4, BatchPolicy.FIXED)
    assert apply_scaling(config) == config
    assert apply_scaling(config, batch_size=9, response_timeout_s=1.5).response_timeout_s == 1.5


@pytest.mark.parametrize("change", [{"batch_size": 0}, {"response_timeout_s": -1}, {"max_batch_delay_s": float("nan")}])
def test_scaling_out_of_range_is_the_clients_fault(change):
    with pytest.raises(BadRequest):
        apply_scaling(ModelConfig(), **change)


VALUES = (
    st.none() | st.booleans() | st.integers(-5, 10**20) | st.floats() | st.text() | st.lists(st.integers() | st.text())
)


@given(st.dictionaries(st.sampled_from(sorted(MODEL_SETTINGS)), VALUES | st.dictionaries(st.text(), VALUES)))
def test_no_mapping_stops_a_model(document):
    loaded = load(yaml.safe_dump(document), at_startup=True)
    assert loaded.config.min_workers <= loaded.config.max_workers


@given(st.text())
def test_any_text_is_a_configuration_or_an_invalid_model(text):
    with suppress(InvalidModel):
        load(text)


def test_numbers_beyond_javas_integers_have_the_wrong_type():
    loaded = load(f"maxBatchDelay: {10**400}\njobQueueBytes: {2**40}")
    assert loaded.config.batching.max_batch_delay_s == 0.1
    assert loaded.config.queue_bytes == 2**40
    assert len(loaded.warnings) == 1
