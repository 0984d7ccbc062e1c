from flambeau.runtime.metrics_store import emit_metrics

__all__ = ["emit_metrics"]
