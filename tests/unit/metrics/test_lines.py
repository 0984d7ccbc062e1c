from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.metrics.catalog import MetricKind, MetricSpec, load_catalog
from flambeau.metrics.lines import LogLine, number, parse_metrics_line
from flambeau.request import MetricUpdate

SPECS = {spec.name: spec for spec in load_catalog()}


@pytest.mark.parametrize(
    ("name", "labels", "value", "now", "request_ids", "line"),
    [
        (
            "Requests2XX",
            ["Host"],
            1,
            1795288970.9,
            "",
            "Requests2XX.Count:1.0|#Level:Host|#hostname:host1,timestamp:1795288970",
        ),
        (
            "ts_queue_latency_microseconds",
            ["echo", "default"],
            89811.035,
            1795288970,
            "",
            "ts_queue_latency_microseconds.Microseconds:89811.035|#model_name:echo,model_version:default"
            "|#hostname:host1,timestamp:1795288970",
        ),
        (
            "WorkerLoadTime",
            ["W-19002-b4_1.0", "Host"],
            4453.0,
            1795288935,
            "",
            "WorkerLoadTime.Milliseconds:4453.0|#WorkerName:W-19002-b4_1.0,Level:Host|#hostname:host1,timestamp:1795288935",
        ),
        (
            "PredictionTime",
            ["echo", "Model"],
            1.42,
            1795288970,
            "5bf30090-1,5bf30090-2",
            "PredictionTime.ms:1.42|#ModelName:echo,Level:Model"
            "|#hostname:host1,requestID:5bf30090-1,5bf30090-2,timestamp:1795288970",
        ),
    ],
)
def test_log_lines_are_torchserves(name, labels, value, now, request_ids, line):
    assert LogLine(SPECS[name], labels, "host1").text(value, now, request_ids) == line


def test_a_metric_of_the_host_alone_has_no_dimensions_in_its_line():
    line = LogLine(MetricSpec("A", "Count", MetricKind.COUNTER, ("Hostname",)), [], "h")
    assert line.text(2.0, 7.0) == "A.Count:2.0|#|#hostname:h,timestamp:7"


@pytest.mark.parametrize(
    ("value", "text"),
    [(3, "3.0"), (0.1, "0.1"), (1e22, "1e+22"), (float("nan"), "NaN"), (float("inf"), "+Inf"), (float("-inf"), "-Inf")],
)
def test_numbers_have_a_decimal_or_an_exponent(value: float, text: str):
    assert number(value) == text


@pytest.mark.parametrize(
    ("line", "update"),
    [
        (
            "[METRICS]HandlerTime.Milliseconds:82.93|#ModelName:m,Level:Model|#type:GAUGE|#hostname:h1,1795288970,id-1,id-2\n",
            MetricUpdate(
                "HandlerTime", "Milliseconds", "gauge", 82.93, [("ModelName", "m"), ("Level", "Model")], "id-1,id-2"
            ),
        ),
        (
            "INFO > [METRICS]Size.Megabytes:-3e-2|#Level:Model|#hostname:h1,1795288970",
            MetricUpdate("Size", "Megabytes", "", -0.03, [("Level", "Model")]),
        ),
        (
            "CPUUtilization.Percent:0.0|#Level:Host|#hostname:h1,1795288970",
            MetricUpdate("CPUUtilization", "Percent", "", 0.0, [("Level", "Host")]),
        ),
        (
            "[METRICS]N.Count:1|#a:1,bad,x:y:z,:,b:2|#type:COUNTER|#hostname:h1,1",
            MetricUpdate("N", "Count", "counter", 1.0, [("a", "1"), ("b", "2")]),
        ),
        ("[METRICS]N.Count:1|#|#type:HISTOGRAM|#hostname:h1,1", MetricUpdate("N", "Count", "histogram", 1.0, [])),
    ],
)
def test_printed_lines_are_read(line: str, update: MetricUpdate):
    assert parse_metrics_line(line) == update


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[METRICS]",
        "loading weights: 7 %",
        "[METRICS]A.Count:1.2.3|#|#hostname:h,1",
        "[METRICS]A.Count:1,5|#|#hostname:h,1",
        "[METRICS]A.Count:nan|#|#hostname:h,1",
        "[METRICS]A.Count:1|#|#type:SUMMARY|#hostname:h,1",
        "[METRICS]A.Count:1|#L:x",
    ],
)
def test_other_lines_are_no_metrics(line: str):
    assert parse_metrics_line(line) is None


PIECES = [
    "[METRICS]",
    "INFO > ",
    "A",
    ".",
    "Count",
    ":",
    "1",
    "|#",
    "L:x",
    ",",
    "|#type:",
    "GAUGE",
    "|#hostname:",
    "h",
    "-",
    "e",
]


@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES)).map("".join)))
def test_no_line_makes_the_parser_raise(line: str):
    update = parse_metrics_line(line)
    assert update is None or isinstance(update.value, float)


@given(
    value=st.floats(allow_nan=False, allow_infinity=False),
    labels=st.lists(st.text(alphabet=st.characters(exclude_characters=",:|", categories=["L", "N", "P"])), max_size=3),
    kind=st.sampled_from(list(MetricKind)),
)
def test_what_torchserves_api_prints_is_read_back(value: float, labels: list[str], kind: MetricKind):
    pairs = [(f"D{index}", label) for index, label in enumerate(labels)]
    dimensions = ",".join(f"{name}:{label}" for name, label in pairs)
    line = f"[METRICS]My_metric.Count:{value}|#{dimensions}|#type:{kind.name}|#hostname:h,1795288970,id"
    assert parse_metrics_line(line) == MetricUpdate("My_metric", "Count", kind.value, value, pairs, "id")
