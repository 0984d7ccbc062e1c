from flambeau.runtime.offline.printed_metrics import PrintingMetric as CachingMetric

__all__ = ["CachingMetric"]
