from flambeau.runtime.metrics_store import MetricEncoder

__all__ = ["MetricEncoder"]
