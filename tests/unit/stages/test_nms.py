import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import batched_nms

from flambeau.errors import BadRequest
from flambeau.stages import NMS

CORNER, SIDE = st.integers(0, 12), st.integers(0, 12)
BOXES = st.tuples(CORNER, CORNER, SIDE, SIDE).map(lambda box: [box[0], box[1], box[0] + box[2], box[1] + box[3]])
DETECTIONS = st.lists(st.tuples(BOXES, st.integers(0, 8).map(lambda score: score / 8), st.integers(0, 2)), max_size=12)
THRESHOLDS = st.sampled_from([0.0, 0.3, 0.5, 1.0])


def row_of(detections, make=np.array) -> dict:
    boxes, scores, labels = zip(*detections, strict=True) if detections else ([], [], [])
    return {
        "boxes": make(boxes).reshape(-1, 4) if detections else make([]).reshape(0, 4),
        "scores": make(scores),
        "labels": make(labels),
    }


def overlap(one, other) -> float:
    width = max(min(one[2], other[2]) - max(one[0], other[0]), 0)
    height = max(min(one[3], other[3]) - max(one[1], other[1]), 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    common = sum(areas) - width * height
    return width * height / common if common else 0


def kept_by_hand(detections, iou_threshold, score_threshold, max_detections) -> list[int]:
    """Positions, by the definition: each against all that are better and stay."""
    order = sorted(range(len(detections)), key=lambda place: -detections[place][1])
    kept: list[int] = []
    for place in order:
        box, score, label = detections[place]
        rivals = [detections[other][0] for other in kept if detections[other][2] == label]
        if score >= score_threshold and all(overlap(box, rival) <= iou_threshold for rival in rivals):
            kept.append(place)
    return kept[:max_detections]


@settings(deadline=None)
@given(DETECTIONS, THRESHOLDS, st.sampled_from([0.0, 0.4, 1.0]), st.integers(1, 6))
def test_what_stays_is_what_the_definition_says(detections, iou_threshold, score_threshold, max_detections):
    kept = kept_by_hand(detections, iou_threshold, score_threshold, max_detections)
    (result,) = NMS(iou_threshold, score_threshold, max_detections)([row_of(detections)])
    assert result["boxes"].tolist() == [detections[place][0] for place in kept]
    assert result["scores"].tolist() == [detections[place][1] for place in kept]
    assert result["labels"].tolist() == [detections[place][2] for place in kept]


@settings(deadline=None)
@given(DETECTIONS, THRESHOLDS)
def test_what_stays_is_what_torchvision_keeps(detections, iou_threshold):
    row = row_of(detections, torch.tensor)
    expected = batched_nms(row["boxes"].float(), row["scores"].float(), row["labels"].long(), iou_threshold)
    (result,) = NMS(iou_threshold)([row])
    best_first = row["scores"].float()[expected.sort().values].sort(descending=True, stable=True).indices
    assert result["boxes"].tolist() == row["boxes"][expected.sort().values][best_first].tolist()


def test_arrays_stay_arrays_and_tensors_tensors_with_their_types():
    detections = [([0, 0, 4, 4], 0.5, 1), ([0, 0, 4, 4], 0.75, 1)]
    array, tensor = NMS()([row_of(detections), row_of(detections, torch.tensor)])
    assert array["boxes"].dtype == np.int64
    assert isinstance(tensor["boxes"], torch.Tensor)
    assert tensor["labels"].dtype is torch.int64
    assert array["scores"].tolist() == tensor["scores"].tolist() == [0.75]


def test_without_labels_all_boxes_are_rivals():
    boxes, scores = [[0, 0, 4, 4], [0, 0, 4, 4]], [0.5, 0.75]
    with_labels, without = NMS()(
        [{"boxes": boxes, "scores": scores, "labels": [1, 2]}, {"boxes": boxes, "scores": scores}]
    )
    assert len(with_labels["scores"]) == 2
    assert len(without["scores"]) == 1


def test_whatever_else_a_row_holds_is_kept_for_the_boxes_that_stay():
    masks = np.arange(8).reshape(2, 2, 2)
    (result,) = NMS(score_threshold=0.6)(
        [{"boxes": [[0, 0, 1, 1], [2, 2, 3, 3]], "scores": [0.5, 0.75], "masks": masks}]
    )
    assert result["masks"].tolist() == masks[1:].tolist()


@pytest.mark.parametrize("half", [np.float16, np.float64])
def test_any_type_of_number_is_compared(half):
    row = {"boxes": np.array([[0, 0, 4, 4], [0, 0, 4, 5]], half), "scores": np.array([0.5, 0.75], np.float32)}
    assert NMS()([row])[0]["scores"].tolist() == [0.75]


def test_a_row_that_is_read_only_is_neither_changed_nor_warned_of():
    row = {"boxes": np.zeros((1, 4), np.float32), "scores": np.ones(1, np.float32)}
    for column in row.values():
        column.flags.writeable = False
    assert NMS()([row])[0]["scores"].tolist() == [1]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ([1, 2], "mapping with 'boxes' and 'scores'"),
        ({"boxes": []}, "mapping with 'boxes' and 'scores'"),
        ({"boxes": [[1, 2, 3]], "scores": [1]}, r"\[n, 4\]"),
        ({"boxes": [[1, 2, 3, 4]], "scores": [1, 2]}, r"\[n, 4\]"),
        ({"boxes": [[1, 2, 3, 4]], "scores": [1], "labels": [1, 2]}, "'labels'"),
        ({"boxes": [[1, 2, 3, 4]], "scores": [1], "size": 5}, "'size'"),
    ],
)
def test_a_row_of_another_form_is_refused(row, problem):
    failure, fine = NMS()([row, {"boxes": [], "scores": []}])
    with pytest.raises(BadRequest, match=problem):
        raise failure
    assert len(fine["scores"]) == 0


@pytest.mark.parametrize("options", [{"iou_threshold": 1.5}, {"iou_threshold": -0.1}, {"max_detections": 0}])
def test_an_option_out_of_range_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        NMS(**options)
