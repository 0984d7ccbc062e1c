from __future__ import annotations

from pathlib import Path

import pytest

from flambeau.metrics.catalog import MetricSpec, load_catalog

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


@pytest.mark.parametrize("spec", list(load_catalog()), ids=lambda spec: spec.name)
def test_every_metric_has_a_row_with_its_kind_unit_and_dimensions(spec: MetricSpec):
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{spec.name}` |")]
    assert len(rows) == 1
    kind, unit, dimensions, value = (cell.strip() for cell in rows[0].split("|")[2:6])
    assert (kind, unit, dimensions) == (spec.kind.value, spec.unit, ", ".join(spec.dimensions[:-1]))
    assert value
