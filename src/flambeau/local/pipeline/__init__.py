"""Pipelines: models, functions and ready-made stages linked to one thread-safe function of a row."""

from flambeau.local.pipeline.run import Pipeline
from flambeau.local.pipeline.stage import Stage

__all__ = ["Pipeline", "Stage"]
