"""What files say of pipelines."""

from __future__ import annotations

from typing import Any

import pytest

from flambeau.errors import ConfigError
from flambeau.local.pipeline.description import Description, StageDescription, describe_pipeline


def described(**document: Any) -> Description:
    return describe_pipeline(document, "file")


def stage(**values: Any) -> StageDescription:
    (only,) = described(a=values).stages
    return only


def error_of(**document: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        described(**document)
    return str(caught.value)


def test_every_mapping_is_a_stage_in_the_order_of_the_file():
    description = described(decode={"run": "DecodeImage"}, net={"run": "net.mar"})
    assert description.name == "file"
    assert [(stage.name, stage.run, stage.after) for stage in description.stages] == [
        ("decode", "DecodeImage", None),
        ("net", "net.mar", None),
    ]


def test_a_file_may_name_its_pipeline():
    assert described(name="classify", a={}).name == "classify"


def test_settings_are_those_of_a_stage_in_camel_or_snake_case():
    settings = {
        "batch_size": 8,
        "max_batch_delay_ms": 5.0,
        "batch_policy": "fixed",
        "workers": 2,
        "threads": 4,
        "device": "cuda",
        "queue_size": 100,
        "size_of": "sizes:pixels",
        "response_timeout_s": 30.0,
        "isolate_failures": False,
        "timeout_s": 1.5,
    }
    camel = stage(
        batchSize=8,
        maxBatchDelay=5,
        batchPolicy="fixed",
        workers=2,
        threads=4,
        deviceType="gpu",
        jobQueueSize=100,
        sizeOf="sizes:pixels",
        responseTimeout=30,
        isolateFailures=False,
        timeout=1.5,
    )
    snake = stage(
        batch_size=8,
        max_batch_delay=5,
        batch_policy="fixed",
        workers=2,
        threads=4,
        device_type="gpu",
        job_queue_size=100,
        size_of="sizes:pixels",
        response_timeout=30,
        isolate_failures=False,
        timeout=1.5,
    )
    assert camel.settings == snake.settings == settings


def test_workers_may_be_processes():
    assert stage(workers="process").settings == {"workers": "process"}
    assert stage(processes=3).settings == {"processes": 3}


def test_a_number_of_workers_may_be_written_as_for_the_server():
    assert stage(minWorkers=2, maxWorkers=2).settings == {"workers": 2}
    assert "maxWorkers=3: says otherwise than 'minWorkers'" in error_of(a={"minWorkers": 2, "maxWorkers": 3})


def test_keys_before_the_stages_are_defaults_for_all():
    first, second = described(batchSize=4, run="Identity", a={"batchSize": 2}, b={"run": "net.mar"}).stages
    assert (first.run, first.settings, first.defaults) == (None, {"batch_size": 2}, {"batch_size": 4})
    assert (second.run, second.settings, second.defaults) == ("net.mar", {}, {"batch_size": 4})


def test_keys_that_only_a_server_reads_are_left_to_it():
    document = {"minWorkers": 1, "maxWorkers": 4, "startupTimeout": 60, "warmUp": ["x.jpg"], "torchrun": {}, "a": {}}
    (only,) = describe_pipeline(document, "file").stages
    assert (only.name, only.defaults) == ("a", {})


def test_links_are_a_name_or_several():
    assert stage(after="row").after == ("row",)
    assert stage(after="b, c").after == ("b", "c")
    assert stage(after=["b", "c"]).after == ("b", "c")


def test_a_condition_is_a_mapping_or_the_name_of_a_function():
    assert stage(when={"kind": "text"}).when == {"kind": "text"}
    assert stage(when="rules:is_text").when == "rules:is_text"


def test_a_map_says_fields_or_the_row_itself():
    assert stage(map={"image": "row", "boxes": "detect.boxes"}).map == {"image": "row", "boxes": "detect.boxes"}
    assert stage(map="detect.boxes").map == "detect.boxes"


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"batchsize": 8}, "a.batchsize=8: is no key of a stage; did you mean 'batchSize'?"),
        ({"resize_h": 224}, "options of what the stage runs belong under 'options'"),
        ({"batchSize": "eight"}, "a.batchSize=eight: must be an integer of at least 1"),
        ({"batchSize": True}, "must be an integer of at least 1"),
        ({"batch_size": 0}, "a.batch_size=0: must be an integer of at least 1"),
        ({"workers": "thread"}, "must be an integer of at least 1"),
        ({"maxBatchDelay": -1}, "must be a number that is not negative"),
        ({"maxBatchDelay": float("nan")}, "must be a number that is not negative"),
        ({"timeout": 0}, "must be greater than 0"),
        ({"timeout": [1]}, "must be a number"),
        ({"deviceType": "tpu"}, "must be cpu or gpu"),
        ({"batchPolicy": "eager"}, "must be adaptive or fixed"),
        ({"isolateFailures": "yes"}, "must be true or false"),
        ({"run": 7}, "must be text"),
        ({"run": " "}, "must be text"),
        ({"run": "x", "options": [1]}, "must be a mapping"),
        ({"options": {"k": 5}}, "the stage runs nothing that could take them"),
        ({"after": 7}, "must be the name of a stage"),
        ({"after": "b,,c"}, "must be the name of a stage"),
        ({"when": {}}, "must have at least one item"),
        ({"when": [1]}, "must be a mapping"),
        ({"map": {"x": 7}}, "must be text"),
        ({"map": 7}, "must be a mapping"),
        ({"workers": 2, "instance_num": 3}, "a.instance_num=3: says otherwise than 'workers', which means the same"),
    ],
)
def test_what_cannot_be_used_is_refused_with_stage_and_key(table: dict[str, Any], problem: str):
    assert problem in error_of(a=table)


