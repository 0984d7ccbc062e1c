from flambeau.runtime.metrics import CachingMetric as MetricAbstract

__all__ = ["MetricAbstract"]
