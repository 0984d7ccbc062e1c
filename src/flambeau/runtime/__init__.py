"""Runs handlers: in a worker process (``python -m flambeau.runtime``) or in one's own, without a server."""

from flambeau.runtime.context import Context, RequestProcessor
from flambeau.runtime.failures import PredictionException
from flambeau.runtime.loader import load_handler
from flambeau.runtime.metrics import Dimension, MetricsCache, MetricTypes
from flambeau.runtime.service import LoadedHandler

__all__ = [
    "Context",
    "Dimension",
    "LoadedHandler",
    "MetricTypes",
    "MetricsCache",
    "PredictionException",
    "RequestProcessor",
    "load_handler",
]
