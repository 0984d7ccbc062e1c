"""Detections to those that do not show the same thing twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flambeau.errors import BadRequest
from flambeau.stages.images import is_made_by
from flambeau.stages.requirements import require
from flambeau.stages.stage import RowStage


class NMS(RowStage):
    """Non-maximum suppression: of boxes that overlap too much only the one with the greatest score stays.

    A row is what torchvision's detectors return: a mapping of ``boxes [n, 4]`` (left, top, right, bottom), ``scores
    [n]`` and, if there are classes, ``labels [n]``; boxes of different labels do not suppress each other. Whatever else
    the row holds has n entries too. The result is such a mapping with the entries that stay, the greatest score first;
    arrays stay arrays, tensors stay tensors on their device. Of equal scores the earlier one wins.
    """

    def __init__(self, iou_threshold: float = 0.5, score_threshold: float = 0.0, max_detections: int = 100) -> None:
        """
        Args:
            iou_threshold: share of their common area, from 0 to 1, above which two boxes overlap too much.
            score_threshold: boxes that score less are dropped.
            max_detections: at most so many stay.

        Raises:
            ValueError: an option is out of range.
            ModuleNotFoundError: torchvision or numpy is not installed.
        """
        if not 0 <= iou_threshold <= 1:
            raise ValueError(f"iou_threshold is between 0 and 1, not {iou_threshold}")
        if max_detections < 1:
            raise ValueError(f"max_detections is at least 1, not {max_detections}")
        self.iou_threshold = iou_threshold
        self.score_threshold = score_threshold
        self.max_detections = max_detections
        self._torch = require("torch")
        self._nms = require("torchvision.ops").nms
        self._np = require("numpy")

    def one(self, row: Any) -> dict[str, Any]:
        """
        Raises:
            BadRequest: the row is not of the form above.
        """
        if not isinstance(row, Mapping) or not row.keys() >= {"boxes", "scores"}:
            raise BadRequest("a mapping with 'boxes' and 'scores' is expected")
        columns = {key: self._as_column(value) for key, value in row.items()}
        boxes, scores = self._as_floats(columns["boxes"]), self._as_floats(columns["scores"])
        if not scores.numel() and not boxes.numel():
            return columns
        if scores.ndim != 1 or boxes.shape != (len(scores), 4):
            raise BadRequest(f"boxes are [n, 4] and scores [n], not {tuple(boxes.shape)} and {tuple(scores.shape)}")
        for key, value in columns.items():
            if not value.ndim or len(value) != len(scores):
                raise BadRequest(f"{key!r} has not one entry for each of the {len(scores)} boxes")
        kept = self._keep(boxes, scores, columns.get("labels"))
        positions = kept.cpu().numpy()
        return {
            key: value[kept.to(value.device)] if is_made_by("torch", "Tensor", value) else value[positions]
            for key, value in columns.items()
        }

    def _keep(self, boxes: Any, scores: Any, labels: Any) -> Any:
        """The positions of the entries that stay, the greatest score first."""
        torch = self._torch
        candidates = (scores >= self.score_threshold).nonzero().flatten()
        stays = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
        for members in self._by_label(candidates, labels):
            stays[members[self._nms(boxes[members], scores[members], self.iou_threshold)]] = True
        kept = stays.nonzero().flatten()
        best_first = scores[kept].sort(descending=True, stable=True).indices
        return kept[best_first][: self.max_detections]

    def _by_label(self, candidates: Any, labels: Any) -> list[Any]:
        """The candidates of each label. One call for each, not boxes moved apart: that would cost digits."""
        if labels is None:
            return [candidates]
        of_candidates = self._as_tensor(labels).to(candidates.device)[candidates]
        return [candidates[of_candidates == label] for label in of_candidates.unique()]

    def _as_column(self, values: Any) -> Any:
        return values if is_made_by("torch", "Tensor", values) else self._np.asarray(values)

    def _as_floats(self, column: Any) -> Any:
        """As the tensor that torchvision compares: all of one type, and one that it knows."""
        return self._as_tensor(column).detach().to(self._torch.float32)

    def _as_tensor(self, column: Any) -> Any:
        return column if is_made_by("torch", "Tensor", column) else self._torch.tensor(column)
