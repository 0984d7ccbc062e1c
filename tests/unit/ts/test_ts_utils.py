"""Small helpers that handlers import from TorchServe."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import pytest

from ts.handler_utils.utils import import_class
from ts.metrics.caching_metric import CachingMetric
from ts.metrics.dimension import Dimension
from ts.metrics.metric import Metric
from ts.metrics.metric_abstract import MetricAbstract
from ts.metrics.metric_cache_abstract import MetricCacheAbstract
from ts.metrics.metric_cache_errors import MetricsCacheKeyError, MetricsCacheValueError
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.metrics.metric_encoder import MetricEncoder
from ts.metrics.metric_type_enum import MetricTypes
from ts.utils.hf_utils import download_model
from ts.utils.timeit_decorator import timeit


@pytest.mark.parametrize(
    ("name", "prefix"), [("collections.abc.Sized", None), ("abc.Sized", "collections"), ("Sized", "collections.abc")]
)
def test_a_class_is_imported_by_its_name(name, prefix):
    from collections.abc import Sized

    assert import_class(name, prefix) is Sized


@pytest.mark.parametrize(
    ("name", "prefix"), [("", None), ("Sized", None), ("no.such.Class", None), ("collections.abc.Nothing", None)]
)
def test_a_class_that_there_is_not_is_an_import_error(name, prefix):
    with pytest.raises(ImportError):
        import_class(name, prefix)


def test_a_timed_function_says_how_long_it_took(capsys):
    @timeit
    def add(a, b=2):
        return a + b

    assert add(1, b=3) == 4
    assert capsys.readouterr().out.startswith("add took 0.0")


@pytest.mark.parametrize(("token", "given"), [(True, None), (False, False), ("secret", "secret")])
def test_a_model_is_downloaded_without_what_pytorch_does_not_need(monkeypatch, token, given):
    seen = {}
    hub = ModuleType("huggingface_hub")
    hub.snapshot_download = lambda **arguments: seen.update(arguments) or "folder"
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert download_model("org/m", "v1", "cache", token) == "folder"
    assert {"*.safetensors", "*.json", "original/*"} <= set(seen.pop("allow_patterns"))
    assert seen == {"repo_id": "org/m", "revision": "v1", "cache_dir": "cache", "token": given}


def test_metrics_and_dimensions_are_written_as_json():
    metric = Metric("x", 3, "ms", [Dimension("Kind", "a")], "id")
    written = json.loads(json.dumps([metric, Dimension("Kind", "b")], cls=MetricEncoder))
    assert written[0]["Dimensions"] == [{"Name": "Kind", "Value": "a"}]
    assert written[1] == {"Name": "Kind", "Value": "b"}
    with pytest.raises(TypeError):
        json.dumps(object(), cls=MetricEncoder)


def test_a_metric_of_no_cache_logs_its_values(caplog):
    metric = CachingMetric("Hits", "count", ["Where"])
    with caplog.at_level("INFO"):
        metric.add_or_update(2, ["here"], "r1")
        metric.update(3, "r2", [Dimension("Where", "there")])
        metric.add_or_update(-1, ["here"])
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith("[METRICS]Hits.Count:2.0|#Where:here|#type:COUNTER|#hostname:")
    assert lines[0].endswith(",r1")
    assert lines[1].startswith("[METRICS]Hits.Count:3.0|#Where:there|")
    assert "cannot go down" in lines[2]
    assert isinstance(metric, MetricAbstract)


def test_errors_of_the_cache_are_also_what_python_calls_them():
    cache = MetricsCacheYamlImpl(None)
    assert isinstance(cache, MetricCacheAbstract)
    with pytest.raises(KeyError, match="no histogram metric named x") as missing:
        cache.get_metric("x", MetricTypes.HISTOGRAM)
    with pytest.raises(ValueError, match="furlongs") as refused:
        cache.add_time("x", 1, unit="furlongs")
    assert (type(missing.value), type(refused.value)) == (MetricsCacheKeyError, MetricsCacheValueError)
