"""TorchServe's text for a metric, both ways: the lines of the metrics logs, and the lines that user code prints."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from flambeau.metrics.catalog import MetricSpec
from flambeau.request import MetricUpdate

_PRINTED_LINE = re.compile(
    r"(?:INFO > )?(?:\[METRICS\])?"
    r"(?P<name>[\w ]+)\.(?P<unit>[\w ]+):(?P<value>[-+0-9.,eE]+)"
    r"\|#(?P<dimensions>[^|]*)"
    r"(?:\|#type:(?P<kind>COUNTER|GAUGE|HISTOGRAM))?"
    r"\|#hostname:[^,]+,[0-9.]+(?:,(?P<request_ids>.*))?"
)


def number(value: float) -> str:
    """A value as logs and scrapes show it: ``1.0``, ``1e+16``, ``NaN``, ``+Inf``, ``-Inf``."""
    if math.isfinite(value):
        return repr(float(value))
    if math.isnan(value):
        return "NaN"
    return "+Inf" if value > 0 else "-Inf"


class LogLine:
    """The log line of one series, all of it prepared but the value."""

    __slots__ = ("_after_value", "_before_value")

    def __init__(self, spec: MetricSpec, labels: Sequence[str], hostname: str) -> None:
        """``labels`` are without the host's name: one less than the metric has dimensions."""
        pairs = ",".join(f"{name}:{value}" for name, value in zip(spec.dimensions[:-1], labels, strict=True))
        self._before_value = f"{spec.name}.{spec.unit}:"
        self._after_value = f"|#{pairs}|#hostname:{hostname},"

    def text(self, value: float, now: float, request_ids: str = "") -> str:
        """The line for ``value`` at ``now`` (seconds since the epoch). ``request_ids``: joined by commas, or none."""
        ids = f"requestID:{request_ids}," if request_ids else ""
        return f"{self._before_value}{number(value)}{self._after_value}{ids}timestamp:{int(now)}"


def parse_metrics_line(line: str) -> MetricUpdate | None:
    """Read a line that user code printed, such as ``[METRICS]Size.MB:3.2|#Level:Model|#hostname:h,1795288970``.

    Returns:
        The update, or None if the line is none. ``kind`` is empty where the line has no ``#type:``. Dimensions that are
        not one name and one value are left out, as in TorchServe. Never raises.
    """
    match = _PRINTED_LINE.fullmatch(line.strip())
    if match is None:
        return None
    try:
        value = float(match["value"])
    except ValueError:
        return None
    pairs = [pair.split(":") for pair in match["dimensions"].split(",")]
    return MetricUpdate(
        name=match["name"].strip(),
        unit=match["unit"].strip(),
        kind=(match["kind"] or "").lower(),
        value=value,
        dimensions=[(pair[0], pair[1]) for pair in pairs if len(pair) == 2 and pair[0]],
        request_ids=match["request_ids"] or "",
    )
