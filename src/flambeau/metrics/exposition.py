"""Metrics as Prometheus reads them: the text format 0.0.4, with TorchServe's comma after the last label."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from flambeau.metrics.catalog import MetricSpec
from flambeau.metrics.lines import number
from flambeau.metrics.series import Accumulator, new_accumulator

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})
_LABEL_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


@dataclass(frozen=True, slots=True)
class Family:
    """One metric and all its series, by their label values: one value for each dimension."""

    spec: MetricSpec
    children: dict[tuple[str, ...], Accumulator] = field(default_factory=dict)

    def child(self, labels: tuple[str, ...]) -> Accumulator:
        """The series with these label values. It is made if there is none."""
        child = self.children.get(labels)
        if child is None:
            child = self.children[labels] = new_accumulator(self.spec.kind)
        return child


def render(families: Iterable[Family], names: Collection[str] | None = None) -> str:
    """The text of a scrape.

    Args:
        names: what to show, as names of metrics or samples (``x`` or ``x_sum`` of a histogram). Metrics without such
            samples are left out. None: everything, metrics without samples too.
    """
    return "".join(_family_text(family, names) for family in families)


def _family_text(family: Family, names: Collection[str] | None) -> str:
    spec = family.spec
    samples = [
        f"{spec.name}{suffix}{_braces(spec.dimensions, labels, further_label)} {number(value)}\n"
        for labels, child in family.children.items()
        for suffix, further_label, value in child.samples()
        if names is None or spec.name in names or spec.name + suffix in names
    ]
    if names is not None and not samples:
        return ""
    unit = spec.unit.translate(_HELP_ESCAPES)
    kind = spec.kind.value
    return (
        f"# HELP {spec.name} Torchserve prometheus {kind} metric with unit: {unit}\n"
        f"# TYPE {spec.name} {kind}\n"
        f"{''.join(samples)}"
    )


def _braces(dimensions: tuple[str, ...], labels: tuple[str, ...], further_label: str) -> str:
    pairs = [f'{name}="{value.translate(_LABEL_ESCAPES)}",' for name, value in zip(dimensions, labels, strict=True)]
    text = "".join(pairs) + further_label
    return f"{{{text}}}" if text else ""
