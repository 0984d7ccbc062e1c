"""How long requests took, in a few numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def summarize(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds: minimum, mean, percentiles (the nearest value at or above each) and maximum; empty of nothing."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    figures = {"min": ordered[0], "mean": math.fsum(ordered) / len(ordered)}
    for name, share in _QUANTILES.items():
        figures[name] = ordered[math.ceil(share * len(ordered)) - 1]
    figures["max"] = ordered[-1]
    return {name: value * 1000 for name, value in figures.items()}
