from flambeau.runtime.metrics import MetricsCache as MetricCacheAbstract

__all__ = ["MetricCacheAbstract"]
