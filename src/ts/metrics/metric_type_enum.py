from flambeau.runtime.metrics import MetricTypes

__all__ = ["MetricTypes"]
