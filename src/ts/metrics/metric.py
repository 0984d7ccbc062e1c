from flambeau.runtime.metrics_store import Metric

__all__ = ["Metric"]
