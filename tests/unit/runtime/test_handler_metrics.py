from __future__ import annotations

import threading

import pytest

from flambeau.metrics.lines import parse_metrics_line
from flambeau.runtime.metrics import (
    MAX_PENDING_UPDATES,
    Dimension,
    GeneralMetricsCacheError,
    MetricsCache,
    MetricsCacheIOError,
    MetricsCacheKeyError,
    MetricsCachePyYamlError,
    MetricsCacheTypeError,
    MetricsCacheValueError,
    MetricTypes,
)
from flambeau.runtime.metrics_store import Metric, MetricsStore, emit_metrics

MODEL = [("ModelName", "m"), ("Level", "Model")]


@pytest.fixture
def metrics(request_of):
    cache = MetricsCache("m")
    cache.begin_batch([request_of(b"", request_id="a"), request_of(b"", request_id="b")])
    return cache


def only(cache):
    (update,) = cache.take_updates()
    return update


def test_a_counter_has_the_models_dimensions_and_all_request_ids(metrics):
    metrics.add_counter("hits", 2)
    update = only(metrics)
    assert (update.name, update.unit, update.kind, update.value) == ("hits", "Count", "counter", 2.0)
    assert list(update.dimensions) == MODEL
    assert update.request_ids == "a,b"


def test_an_index_selects_one_request(metrics):
    metrics.add_counter("hits", 1, 1)
    assert only(metrics).request_ids == "b"


def test_request_ids_can_be_set_by_hand(metrics):
    metrics.set_request_ids({0: "x", 1: "y"})
    metrics.add_counter("hits", 1)
    metrics.add_counter("hits", 1, 1)
    assert [update.request_ids for update in metrics.take_updates()] == ["x,y", "y"]


@pytest.mark.parametrize(
    ("record", "kind", "unit"),
    [
        (lambda m: m.add_metric("x", 1, "widgets"), "counter", "widgets"),
        (lambda m: m.add_metric("x", 1, None), "counter", "unit"),
        (lambda m: m.add_metric("x", 1, "ms", metric_type=MetricTypes.HISTOGRAM), "histogram", "Milliseconds"),
        (lambda m: m.add_time("x", 1), "gauge", "Milliseconds"),
        (lambda m: m.add_time("x", 1, None, "s"), "gauge", "Seconds"),
        (lambda m: m.add_size("x", 1), "gauge", "Megabytes"),
        (lambda m: m.add_size("x", 1, None, "B"), "gauge", "Bytes"),
        (lambda m: m.add_percent("x", 1), "gauge", "Percent"),
    ],
)
def test_each_method_has_its_type_and_unit(metrics, record, kind, unit):
    record(metrics)
    update = only(metrics)
    assert (update.kind, update.unit) == (kind, unit)


def test_an_error_counts_on_the_level_error_and_for_no_model_or_request(metrics):
    metrics.set_request_ids({0: "a"})
    metrics.add_error("broken", 1)
    update = only(metrics)
    assert (list(update.dimensions), update.request_ids) == ([("Level", "Error")], "")


def test_own_dimensions_come_first_and_the_callers_list_is_left_alone(metrics):
    dimensions = [Dimension("Size", "big")]
    metrics.add_counter("hits", 1, None, dimensions)
    assert list(only(metrics).dimensions) == [("Size", "big"), *MODEL]
    assert len(dimensions) == 1


@pytest.mark.parametrize("method", ["add_time", "add_size"])
def test_a_unit_that_does_not_fit_is_an_error(metrics, method):
    with pytest.raises(MetricsCacheValueError):
        getattr(metrics, method)("x", 1, None, "furlongs")


@pytest.mark.parametrize("value", [-1, "abc", None])
def test_a_value_that_a_counter_cannot_take_is_logged_and_not_emitted(metrics, value, caplog):
    metrics.add_counter("hits", value)
    assert metrics.take_updates() == []
    assert "metric hits not emitted" in caplog.text


def test_a_gauge_may_be_negative(metrics):
    metrics.add_time("x", -1)
    assert only(metrics).value == -1.0


def test_a_metric_can_be_made_without_a_value_and_updated_with_its_own_dimensions(metrics):
    metric = metrics.add_metric_to_cache("depth", "count", ["Layer"], MetricTypes.GAUGE)
    assert metrics.take_updates() == []
    metric.add_or_update(3, ["conv"], "a")
    metric.update(4, "b", [Dimension("anything", "pool")])
    first, second = metrics.take_updates()
    assert (list(first.dimensions), first.value, first.request_ids) == ([("Layer", "conv")], 3.0, "a")
    assert (list(second.dimensions), second.value, second.request_ids) == ([("Layer", "pool")], 4.0, "b")


def test_a_wrong_number_of_dimension_values_is_logged_and_not_emitted(metrics, caplog):
    metrics.add_metric_to_cache("depth", "count", ["Layer"]).add_or_update(3, ["a", "b"])
    assert metrics.take_updates() == []
    assert "depth not emitted" in caplog.text


def test_a_metric_is_found_by_name_and_type(metrics):
    made = metrics.add_metric_to_cache("depth", "count", ["Layer"], MetricTypes.GAUGE)
    assert metrics.get_metric("depth", MetricTypes.GAUGE) is made
    assert metrics.get_metric("PredictionTime", MetricTypes.GAUGE).unit == "Milliseconds"
    with pytest.raises(MetricsCacheKeyError):
        metrics.get_metric("depth")