def test_what_belongs_to_one_stage_cannot_be_said_for_all():
    assert error_of(when="rules:is_text", a={}) == "when=rules:is_text: belongs to one stage, not to all"


def test_an_unknown_key_before_the_stages_is_refused():
    assert "batchsize=8: is no key of a stage; did you mean 'batchSize'?" in error_of(batchsize=8, a={})


# --- torchpipe's keys -----------------------------------------------------------------------------------------------


def test_torchpipe_settings_are_understood():
    first, second = described(
        batching_timeout=5,
        instance_num=2,
        decode={"backend": "DecodeImage", "instance_num": 8, "next": "net"},
        net={"backend": "net.mar", "max": "4x3x224x224", "min": 1, "filter": "swap"},
    ).stages
    assert (first.run, first.settings) == ("DecodeImage", {"workers": 8})
    assert (second.run, second.settings) == ("net.mar", {"batch_size": 4})
    assert second.defaults == {"max_batch_delay_ms": 5.0, "workers": 2}


def test_next_links_stages():
    stages = described(a={"next": "b, c"}, b={"next": "d"}, c={"next": ["d"]}, d={}).stages
    assert {stage.name: stage.after for stage in stages} == {"a": ("row",), "b": ("a",), "c": ("a",), "d": ("b", "c")}


def test_a_torchpipe_map_takes_results_of_other_stages():
    stages = described(
        a={"next": "b,c"}, b={"next": "c"}, c={"map": "a[result:img, color:color],b[result:data]"}
    ).stages
    assert stages[2].map == {"img": "a", "color": "a.color", "data": "b"}


def test_a_torchpipe_map_to_data_alone_is_the_row_itself():
    stages = described(a={"next": "b"}, b={"next": "c"}, c={"map": "a[TASK_RESULT_KEY:TASK_DATA_KEY]"}).stages
    assert stages[2].map == "a"
    assert stages[2].after == ("a", "b")


def test_a_torchpipe_map_may_leave_out_the_only_stage_before():
    stages = described(a={"next": "b"}, b={"map": "[result:x]"}).stages
    assert stages[1].map == {"x": "a"}
    problem = "c.map=[result:x]: names no stage, and there is not just one before it"
    assert problem in error_of(a={"next": "b,c"}, b={"next": "c"}, c={"map": "[result:x]"})


def test_a_stage_that_only_a_map_links_is_not_the_first():
    stages = described(a={"next": "b"}, b={}, c={"map": "b[result:x]"}).stages
    assert stages[2].after == ("b",)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"jump": "other"}, "a.jump=other: is torchpipe's and not supported: let a stage call the other pipeline"),
        ({"Interpreter::backend": "X"}, "is torchpipe's and not supported: rows are scheduled in one way only"),
        ({"filter": "or"}, "a.filter=or: is not supported; say when the stage runs with 'when'"),
        ({"filter": 7}, "is not supported"),
        ({"min": "4x3x224x224"}, "is not supported: a batch may always be of one row"),
        ({"max": "1&4&8"}, "must be a number of rows"),
        ({"max": "1x3x32x512;4x3x32x512"}, "must be a number of rows, or one shape that begins with it"),
        ({"max": 0}, "must be a number of rows"),
        ({"backend": "S[DecodeMat,ResizeMat]"}, "puts backends together, which is not supported: write one stage"),
        ({"backend": 7}, "must be text"),
        ({"backend": "Mat2Tensor"}, "a.backend=Mat2Tensor: is torchpipe's and not supported: write ToTensor"),
        ({"map": "b[result]"}, "'result' must be written as result:data"),
        ({"map": "b[result:data"}, "must be written as stage[result:data]"),
        ({"map": "b[result:x],c[result:x]"}, "gives 'x' twice"),
        ({"2": {}}, "stages stand beside one another at the top of the file"),
        ({"next": "b"}, "a.next=b: is no stage"),
    ],
)
def test_what_torchpipe_has_and_we_have_not_is_named(table: dict[str, Any], problem: str):
    assert problem in error_of(a=table)
