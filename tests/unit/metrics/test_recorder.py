from __future__ import annotations

import logging

import pytest

from flambeau.errors import ConfigError
from flambeau.metrics import recorder as recorder_module
from flambeau.metrics.catalog import Catalog, load_catalog, parse_catalog
from flambeau.metrics.recorder import Recorder
from flambeau.request import MetricUpdate

CATALOG = load_catalog()
MORE = parse_catalog(
    """
    ts_metrics:
      histogram:
        - {name: Sizes, unit: MB, dimensions: [Level, Hostname]}
    model_metrics:
      counter:
        - {name: Rows, unit: Count, dimensions: [ModelName, Level]}
      gauge:
        - {name: Depth, unit: Count, dimensions: [ModelName, Level]}
      histogram:
        - {name: Widths, unit: Count, dimensions: []}
    """,
    "more.yaml",
)
MODEL = [("ModelName", "echo"), ("Level", "Model")]


class Logs:
    """A recorder and the lines that it wrote."""

    def __init__(self, mode: str = "log", catalog: Catalog = CATALOG, **options) -> None:
        self.ts: list[str] = []
        self.model: list[str] = []
        self.recorder = Recorder(
            catalog,
            mode=mode,
            hostname="host1",
            ts_log=self.ts.append,
            model_log=self.model.append,
            wall_clock=lambda: 1795288970.5,
            **options,
        )


def update(name: str, value: float, *, kind: str = "gauge", dimensions=MODEL, ids: str = "id-1") -> MetricUpdate:
    return MetricUpdate(name, "Milliseconds", kind, value, dimensions, ids)


@pytest.mark.parametrize("mode", ["log", "prometheus", "legacy"])
def test_the_same_labels_give_the_same_series(mode: str):
    recorder = Logs(mode).recorder
    assert recorder.series("Requests2XX", "Host") is recorder.series("Requests2XX", "Host")
    labels = ("ts_inference_requests_total", "echo")
    assert recorder.series(*labels, "default") is not recorder.series(*labels, "1.0")


@pytest.mark.parametrize("every_update", [False, True])
def test_one_update_gives_torchserves_line(every_update: bool):
    logs = Logs(every_update=every_update)
    logs.recorder.series("Requests2XX", "Host").record(1)
    logs.recorder.record_backend([update("PredictionTime", 1.42)])
    logs.recorder.flush(1795288970.9)
    assert logs.ts == ["Requests2XX.Count:1.0|#Level:Host|#hostname:host1,timestamp:1795288970"]
    assert logs.model == [
        "PredictionTime.ms:1.42|#ModelName:echo,Level:Model|#hostname:host1,requestID:id-1,timestamp:1795288970"
    ]


def test_updates_between_two_flushes_become_one_line_a_series():
    logs = Logs()
    requests = logs.recorder.series("Requests2XX", "Host")
    queue_time = logs.recorder.series("QueueTime", "Host")
    for value in (1, 2, 3):
        requests.record(1)
        queue_time.record(value)
        logs.recorder.record_backend([update("PredictionTime", value, ids=f"id-{value}")])
    assert logs.ts == logs.model == []
    logs.recorder.flush(7)
    assert logs.ts == [
        "Requests2XX.Count:3.0|#Level:Host|#hostname:host1,timestamp:7",
        "QueueTime.Milliseconds:3.0|#Level:Host|#hostname:host1,timestamp:7",
    ]
    assert logs.model == [
        "PredictionTime.ms:3.0|#ModelName:echo,Level:Model|#hostname:host1,requestID:id-3,timestamp:7"
    ]


def test_a_flush_without_updates_writes_nothing_and_the_next_counts_from_zero():
    logs = Logs()
    requests = logs.recorder.series("Requests2XX", "Host")
    requests.record(5)
    logs.recorder.record_backend([update("PredictionTime", 5)])
    logs.recorder.flush(1)
    logs.recorder.flush(2)
    assert (len(logs.ts), len(logs.model)) == (1, 1)
    requests.record(2)
    logs.recorder.flush(3)
    assert logs.ts[1:] == ["Requests2XX.Count:2.0|#Level:Host|#hostname:host1,timestamp:3"]


