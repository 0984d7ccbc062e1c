from __future__ import annotations

from pathlib import Path

import pytest

from flambeau.errors import ConfigError
from flambeau.metrics.catalog import Catalog, MetricKind, MetricSpec, load_catalog, parse_catalog


def test_packaged_file_has_the_21_default_metrics():
    catalog = load_catalog()
    kinds = [spec.kind for spec in catalog]
    assert len(kinds) == 21
    assert kinds.count(MetricKind.COUNTER) == 6
    assert len(catalog.backend) == 2
    by_name = {spec.name: spec for spec in catalog}
    assert by_name["WorkerLoadTime"].dimensions == ("WorkerName", "Level", "Hostname")
    assert by_name["ts_queue_latency_microseconds"] == MetricSpec(
        "ts_queue_latency_microseconds",
        "Microseconds",
        MetricKind.COUNTER,
        ("model_name", "model_version", "hostname"),
    )


def test_backend_metrics_get_the_host_as_last_dimension_once():
    text = """
    model_metrics:
      counter:
        - {name: A, unit: Count, dimensions: [ModelName, Level]}
        - {name: B, unit: Count, dimensions: [Hostname]}
        - {name: C, unit: Count, dimensions: []}
    """
    assert [spec.dimensions for spec in parse_catalog(text, "m.yaml").backend] == [
        ("ModelName", "Level", "Hostname"),
        ("Hostname",),
        ("Hostname",),
    ]


@pytest.mark.parametrize("section", ["ts_metrics", "model_metrics"])
def test_a_missing_section_records_nothing_on_its_side(section: str):
    catalog = parse_catalog(f"{section}: {{gauge: [{{name: X, unit: s, dimensions: [Hostname]}}]}}", "m.yaml")
    assert [spec.name for spec in catalog] == ["X"]
    assert catalog.frontend == () or catalog.backend == ()


def test_histograms_and_anchors_are_read():
    text = """
    dimensions:
      - &host Hostname
    ts_metrics:
      histogram:
        - {name: H, unit: ms, dimensions: [*host]}
    """
    spec = MetricSpec("H", "ms", MetricKind.HISTOGRAM, ("Hostname",))
    assert parse_catalog(text, "m.yaml") == Catalog(frontend=(spec,))


GOOD = "{name: A, unit: Count, dimensions: [Hostname]}"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[]", "document="),
        ("", "document="),
        ("metrics: {}", "metrics="),
        ("ts_metrics: [a]", "ts_metrics="),
        ("ts_metrics: {summary: []}", "ts_metrics.summary="),
        ("ts_metrics: {gauge: {}}", "ts_metrics.gauge="),
        ("ts_metrics: {gauge: [7]}", "ts_metrics.gauge[0]="),
        (f"ts_metrics: {{gauge: [{GOOD}, {{unit: s, dimensions: []}}]}}", "ts_metrics.gauge[1].name="),
        ("model_metrics: {gauge: [{name: '', unit: s, dimensions: []}]}", "model_metrics.gauge[0].name="),
        ("model_metrics: {gauge: [{name: A, unit: '', dimensions: []}]}", "model_metrics.gauge[0].unit="),
        ("model_metrics: {gauge: [{name: A, dimensions: []}]}", "model_metrics.gauge[0].unit="),
        ("model_metrics: {gauge: [{name: A, unit: s}]}", "model_metrics.gauge[0].dimensions="),
        ("model_metrics: {gauge: [{name: A, unit: s, dimensions: [1]}]}", "model_metrics.gauge[0].dimensions="),
        ("model_metrics: {gauge: [{name: A, unit: s, dimensions: ['a b']}]}", "model_metrics.gauge[0].dimensions="),
        ("model_metrics: {gauge: [{name: A, unit: s, dimensions: [L, L]}]}", "model_metrics.gauge[0].dimensions="),
        (
            "model_metrics: {histogram: [{name: A, unit: s, dimensions: [le]}]}",
            "model_metrics.histogram[0].dimensions=",
        ),
        ("model_metrics: {gauge: [{name: 2A, unit: s, dimensions: []}]}", "model_metrics.gauge[0].name="),
        ("model_metrics: {gauge: [{name: A, unit: s, dimensions: [], help: x}]}", "model_metrics.gauge[0].help="),
        (f"ts_metrics: {{gauge: [{GOOD}]}}\nmodel_metrics: {{gauge: [{GOOD}]}}", "name=A"),
        ("ts_metrics: {gauge: [", "metrics_config="),
    ],
)
def test_a_bad_entry_is_refused_with_file_and_place(text: str, place: str):
    with pytest.raises(ConfigError) as caught:
        parse_catalog(text, "my/metrics.yaml")
    assert "my/metrics.yaml" in str(caught.value)
    assert place in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"metrics_config=.*absent.yaml: cannot be read"):
        load_catalog(tmp_path / "absent.yaml")


def test_a_named_file_replaces_the_packaged_one(tmp_path: Path):
    path = tmp_path / "metrics.yaml"
    path.write_text("ts_metrics: {counter: [{name: Mine, unit: Count, dimensions: [Hostname]}]}")
    assert [spec.name for spec in load_catalog(path)] == ["Mine"]
