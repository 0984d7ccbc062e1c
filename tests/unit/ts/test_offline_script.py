"""A plain script that drives a handler without a server, as people measure and debug them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="handlers of models need torch")

SCRIPT = """
import sys
import torch
from ts.context import Context
from ts.metrics.dimension import Dimension
from ts.metrics.metrics_store import MetricsStore
from ts.service import emit_metrics
from ts.torch_handler.base_handler import BaseHandler


class Doubler(BaseHandler):
    def initialize(self, context):
        self.device = torch.device("cpu")
        self.model = lambda values: values * 2
        self.initialized = True

    def preprocess(self, data):
        return super().preprocess([row["data"] for row in data])

    def postprocess(self, data):
        metrics = self.context.metrics
        metrics.add_counter("Rows", len(data))
        metrics.add_size("Output", data.nbytes, None, "B", [Dimension("Kind", "int64")])
        metrics.add_percent("Load", 50)
        metrics.add_error("Odd", "none")
        metrics.add_metric("Width", data.shape[1], "numbers")
        return super().postprocess(data)


manifest = {"model": {"modelName": "doubler", "serializedFile": "model.pt"}}
context = Context("doubler", sys.argv[1], manifest, 2, None, "1.0")
context.metrics = MetricsStore({0: "first", 1: "second"}, "doubler")
handler = Doubler()
handler.initialize(context)
for turn in range(1000):
    answers = handler.handle([{"data": [turn, 1]}, {"data": [3, 4]}], context)
print(answers)
emit_metrics(context.metrics.store)
"""


def run(script, *arguments, **options):
    command = [sys.executable, "-W", "error", "-c", script, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=True, **options
    ).stdout.splitlines()


def test_a_thousand_calls_and_their_metrics(tmp_path):
    answers, *lines = run(SCRIPT, tmp_path)
    assert json.loads(answers) == [[1998, 2], [6, 8]]
    metrics = {line.split(".")[0]: line for line in lines}
    assert sorted(metrics) == [f"[METRICS]{name}" for name in ("HandlerTime", "Load", "Odd", "Output", "Rows", "Width")]
    assert metrics["[METRICS]Rows"].startswith("[METRICS]Rows.Count:2000|#ModelName:doubler,Level:Model|")
    assert metrics["[METRICS]Rows"].endswith(",first,second")
    assert metrics["[METRICS]Output"].startswith("[METRICS]Output.Bytes:32|#Kind:int64,ModelName:doubler,Level:Model|")
    assert metrics["[METRICS]Odd"].startswith("[METRICS]Odd.unit:none|#Level:Error|")


CACHED = """
import logging, sys
from ts.context import Context
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.metrics.metric_type_enum import MetricTypes
from ts.torch_handler.base_handler import BaseHandler

logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
metrics = MetricsCacheYamlImpl(config_file_path=sys.argv[1])
metrics.model_name = "m"
metrics.initialize_cache()
metrics.set_request_ids({0: "one", 1: "two"})


class Echo(BaseHandler):
    def preprocess(self, data):
        self.context.metrics.get_metric("Seen").add_or_update(len(data), ["here"])
        return data

    def inference(self, data):
        return data

    def postprocess(self, data):
        return data


context = Context("m", "", None, 1, None, "1.0", metrics=metrics)
handler = Echo()
for _ in range(1000):
    assert handler.handle(["row"], context) == ["row"]
"""


def test_the_metrics_cache_logs_each_value_without_a_server(tmp_path):
    config = tmp_path / "metrics.yaml"
    config.write_text("model_metrics: {counter: [{name: Seen, unit: count, dimensions: [Where]}]}")
    lines = run(CACHED, config)
    assert len(lines) == 2000
    assert lines[0].startswith("[METRICS]Seen.Count:1.0|#Where:here|#type:COUNTER|#hostname:")
    assert lines[1].startswith("[METRICS]HandlerTime.Milliseconds:")
    assert "|#ModelName:m,Level:Model|#type:GAUGE|" in lines[1]
    assert lines[1].endswith(",one,two")