def test_a_histogram_is_logged_as_its_mean():
    logs = Logs(catalog=MORE)
    sizes = logs.recorder.series("Sizes", "Host")
    sizes.record(1)
    sizes.record(2)
    logs.recorder.flush(1)
    assert logs.ts == ["Sizes.MB:1.5|#Level:Host|#hostname:host1,timestamp:1"]


def test_every_update_can_have_its_line_at_once():
    logs = Logs(every_update=True)
    requests = logs.recorder.series("Requests2XX", "Host")
    requests.record(1)
    requests.record(1)
    assert logs.ts == ["Requests2XX.Count:1.0|#Level:Host|#hostname:host1,timestamp:1795288970"] * 2


def test_log_mode_shows_prometheus_nothing():
    logs = Logs()
    logs.recorder.series("Requests2XX", "Host").record(1)
    assert logs.recorder.render() == ""


@pytest.mark.parametrize("every_update", [False, True])
def test_prometheus_mode_shows_everything_and_logs_nothing(every_update: bool):
    logs = Logs("prometheus", every_update=every_update)
    logs.recorder.series("Requests2XX", "Host").record(1)
    logs.recorder.record_backend([update("PredictionTime", 1.42)] * 2)
    logs.recorder.flush(1)
    text = logs.recorder.render()
    assert text.count("# TYPE ") == 21
    assert 'Requests2XX{Level="Host",Hostname="host1",} 1.0\n' in text
    assert 'PredictionTime{ModelName="echo",Level="Model",Hostname="host1",} 1.42\n' in text
    assert logs.ts == logs.model == []


def test_prometheus_counters_never_go_back():
    recorder = Logs("prometheus").recorder
    for scrape in (1, 2):
        recorder.series("Requests2XX", "Host").record(1)
        recorder.flush(scrape)
        assert recorder.render({"Requests2XX"}).endswith(f" {scrape}.0\n")


def test_legacy_mode_shows_three_counters_whatever_their_type_and_logs_the_rest():
    text = """
    ts_metrics:
      gauge:
        - {name: ts_inference_requests_total, unit: Count, dimensions: [model_name, model_version, hostname]}
        - {name: ts_inference_latency_microseconds, unit: us, dimensions: [model_name, model_version, hostname]}
        - {name: ts_queue_latency_microseconds, unit: us, dimensions: [model_name, model_version, hostname]}
        - {name: QueueTime, unit: ms, dimensions: [Level, Hostname]}
    """
    logs = Logs("legacy", parse_catalog(text, "legacy.yaml"))
    for _ in range(2):
        logs.recorder.series("ts_inference_requests_total", "echo", "default").record(1)
        logs.recorder.series("QueueTime", "Host").record(4)
    logs.recorder.flush(1)
    assert logs.ts == ["QueueTime.ms:4.0|#Level:Host|#hostname:host1,timestamp:1"]
    exposed = logs.recorder.render()
    assert exposed.count("# TYPE ") == exposed.count(" counter\n") == 3
    assert 'ts_inference_requests_total{model_name="echo",model_version="default",hostname="host1",} 2.0\n' in exposed


def test_an_undeclared_frontend_metric_is_ignored_silently(caplog: pytest.LogCaptureFixture):
    logs = Logs(every_update=True)
    logs.recorder.series("Unknown", "Host").record(1)
    logs.recorder.series("PredictionTime", "echo", "Model").record(1)
    assert logs.ts == logs.model == []
    assert not caplog.records


def test_a_frontend_metric_declared_with_other_dimensions_is_ignored_and_logged(caplog: pytest.LogCaptureFixture):
    logs = Logs(every_update=True)
    logs.recorder.series("Requests2XX", "Host", "more").record(1)
    assert logs.ts == []
    assert "Requests2XX" in caplog.text


