import numpy as np
import pytest
import torch
from batches import assert_same_as_row_by_row, batches
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import gradient
from PIL import Image
from torchvision.transforms.functional import normalize

from flambeau.errors import BadRequest
from flambeau.stages import Normalize
from flambeau.stages.normalize import IMAGENET_MEAN, IMAGENET_STD

EXPECTED = normalize(torch.from_numpy(gradient()).permute(2, 0, 1) / 255, IMAGENET_MEAN, IMAGENET_STD).numpy()
"""By torchvision, channels first."""


@settings(deadline=None)
@given(
    batches(),
    st.sampled_from([(IMAGENET_MEAN, IMAGENET_STD), (0.5, 0.25), ([0.1, 0.2, 0.3], 2)]),
)
def test_a_batch_gives_what_its_rows_give_one_by_one(rows, statistics):
    assert_same_as_row_by_row(Normalize(*statistics), rows)


def test_the_default_is_what_torchvision_does_with_imagenets_statistics():
    image = gradient()
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    results = Normalize()([image, Image.fromarray(image), tensor, image.astype(np.float32) / 255, tensor / 255])
    for place, result in enumerate(results):
        channels_first = result.numpy() if isinstance(result, torch.Tensor) else result.transpose(2, 0, 1)
        assert channels_first.dtype == np.float32
        np.testing.assert_allclose(channels_first, EXPECTED, atol=1e-5, err_msg=str(place))


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_floating_point_keeps_its_type(dtype):
    array, tensor = Normalize(0.5, 0.5)([np.ones((2, 2, 3), dtype), torch.from_numpy(np.ones((3, 2, 2), dtype))])
    assert array.dtype == dtype
    assert tensor.numpy().dtype == dtype
    assert array.min() == tensor.min() == 1


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1)])
def test_grey_images_take_one_mean(shape):
    (result,) = Normalize(0.5, 0.5)([np.full(shape, 255, np.uint8)])
    assert result.shape == shape
    assert result == pytest.approx(np.ones(shape))


def test_images_with_other_channels_than_the_mean_are_refused():
    fine, failure, grey = Normalize()([gradient(), np.zeros((4, 4, 4), np.uint8), torch.zeros(1, 4, 4)])
    assert fine.shape == gradient().shape
    assert isinstance(failure, BadRequest)
    assert str(failure) == "the image has 4 channels; mean and std are for 3"
    assert isinstance(grey, BadRequest)


def test_whole_numbers_other_than_uint8_are_refused_because_their_range_is_unknown():
    (failure,) = Normalize()([gradient().astype(np.int32)])
    assert isinstance(failure, BadRequest)


@pytest.mark.parametrize(("mean", "std"), [(0.5, 0), ((0.1, 0.2), (1, 2, 3)), ((0, 0, 0), (1, 0, 1))])
def test_statistics_that_cannot_be_are_refused(mean, std):
    with pytest.raises(ValueError, match="std"):
        Normalize(mean, std)