@pytest.mark.parametrize(("name", "kind"), [(3, MetricTypes.COUNTER), ("", MetricTypes.COUNTER), ("x", "summary")])
def test_a_name_or_type_of_the_wrong_kind_is_an_error(metrics, name, kind):
    with pytest.raises(MetricsCacheTypeError):
        metrics.add_metric_to_cache(name, "count", [], kind)


def test_text_that_the_wire_cannot_carry_is_made_fit(metrics):
    metrics.add_counter("h\ud800", 1, None, [Dimension("a\ud800", "b\ud800")])
    update = only(metrics)
    assert (update.name, update.dimensions[0]) == ("h?", ("a?", "b?"))


def test_updates_beyond_the_limit_are_dropped_and_logged_once(metrics, caplog):
    for _ in range(MAX_PENDING_UPDATES + 2):
        metrics.add_counter("hits", 1)
    assert len(metrics.take_updates()) == MAX_PENDING_UPDATES
    assert caplog.text.count("metrics are dropped") == 1


def test_nothing_is_lost_when_a_thread_records_while_updates_are_taken(metrics):
    def record():
        for _ in range(3000):
            metrics.add_counter("hits", 1)

    threads = [threading.Thread(target=record) for _ in range(2)]
    for thread in threads:
        thread.start()
    taken = 0
    while any(thread.is_alive() for thread in threads):
        taken += len(metrics.take_updates())
    assert taken + len(metrics.take_updates()) == 6000


def test_metrics_of_a_file_are_known_from_the_start(tmp_path):
    path = tmp_path / "metrics.yaml"
    path.write_text(
        """
dimensions:
  - &model_name "ModelName"
  - &level "Level"
model_metrics:
  counter:
    - {name: Reads, unit: count, dimensions: [Kind, *model_name, *level]}
  histogram:
    - {name: Size, unit: MB, dimensions: []}
"""
    )
    cache = MetricsCache("m", path)
    assert cache.get_metric("Reads").dimension_names == ["Kind", "ModelName", "Level"]
    assert cache.get_metric("Size", MetricTypes.HISTOGRAM).unit == "Megabytes"
    assert cache.cache_keys() == list(MetricTypes)


@pytest.mark.parametrize("text", ["ts_metrics: {}", "model_metrics:", "model_metrics: {}"])
def test_a_file_need_not_declare_metrics_of_models(tmp_path, text):
    path = tmp_path / "metrics.yaml"
    path.write_text(text)
    assert MetricsCache("m", path).cache == {metric_type: {} for metric_type in MetricTypes}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (None, MetricsCacheIOError),
        ("a: [", MetricsCachePyYamlError),
        ("", MetricsCacheKeyError),
        ("model_metrics: [a]", MetricsCacheKeyError),
        ("model_metrics: {counter: [{name: a, unit: b}]}", MetricsCacheKeyError),
        ("model_metrics: {counter: [a]}", MetricsCacheKeyError),
        ("model_metrics: {summary: []}", MetricsCacheTypeError),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error(tmp_path, text, error):
    path = tmp_path / "metrics.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(error) as caught:
        MetricsCache("m", path)
    assert isinstance(caught.value, GeneralMetricsCacheError)


def test_a_store_adds_counters_up_and_replaces_other_values():
    store = MetricsStore({0: "a", 1: "b"}, "m")
    store.add_counter("hits", 1)
    store.add_counter("hits", 2)
    store.add_time("took", 5, 1)
    store.add_time("took", 7, 1)
    store.add_metric("x", 1, "widgets")
    store.add_size("size", 1, None, "kB")
    store.add_percent("share", 50)
    store.add_error("broken", "why")
    assert [(metric.name, metric.value, metric.unit) for metric in store.store] == [
        ("hits", 3, "Count"),
        ("took", 7, "Milliseconds"),
        ("x", 1, "widgets"),
        ("size", 1, "Kilobytes"),
        ("share", 50, "Percent"),
        ("broken", "why", "unit"),
    ]
    assert [metric.request_id for metric in store.store[:2]] == ["a,b", "b"]


@pytest.mark.parametrize("method", ["add_time", "add_size"])
def test_a_store_refuses_a_unit_that_does_not_fit(method):
    with pytest.raises(ValueError):
        getattr(MetricsStore(None, "m"), method)("x", 1, None, "furlongs")


def test_emitted_metrics_are_lines_that_the_server_reads(capsys):
    store = MetricsStore({0: "a", 1: "b"}, "m")
    store.add_counter("hits", 2, dimensions=[Dimension("Kind", "x")])
    emit_metrics(store.store)
    line = capsys.readouterr().out
    assert line.startswith("[METRICS]")
    update = parse_metrics_line(line)
    assert (update.name, update.unit, update.kind, update.value) == ("hits", "Count", "counter", 2.0)
    assert list(update.dimensions) == [("Kind", "x"), *MODEL]
    assert update.request_ids == "a,b"


def test_no_metrics_print_nothing(capsys):
    emit_metrics(None)
    assert capsys.readouterr().out == ""


def test_a_metric_can_be_reset_and_shown_as_a_dict():
    metric = Metric("x", 3, "ms", [Dimension("a", "b")], "id")
    metric.reset()
    shown = metric.to_dict()
    assert (shown["MetricName"], shown["Value"], shown["Unit"]) == ("x", 0, "Milliseconds")
    assert shown["Dimensions"] == [{"Name": "a", "Value": "b"}]
    assert shown["RequestId"] == "id"
