from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from flambeau.metrics.catalog import MetricKind, MetricSpec
from flambeau.metrics.exposition import Family, render

REQUESTS = MetricSpec("Requests2XX", "Count", MetricKind.COUNTER, ("Level", "Hostname"))
HANDLER_TIME = MetricSpec("HandlerTime", "ms", MetricKind.GAUGE, ("ModelName", "Level", "Hostname"))
SIZES = MetricSpec("Sizes", "MB", MetricKind.HISTOGRAM, ("Hostname",))


def requests_family() -> Family:
    family = Family(REQUESTS)
    family.child(("Host", "h")).record(3)
    return family


def handler_family() -> Family:
    family = Family(HANDLER_TIME)
    family.child(("m", "Model", "h")).record(82.93)
    return family


def sizes_family() -> Family:
    family = Family(SIZES)
    family.child(("h",)).record(0.3)
    family.child(("h",)).record(20.0)
    return family


def test_text_is_torchserves():
    assert render([requests_family(), handler_family()]) == (
        "# HELP Requests2XX Torchserve prometheus counter metric with unit: Count\n"
        "# TYPE Requests2XX counter\n"
        'Requests2XX{Level="Host",Hostname="h",} 3.0\n'
        "# HELP HandlerTime Torchserve prometheus gauge metric with unit: ms\n"
        "# TYPE HandlerTime gauge\n"
        'HandlerTime{ModelName="m",Level="Model",Hostname="h",} 82.93\n'
    )


def test_text_fits_the_pattern_that_torchserves_regression_suite_looks_for():
    assert re.search(r'.*Requests2XX\{Level="Host",Hostname=".*",\} \d+\.\d+.*', render([requests_family()]))


def test_a_histogram_has_buckets_count_and_sum():
    lines = render([sizes_family()]).splitlines()
    assert lines[1] == "# TYPE Sizes histogram"
    assert lines[2] == 'Sizes_bucket{Hostname="h",le="0.005",} 0.0'
    assert 'Sizes_bucket{Hostname="h",le="0.5",} 1.0' in lines
    assert lines[-3:] == [
        'Sizes_bucket{Hostname="h",le="+Inf",} 2.0',
        'Sizes_count{Hostname="h",} 2.0',
        'Sizes_sum{Hostname="h",} 20.3',
    ]


def test_a_metric_without_dimensions_has_no_braces():
    family = Family(MetricSpec("Bare", "Count", MetricKind.COUNTER, ()))
    family.child(()).record(1)
    assert render([family]).endswith("\nBare 1.0\n")


def test_a_metric_without_samples_is_listed():
    assert render([Family(HANDLER_TIME)]) == (
        "# HELP HandlerTime Torchserve prometheus gauge metric with unit: ms\n# TYPE HandlerTime gauge\n"
    )


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ({"Requests2XX"}, {"Requests2XX"}),
        ({"Requests2XX", "HandlerTime"}, {"Requests2XX", "HandlerTime"}),
        ({"Sizes"}, {"Sizes_bucket", "Sizes_count", "Sizes_sum"}),
        ({"Sizes_sum"}, {"Sizes_sum"}),
        ({"Nothing"}, set()),
        ({"Empty"}, set()),
    ],
)
def test_names_select_samples(names: set[str], shown: set[str]):
    empty = Family(MetricSpec("Empty", "Count", MetricKind.GAUGE, ("Hostname",)))
    text = render([requests_family(), handler_family(), sizes_family(), empty], names)
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert {re.split("[{ ]", line)[0] for line in samples} == shown
    assert bool(text) == bool(shown)


@given(label=st.text(), value=st.floats())
def test_the_prometheus_client_reads_any_label_and_value_back(label: str, value: float):
    family = Family(HANDLER_TIME)
    family.child((label, "Model", "h")).record(value)
    _, parsed = text_string_to_metric_families(render([requests_family(), family]))
    (sample,) = parsed.samples
    assert sample.name == "HandlerTime"
    assert sample.labels == {"ModelName": label, "Level": "Model", "Hostname": "h"}
    assert repr(sample.value) == repr(value)


def test_the_prometheus_client_reads_counters_and_histograms():
    parsed = list(text_string_to_metric_families(render([requests_family(), sizes_family()])))
    assert [metric.type for metric in parsed] == ["counter", "histogram"]
    assert [sample.value for sample in parsed[1].samples][-3:] == [2.0, 2.0, 20.3]
