from __future__ import annotations

import json
import sys
import warnings

import pytest

from flambeau.errors import InvalidModel
from flambeau.runtime import load_handler

torch = pytest.importorskip("torch")

NET = """
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(2.0))
        def forward(self, x):
            return x * self.scale
"""

HANDLER = """
    from ts.torch_handler.base_handler import BaseHandler

    class Handler(BaseHandler):
        def preprocess(self, data):
            return super().preprocess([row["body"]["x"] for row in data])
"""


@pytest.fixture
def serve(model_dir):
    """``serve(files, manifest_model_section, save)``: a loaded handler; ``save`` writes more files to its folder."""

    def make(files, model, save=None):
        folder = model_dir(files, {"modelName": "m", **model})
        if save is not None:
            save(folder)
        return load_handler(folder, handler=model.get("handler", "base_handler"))

    return make


@pytest.fixture
def row(request_of):
    def make(x, **headers):
        return request_of(json.dumps({"x": x}).encode(), content_type="application/json", headers=headers)

    return make


def answers(handler, *rows):
    replies = handler.run(list(rows))
    assert [reply.error for reply in replies] == [0] * len(replies)
    return [json.loads(bytes(reply.body)) for reply in replies]


EAGER = {"handler": "handler.py", "modelFile": "net.py", "serializedFile": "net.pth"}


def state_dict(folder):
    torch.save({"scale": torch.tensor(3.0)}, folder / "net.pth")


def script(path):
    class Net(torch.nn.Module):
        def forward(self, x):
            return x + 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(Net(), torch.zeros(1)).save(path)


def test_an_eager_model_gets_its_state_dict(serve, row):
    handler = serve({"handler.py": HANDLER, "net.py": NET}, EAGER, state_dict)
    assert answers(handler, row([1, 2]), row([3, 4])) == [[3.0, 6.0], [9.0, 12.0]]


def test_an_eager_model_without_weights_is_as_it_is_made(serve, row):
    handler = serve({"handler.py": HANDLER, "net.py": NET}, {"handler": "handler.py", "modelFile": "net.py"})
    assert answers(handler, row([1])) == [[2.0]]


def test_a_torchscript_file_is_served(serve, row):
    handler = serve(
        {"handler.py": HANDLER},
        {"handler": "handler.py", "serializedFile": "net.pt"},
        lambda folder: script(folder / "net.pt"),
    )
    assert answers(handler, row([1, 2])) == [[2, 3]]


@pytest.mark.parametrize(("name", "problem"), [("net.pt", "not TorchScript"), ("net.pth", "no model file")])
def test_a_state_dict_without_its_class_is_refused_with_what_to_do(serve, name, problem):
    with pytest.raises(InvalidModel, match=rf"{problem}.*--model-file"):
        serve({}, {"serializedFile": name}, lambda folder: torch.save({"a": torch.zeros(1)}, folder / name))


def test_an_archive_without_any_model_is_refused(serve):
    with pytest.raises(InvalidModel, match="No model weights could be loaded"):
        serve({}, {})


def test_a_missing_model_file_is_named(serve):
    with pytest.raises(RuntimeError, match=r"Missing the model\.py file: net\.py"):
        serve({}, {"modelFile": "net.py"})


def test_a_model_file_must_have_exactly_one_class(serve):
    with pytest.raises(ValueError, match="Expected only one class as model definition"):
        serve({"net.py": "class A: pass\nclass B: pass"}, {"modelFile": "net.py"})


def test_a_missing_onnxruntime_is_named(serve, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InvalidModel, match="pip install onnxruntime"):
        serve({"net.onnx": ""}, {"serializedFile": "net.onnx"})


def test_handler_time_and_stage_times_are_recorded(serve, row):
    model = {**EAGER, "configFile": "config.yaml"}
    files = {"handler.py": HANDLER, "net.py": NET, "config.yaml": "handler: {profile: true}"}
    handler = serve(files, model, state_dict)
    answers(handler, row([1]))
    assert [update.name for update in handler.take_metrics()] == [
        "ts_handler_preprocess",
        "ts_handler_inference",
        "ts_handler_postprocess",
        "HandlerTime",
        "PredictionTime",
    ]


def test_a_describe_request_gets_what_the_handler_says_of_itself(serve, request_of):
    source = HANDLER + "        def describe_handle(self): return {'size': 3}"
    handler = serve({"handler.py": source, "net.py": NET}, EAGER, state_dict)
    assert answers(handler, request_of(headers={"describe": "True"})) == [{"size": 3}]


def test_an_explain_request_gets_the_insights_of_its_row(serve, row):
    source = (
        HANDLER + "        def get_insights(self, tensor, inputs, target): return [[tensor.tolist(), inputs, target]]"
    )
    handler = serve({"handler.py": source, "net.py": NET}, EAGER, state_dict)
    assert answers(handler, row([1], explain="True")) == [[[[1]], {"x": [1]}, 0]]
    assert answers(handler, row([1], explain="False")) == [[3.0]]


def test_the_model_is_compiled_when_the_settings_say_so(serve, row):
    files = {"handler.py": HANDLER, "net.py": NET, "config.yaml": "pt2: eager"}
    handler = serve(files, {**EAGER, "configFile": "config.yaml"}, state_dict)
    assert answers(handler, row([1])) == [[3.0]]


def test_a_subclass_may_replace_initialize_and_read_the_usual_attributes(serve, request_of):
    source = """
        from ts.torch_handler.base_handler import BaseHandler

        class Handler(BaseHandler):
            def __init__(self):
                super().__init__()
                self.seen = [self.model, self.mapping, self.device, self.manifest, self.initialized, self.target]
            def initialize(self, context):
                self.manifest = context.manifest
                self.initialized = True
            def preprocess(self, data):
                return data
            def inference(self, data):
                return self.seen
            def postprocess(self, data):
                return [data]
    """
    handler = serve({"handler.py": source}, {"handler": "handler.py"})
    assert answers(handler, request_of(b"")) == [[None, None, None, None, False, 0]]


def test_the_profiler_runs_when_the_environment_asks_for_it(serve, row, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("ENABLE_TORCH_PROFILER", "1")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    handler = serve({"handler.py": HANDLER, "net.py": NET}, EAGER, state_dict)
    with caplog.at_level("INFO", logger="flambeau.runtime.handlers.profiling"):
        assert answers(handler, row([1])) == [[3.0]]
    assert "aten::" in caplog.text
    assert list((tmp_path / "pytorch_profiler" / "m").iterdir())
