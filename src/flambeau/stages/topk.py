"""Scores to the classes that have the greatest."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flambeau.errors import BadRequest, InvalidModel
from flambeau.stages.images import is_made_by
from flambeau.stages.requirements import require
from flambeau.stages.stage import BatchStage


class TopK(BatchStage):
    """One score per class to ``{class: score}`` of the ``k`` greatest, the greatest first.

    A row is an array, tensor or list of numbers. Of equal scores the one of the lower class number comes first. The
    class is its label, or without labels its number as text, as TorchServe's image classifier answers.
    """

    def __init__(
        self,
        k: int = 5,
        labels: str | Path | Sequence[str] | Mapping[str, Any] | None = None,
        *,
        softmax: bool = False,
    ) -> None:
        """
        Args:
            k: how many; all, if there are fewer classes.
            labels: names by class number: a list, a mapping, or the path of a JSON file with either, such as
                ``index_to_name.json``. Where the name is a list, its last element counts.
            softmax: turn scores into probabilities first, over all classes.

        Raises:
            ValueError: k is below 1.
            OSError: the file of labels cannot be read.
            InvalidModel: the labels are not of this form.
            ModuleNotFoundError: numpy is not installed.
        """
        if k < 1:
            raise ValueError(f"k is at least 1, not {k}")
        self.k = k
        self.labels = {} if labels is None else _read_labels(labels)
        self.softmax = softmax
        self._np = require("numpy")

    def prepare(self, row: Any) -> tuple[Hashable, Any]:
        """
        Raises:
            BadRequest: the row is not a line of numbers.
        """
        if is_made_by("torch", "Tensor", row):
            row = row.detach().float().cpu().numpy()
        try:
            scores = self._np.asarray(row)
        except ValueError:
            raise BadRequest("scores are one line of numbers, not lines of several lengths") from None
        if scores.ndim != 1 or not scores.size or scores.dtype.kind not in "fiu":
            raise BadRequest(f"scores are one line of numbers, not {scores.dtype} of shape {scores.shape}")
        return (scores.shape, scores.dtype), scores

    def many(self, kind: Hashable, values: list[Any]) -> list[dict[str, float]]:
        np = self._np
        scores = np.stack(values)
        if scores.dtype.kind != "f" or scores.dtype.itemsize < 4:
            scores = scores.astype(np.float64)
        if self.softmax:
            powers = np.exp(scores - scores.max(axis=1, keepdims=True))
            scores = powers / powers.sum(axis=1, keepdims=True)
        best = np.argsort(-scores, axis=1, kind="stable")[:, : self.k]
        chosen = np.take_along_axis(scores, best, axis=1)
        return [
            {self.labels.get(str(number), str(number)): score for number, score in zip(numbers, line, strict=True)}
            for numbers, line in zip(best.tolist(), chosen.tolist(), strict=True)
        ]


def _read_labels(labels: str | Path | Sequence[str] | Mapping[str, Any]) -> dict[str, str]:
    if isinstance(labels, (str, Path)):
        try:
            labels = json.loads(Path(labels).read_bytes())
        except ValueError as error:
            raise InvalidModel(f"the labels are not JSON: {error}") from None
    if isinstance(labels, Mapping):
        names = labels.get("object_type_names", labels)
    else:
        names = labels
    if isinstance(names, Sequence) and not isinstance(names, str):
        names = {str(number): name for number, name in enumerate(names)}
    if not isinstance(names, Mapping):
        raise InvalidModel("labels are a list of names, or a mapping from class numbers to names")
    found = {str(key): name[-1] if isinstance(name, list) and name else name for key, name in names.items()}
    for key, name in found.items():
        if not isinstance(name, str):
            raise InvalidModel(f"the label of class {key} is {name!r}, which is not a text")
    return found
