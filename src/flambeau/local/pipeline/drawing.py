"""A plan as one line of text."""

from __future__ import annotations

from collections.abc import Mapping

from flambeau.local.pipeline.graph import Plan


def draw(plan: Plan, labels: Mapping[str, str]) -> str:
    """Every link between stages once, along the graph: ``decode → boxes → join; decode → mask → join``.

    Args:
        labels: by name, what to write where a stage is met first.
    """
    steps = {step.slot: step for step in plan.steps}
    left = {step.slot: list(step.followers) for step in plan.steps}
    met: set[int] = set()
    paths = []

    def label(slot: int) -> str:
        name = steps[slot].name
        if slot in met:
            return name
        met.add(slot)
        return labels[name]

    for slot in steps:
        while left[slot] or slot not in met:
            path = [label(slot)]
            at = slot
            while left[at]:
                at = left[at].pop(0)
                path.append(label(at))
            paths.append(" → ".join(path))
    return "; ".join(paths)
