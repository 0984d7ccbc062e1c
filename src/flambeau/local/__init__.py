"""A model or a pipeline as a thread-safe function of this process, with batching behind it."""

from flambeau.local.calls import LocalCallable
from flambeau.local.model import LocalModel
from flambeau.local.opening import load
from flambeau.local.pipeline import Pipeline, Stage
from flambeau.local.rows import Fields

__all__ = ["Fields", "LocalCallable", "LocalModel", "Pipeline", "Stage", "load"]
