import numpy as np
import pytest
import torch
from batches import assert_same_as_row_by_row, batches
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import HEIGHT, WIDTH, gradient
from PIL import Image

from flambeau.errors import BadRequest
from flambeau.stages import Resize

NOISE = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def chw(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.copy()).permute(2, 0, 1)


@settings(deadline=None)
@given(
    batches(),
    st.sampled_from([(8, 8), 6, (40, 3)]),
    st.sampled_from(["nearest", "bilinear", "bicubic"]),
    st.booleans(),
)
def test_a_batch_gives_what_its_rows_give_one_by_one(rows, size, interpolation, antialias):
    assert_same_as_row_by_row(Resize(size, interpolation, antialias=antialias), rows)


@pytest.mark.parametrize("size", [(16, 24), (30, 90), (100, 120)], ids=["smaller", "mixed", "larger"])
@pytest.mark.parametrize(
    ("interpolation", "image"),
    [("bilinear", NOISE), ("bilinear", gradient()), ("bicubic", gradient())],
    ids=["bilinear noise", "bilinear", "bicubic"],
)
def test_arrays_and_tensors_become_what_pillow_makes_of_them(size, interpolation, image):
    resampling = Image.Resampling[interpolation.upper()]
    expected = np.asarray(Image.fromarray(image).resize(size[::-1], resampling)).astype(int)
    array, tensor = Resize(size, interpolation)([image, chw(image)])
    assert np.abs(array - expected).max() <= 1
    assert np.abs(tensor.permute(1, 2, 0).numpy() - expected).max() <= 1


def test_pil_images_are_resized_by_pillow():
    (image,) = Resize((16, 24))([Image.fromarray(NOISE)])
    assert np.array_equal(np.asarray(image), Image.fromarray(NOISE).resize((24, 16), Image.Resampling.BILINEAR))


def test_nearest_takes_the_same_pixels_as_pillow():
    (array,) = Resize((16, 24), "nearest")([NOISE])
    assert np.array_equal(array, Image.fromarray(NOISE).resize((24, 16), Image.Resampling.NEAREST))


def test_without_antialiasing_only_the_nearest_pixels_count():
    stripes = np.zeros((4, 8, 1), np.float32)
    stripes[:, ::4] = 1
    averaged, sampled = Resize((4, 2))([stripes])[0], Resize((4, 2), antialias=False)([stripes])[0]
    assert averaged.min() > 0.1
    assert sampled.max() == 0  # the pixels around 1.5 and 5.5 are black


@pytest.mark.parametrize(
    ("size", "expected"), [(20, (20, 30)), ((20, 20), (20, 20)), (43, (43, 65)), ([7, 9], (7, 9))], ids=str
)
def test_one_number_is_the_shorter_side_and_two_are_height_and_width(size, expected):
    array, tensor, image = Resize(size)([gradient(), chw(gradient()), Image.fromarray(gradient())])
    assert array.shape == (*expected, 3)
    assert tensor.shape == (3, *expected)
    assert image.size == expected[::-1]


def test_the_shorter_side_of_an_upright_image_is_its_width():
    assert Resize(20)([np.ascontiguousarray(gradient().swapaxes(0, 1))])[0].shape == (30, 20, 3)


def test_leading_dimensions_of_a_tensor_are_kept():
    assert Resize((4, 6))([torch.zeros(2, 1, 3, 9, 9)])[0].shape == (2, 1, 3, 4, 6)


def test_an_image_that_has_the_size_is_not_copied():
    image = gradient()
    assert Resize((HEIGHT, WIDTH))([image])[0] is image


def test_results_are_contiguous():
    assert all(array.flags.c_contiguous for array in Resize((8, 9))([gradient(), gradient()]))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (gradient().astype(np.int64), "not of int64"),
        (np.zeros((0, 5, 3), np.uint8), "no pixels"),
        (np.zeros((2, 3, 4, 5), np.uint8), r"shape \(2, 3, 4, 5\)"),
        (torch.zeros(5), r"shape \(5,\)"),
        (b"bytes", "not bytes"),
    ],
)
def test_what_is_no_image_is_refused(row, problem):
    failure, fine = Resize(8)([row, gradient()])
    assert isinstance(failure, BadRequest)
    with pytest.raises(BadRequest, match=problem):
        raise failure
    assert fine.shape == (8, 12, 3)


@pytest.mark.parametrize(
    "options", [{"size": 0}, {"size": (3, 4, 5)}, {"size": (3.5, 4)}, {"size": 8, "interpolation": "lanczos"}]
)
def test_an_option_without_meaning_is_refused(options):
    with pytest.raises(ValueError, match=r"size|lanczos"):
        Resize(**options)
