from flambeau.runtime.metrics_store import MetricsStore

__all__ = ["MetricsStore"]
