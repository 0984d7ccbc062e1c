"""Handlers of models on several devices, as far as one process without any can go."""

from __future__ import annotations

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from flambeau.errors import InvalidModel
from ts.handler_utils.distributed.deepspeed import create_checkpoints_json, get_ds_engine
from ts.handler_utils.distributed.pt_pippy import get_pipeline_driver, initialize_rpc_workers
from ts.torch_handler.distributed.base_deepspeed_handler import BaseDeepSpeedHandler


def context(folder, **config):
    return SimpleNamespace(model_name="m", system_properties={"model_dir": str(folder)}, model_yaml_config=config)


# --- DeepSpeed --------------------------------------------------------------------------------------------------------


@pytest.fixture
def deepspeed(monkeypatch):
    """DeepSpeed's one function that is called: says what it was called with."""
    module = ModuleType("deepspeed")
    module.init_inference = lambda model, **arguments: (model, arguments)
    monkeypatch.setitem(sys.modules, "deepspeed", module)


def test_an_engine_is_made_with_the_archives_settings_and_the_list_of_weights(deepspeed, tmp_path):
    (tmp_path / "ds.json").write_text("{}")
    weights = tmp_path / "weights"
    (weights / "part").mkdir(parents=True)
    for name in ("b.bin", "a.pt", "part/c.bin", "config.json"):
        (weights / name).touch()
    config = {"deepspeed": {"config": "ds.json", "checkpoint": "list.json"}, "handler": {"model_path": str(weights)}}
    model, arguments = get_ds_engine("model", context(tmp_path, **config))
    assert model == "model"
    assert arguments == {
        "config": str(tmp_path / "ds.json"),
        "base_dir": str(weights),
        "checkpoint": str(tmp_path / "list.json"),
    }
    assert json.loads((tmp_path / "list.json").read_text()) == {
        "type": "ds_model",
        "checkpoints": [str(weights / name) for name in ("a.pt", "b.bin", "part/c.bin")],
        "version": 1.0,
    }


def test_settings_and_list_may_be_left_out(deepspeed, tmp_path):
    _, arguments = get_ds_engine("model", context(tmp_path, deepspeed={}, handler={"model_path": "w"}))
    assert arguments == {"config": None, "base_dir": "w", "checkpoint": None}


@pytest.mark.parametrize(
    ("config", "problem"),
    [({}, "no deepspeed config in"), ({"deepspeed": {"config": "ds.json"}}, "no deepspeed config file")],
)
def test_what_deepspeed_lacks_is_named(deepspeed, tmp_path, config, problem):
    with pytest.raises(InvalidModel, match=problem):
        get_ds_engine("model", context(tmp_path, **config, handler={"model_path": "w"}))


def test_a_list_of_no_weights_is_empty(tmp_path):
    create_checkpoints_json(tmp_path, tmp_path / "list.json")
    assert json.loads((tmp_path / "list.json").read_text())["checkpoints"] == []


@pytest.mark.parametrize(("environment", "device"), [({}, 0), ({"LOCAL_RANK": "3"}, 3)])
def test_a_process_takes_the_gpu_of_its_number(monkeypatch, environment, device):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    handler = BaseDeepSpeedHandler()
    handler.initialize(None)
    assert handler.device == device


# --- PiPPy ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pippy(monkeypatch):
    """PiPPy's functions that are called."""
    package, hugging_face = ModuleType("pippy"), ModuleType("pippy.hf")
    package.all_compile = lambda model, **arguments: ((model, arguments), "stage")
    package.split_into_equal_size = lambda count: f"into {count}"
    hugging_face.PiPPyHFTracer = lambda: "tracer"
    hugging_face.inject_pipeline_forward = lambda model, driver: setattr(model, "driver", driver)
    monkeypatch.setitem(sys.modules, "pippy", package)
    monkeypatch.setitem(sys.modules, "pippy.hf", hugging_face)


class Model(torch.nn.Module):
    def forward(self, tokens, mask=None, *, use_cache=True):
        return tokens


def pippy_config(model_type="", **handler):
    return {"pippy": {"input_names": ["tokens"], "model_type": model_type}, "handler": {"model_path": "w", **handler}}


def test_a_model_is_cut_into_as_many_stages_as_processes(pippy, tmp_path):
    model, arguments = get_pipeline_driver(Model(), 4, context(tmp_path, **pippy_config()))
    assert not model.training
    assert arguments == {
        "num_ranks": 4,
        "num_chunks": 1,
        "schedule": "FillDrain",
        "split_policy": "into 4",
        "tracer": None,
        "concrete_args": {"mask": None, "use_cache": True},
        "index_filename": None,
        "checkpoint_prefix": None,
    }


def test_a_model_of_transformers_keeps_its_own_face(pippy, tmp_path):
    (tmp_path / "index.json").touch()
    config = pippy_config("HF", index_filename="index.json")
    config["handler"]["model_path"] = str(tmp_path)
    model = get_pipeline_driver(Model(), 2, context(tmp_path, **config))
    _, arguments = model.driver
    assert (arguments["tracer"], arguments["index_filename"]) == ("tracer", str(tmp_path / "index.json"))


@pytest.mark.parametrize("missing", ["pippy.input_names", "pippy.model_type", "handler.model_path"])
def test_what_pippy_lacks_is_named(pippy, tmp_path, missing):
    config = pippy_config()
    section, key = missing.split(".")
    del config[section][key]
    with pytest.raises(InvalidModel, match=f"Missing '{missing}'"):
        get_pipeline_driver(Model(), 2, context(tmp_path, **config))


def test_a_missing_index_is_named(pippy, tmp_path):
    with pytest.raises(InvalidModel, match=r"w/no\.json' not found"):
        get_pipeline_driver(Model(), 2, context(tmp_path, **pippy_config(index_filename="no.json")))


def test_a_process_joins_the_others(monkeypatch, tmp_path):
    from torch.distributed import rpc

    joined = {}
    monkeypatch.setattr(rpc, "init_rpc", lambda name, **arguments: joined.update(arguments, name=name))
    initialize_rpc_workers(1, 2, context(tmp_path, pippy={"num_worker_threads": 3, "rpc_timeout": 60}))
    options = joined.pop("rpc_backend_options")
    assert joined == {"name": "worker1", "rank": 1, "world_size": 2}
    assert (options.num_worker_threads, options.rpc_timeout) == (3, 60)
