"""The metrics cache of programs without a server: what a handler records is logged as the lines that servers read."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from flambeau.request import MetricUpdate
from flambeau.runtime.metrics import CachingMetric, MetricsCache, MetricTypes

logger = logging.getLogger(__name__)


class PrintingMetric(CachingMetric):
    """A metric of no cache: each value becomes a line in the log, at level INFO."""

    def __init__(
        self,
        metric_name: str,
        unit: str | None,
        dimension_names: Sequence[str] | None = None,
        metric_type: MetricTypes = MetricTypes.COUNTER,
    ) -> None:
        super().__init__(metric_name, unit, dimension_names or (), metric_type, log_update)


class PrintingMetricsCache(MetricsCache):
    """A metrics cache that keeps no values: each becomes a line in the log, at level INFO.

    The model's name is whatever :attr:`model_name` is set to.
    """

    def __init__(self, config_file_path: str | Path | None = None) -> None:
        """
        Args:
            config_file_path: a metrics YAML; None for the two metrics that every model has.

        Raises:
            GeneralMetricsCacheError: the file cannot be used; says why.
        """
        super().__init__("", config_file_path)

    def _record(self, update: MetricUpdate) -> None:
        log_update(update)


def log_update(update: MetricUpdate) -> None:
    """Log a value as a line of ``[METRICS]``."""
    dimensions = ",".join(f"{name}:{value}" for name, value in update.dimensions)
    requests = f",{update.request_ids}" if update.request_ids else ""
    logger.info(
        "[METRICS]%s.%s:%s|#%s|#type:%s|#hostname:%s,%d%s",
        update.name,
        update.unit,
        update.value,
        dimensions,
        update.kind.upper(),
        socket.gethostname(),
        time.time(),
        requests,
    )
