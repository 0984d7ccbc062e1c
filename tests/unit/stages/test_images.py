import numpy as np
import pytest
import torch
from pictures import gradient
from PIL import Image

from flambeau.stages.images import as_pair, kind_of, stack_arrays


@pytest.mark.parametrize(
    ("image", "size", "channels"),
    [
        (gradient(4, 5), (4, 5), 3),
        (gradient(4, 5)[..., 0], (4, 5), 1),
        (torch.zeros(3, 4, 5), (4, 5), 3),
        (torch.zeros(2, 3, 4, 5), (4, 5), 3),
        (torch.zeros(4, 5), (4, 5), 1),
    ],
)
def test_an_array_has_its_channels_last_and_a_tensor_has_them_before_its_size(image, size, channels):
    assert kind_of(image).size == size
    assert kind_of(image).channels == channels


def test_images_that_cannot_be_stacked_are_of_different_kinds():
    images = [gradient(), gradient(9), gradient().astype(np.float32), torch.zeros(3, 4, 5), Image.fromarray(gradient())]
    images += [Image.fromarray(gradient()).convert("L"), torch.zeros(3, 4, 5, device="meta")]
    assert len({kind_of(image) for image in images}) == len(images)
    assert kind_of(gradient()) == kind_of(gradient())


def test_one_array_lies_in_a_stack_as_several_do_and_is_not_copied():
    image = gradient()
    alone = stack_arrays([image])
    assert alone.strides == stack_arrays([image, image]).strides
    assert np.shares_memory(alone, image)


@pytest.mark.parametrize(
    "make", [lambda image: image[::-1], lambda image: image[:1, :1, :1][::-1], lambda image: image[:, 1:]]
)
def test_an_array_that_torch_could_not_share_is_copied(make):
    image = make(gradient())
    assert torch.equal(torch.from_numpy(stack_arrays([image]))[0], torch.from_numpy(image.copy()))


def test_an_array_that_is_read_only_is_copied_so_that_torch_may_share_it():
    image = gradient()
    image.flags.writeable = False
    assert stack_arrays([image]).flags.writeable


def test_a_size_is_one_number_or_two():
    assert as_pair(3, "size") == (3, 3)
    assert as_pair([3, 4], "size") == (3, 4)
    for wrong in (0, -1, (1, 2, 3), (0, 1), (1.5, 2), "ab"):
        with pytest.raises(ValueError, match="size is"):
            as_pair(wrong, "size")
