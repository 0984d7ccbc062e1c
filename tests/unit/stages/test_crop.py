import numpy as np
import pytest
import torch
from batches import assert_same_as_row_by_row, batches
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import gradient
from PIL import Image
from torchvision.transforms.functional import center_crop

from flambeau.errors import BadRequest
from flambeau.stages import CenterCrop, Crop

SIDES = st.integers(1, 12)


def three_ways(array: np.ndarray) -> list:
    return [array, torch.from_numpy(array).permute(2, 0, 1), Image.fromarray(array)]


@given(SIDES, SIDES, SIDES, SIDES)
def test_the_middle_is_where_torchvision_finds_it(height, width, crop_height, crop_width):
    image = gradient(height, width)
    expected = center_crop(torch.from_numpy(image).permute(2, 0, 1), [crop_height, crop_width])
    array, tensor, pil_image = CenterCrop((crop_height, crop_width))(three_ways(image))
    assert torch.equal(tensor, expected)
    assert np.array_equal(array, expected.permute(1, 2, 0).numpy())
    assert np.array_equal(np.asarray(pil_image), array)


@settings(deadline=None)
@given(batches(), st.sampled_from([4, (6, 5), 40]))
def test_a_batch_gives_what_its_rows_give_one_by_one(rows, size):
    assert_same_as_row_by_row(CenterCrop(size), rows)


def test_what_is_cut_out_is_not_copied():
    image, tensor = gradient(), torch.zeros(3, 9, 9)
    array_part, tensor_part = CenterCrop(5)([image, tensor])
    assert np.shares_memory(array_part, image)
    tensor += 1
    assert tensor_part.min() == 1


def test_a_grey_image_without_channels_gets_its_border_too():
    assert CenterCrop(9)([np.ones((3, 3), np.uint8)])[0].sum() == 9


def test_a_box_is_left_top_right_bottom():
    image = gradient()
    array, tensor, pil_image = Crop()([{"data": way, "box": [3, 4, 30, 20.9]} for way in three_ways(image)])
    assert np.array_equal(array, image[4:20, 3:30])
    assert np.array_equal(tensor.permute(1, 2, 0).numpy(), array)
    assert np.array_equal(np.asarray(pil_image), array)


@pytest.mark.parametrize(
    "box", [torch.tensor([-5.0, -5.0, 10.0, 900.0]), np.array([-5, -5, 10, 900]), (-5, -5, 10, 900)]
)
def test_what_lies_outside_of_the_image_is_left_out(box):
    image = gradient()
    assert np.array_equal(Crop()([{"data": image, "box": box}])[0], image[:, :10])


def test_keys_can_be_those_of_the_stages_that_the_row_comes_from():
    row = {"decode": gradient(), "detect": (0, 0, 2, 3)}
    assert Crop(image="decode", box="detect")([row])[0].shape == (3, 2, 3)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (gradient(), "mapping with 'data' and 'box'"),
        ({"data": gradient()}, "mapping with 'data' and 'box'"),
        ({"data": gradient(), "box": [1, 2, 3]}, "four numbers"),
        ({"data": gradient(), "box": "abcd"}, "four numbers"),
        ({"data": gradient(), "box": [float("nan")] * 4}, "four numbers"),
        ({"data": gradient(), "box": [float("inf")] * 4}, "four numbers"),
        ({"data": gradient(), "box": [5, 5, 5, 9]}, r"nothing of the image \(65x43\)"),
        ({"data": gradient(), "box": [100, 0, 200, 9]}, "nothing of the image"),
        ({"data": "text", "box": [0, 0, 1, 1]}, "not str"),
    ],
)
def test_a_row_without_a_part_to_cut_is_refused(row, problem):
    (failure,) = Crop()([row])
    with pytest.raises(BadRequest, match=problem):
        raise failure
