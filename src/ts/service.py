from flambeau.runtime.metrics_store import emit_metrics
from flambeau.runtime.offline.service import PREDICTION_METRIC, Service

__all__ = ["PREDICTION_METRIC", "Service", "emit_metrics"]