def test_an_undeclared_backend_metric_is_ignored_silently(caplog: pytest.LogCaptureFixture):
    logs = Logs("prometheus")
    before = logs.recorder.render()
    logs.recorder.record_backend([update("Unknown", 1), update("Requests2XX", 1, dimensions=[("Level", "Host")])])
    assert logs.recorder.render() == before
    assert not caplog.records


def test_backend_labels_are_taken_by_position():
    logs = Logs("prometheus")
    logs.recorder.record_backend([update("PredictionTime", 2, dimensions=[("name", "echo"), ("level", "Model")])])
    assert 'PredictionTime{ModelName="echo",Level="Model",Hostname="host1",} 2.0' in logs.recorder.render()


@pytest.mark.parametrize("mode", ["log", "prometheus"])
def test_updates_that_do_not_fit_are_ignored_and_logged_once(mode: str, caplog: pytest.LogCaptureFixture):
    logs = Logs(mode, MORE)
    before = logs.recorder.render()
    nan, infinity = float("nan"), float("inf")
    for _ in range(2):
        logs.recorder.record_backend(
            [
                update("Rows", -1),
                update("Rows", nan),
                update("Rows", infinity),
                update("Widths", nan, dimensions=[]),
                update("Depth", 1, dimensions=MODEL[:1]),
            ]
        )
    logs.recorder.flush(1)
    assert (logs.model, logs.recorder.render()) == ([], before)
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 3
    for name in ("Rows", "Widths", "Depth"):
        assert name in caplog.text


def test_a_gauge_takes_any_value():
    logs = Logs("prometheus", MORE)
    for value in ("nan", "-inf", "-1.5"):
        logs.recorder.record_backend([update("Depth", float(value))])
    assert logs.recorder.render({"Depth"}).endswith(" -1.5\n")


def test_auto_detection_declares_what_comes_with_a_type():
    logs = Logs("prometheus", auto_detect=True)
    own = MetricUpdate("Mine", "Count", "counter", 2, [("Colour", "red")])
    logs.recorder.record_backend([own, own])
    assert logs.recorder.render({"Mine"}) == (
        "# HELP Mine Torchserve prometheus counter metric with unit: Count\n"
        "# TYPE Mine counter\n"
        'Mine{Colour="red",Hostname="host1",} 4.0\n'
    )


def test_auto_detection_keeps_the_dimensions_seen_first(caplog: pytest.LogCaptureFixture):
    logs = Logs(auto_detect=True)
    logs.recorder.record_backend([MetricUpdate("Mine", "Count", "counter", 2, [("Colour", "red")])])
    logs.recorder.record_backend([MetricUpdate("Mine", "Count", "counter", 2, [("Colour", "red"), ("Size", "1")])])
    logs.recorder.flush(1)
    assert logs.model == ["Mine.Count:2.0|#Colour:red|#hostname:host1,timestamp:1"]
    assert "Mine" in caplog.text


@pytest.mark.parametrize(
    "own",
    [
        MetricUpdate("Mine", "Count", "", 1, []),
        MetricUpdate("my metric", "Count", "counter", 1, []),
        MetricUpdate("Mine", "Count", "counter", 1, [("Hostname", "h")]),
        MetricUpdate("Requests2XX", "Count", "counter", 1, [("Level", "Host")]),
    ],
)
def test_auto_detection_leaves_out_what_cannot_be_declared(own: MetricUpdate):
    logs = Logs("prometheus", auto_detect=True)
    before = logs.recorder.render()
    logs.recorder.record_backend([own])
    assert logs.recorder.render() == before


def test_series_of_one_metric_are_limited_in_prometheus_mode(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(recorder_module, "MAX_SERIES_PER_METRIC", 2)
    logs = Logs("prometheus")
    for name in ("a", "b", "c", "a"):
        logs.recorder.record_backend([update("PredictionTime", 1, dimensions=[("ModelName", name), MODEL[1]])])
    assert logs.recorder.render({"PredictionTime"}).count("PredictionTime{") == 2
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_an_unknown_mode_is_refused():
    with pytest.raises(ConfigError, match="metrics_mode=loud"):
        Logs("loud")
