from flambeau.runtime.offline.printed_metrics import PrintingMetricsCache as MetricsCacheYamlImpl

__all__ = ["MetricsCacheYamlImpl"]
