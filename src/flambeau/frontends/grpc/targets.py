"""The models that calls name, found once and remembered until the models change."""

from __future__ import annotations

from flambeau.api import Caller, Inference, ServedModel, Ticket
from flambeau.errors import BadRequest, NoWorker
from flambeau.frontends.http.responder import MetricsRecorder, Series
from flambeau.request import InferenceRequest, ModelRef

_MAX_TARGETS = 4096
"""Names that are remembered; only those of models are, so clients cannot make them up."""


class Target:
    """A model as a client named it, and the series that its requests are counted in."""

    __slots__ = ("_model", "_names_version", "inferences", "takes_tensors")

    def __init__(self, model: ServedModel, names_version: bool, metrics: MetricsRecorder) -> None:
        name, version = model.ref
        label = version if names_version and version is not None else "default"
        self._model = model
        self._names_version = names_version
        self.takes_tensors = model.takes_tensors
        self.inferences: Series = metrics.series("ts_inference_requests_total", name, label)

    @property
    def ref(self) -> ModelRef:
        return self._model.ref

    def submit(self, request: InferenceRequest, caller: Caller, arrived_at: float) -> Ticket:
        """As ``api.ServedModel.submit``; the error of a model without workers names the version if the client did."""
        try:
            return self._model.submit(request, caller, arrived_at)
        except NoWorker as error:
            if self._names_version and not error.has_reason:
                raise NoWorker(*self._model.ref) from None
            raise


class Targets:
    """Finds targets."""

    def __init__(self, inference: Inference, metrics: MetricsRecorder) -> None:
        self._inference = inference
        self._metrics = metrics
        self._known: dict[tuple[str, str], Target] = {}
        self._generation = inference.generation

    def find(self, name: str, version: str) -> Target:
        """The model of this name.

        Args:
            version: empty for the default version.

        Raises:
            BadRequest: no name.
            ModelNotFound, VersionNotFound
        """
        if self._generation != self._inference.generation:
            self._known.clear()
            self._generation = self._inference.generation
        target = self._known.get((name, version))
        if target is None:
            if not name:
                raise BadRequest("Parameter model_name is required.")
            model = self._inference.resolve(ModelRef(name, version or None))
            target = Target(model, bool(version), self._metrics)
            if len(self._known) >= _MAX_TARGETS:
                self._known.clear()
            self._known[name, version] = target
        return target
