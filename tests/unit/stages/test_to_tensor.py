import numpy as np
import pytest
import torch
from batches import assert_same_as_row_by_row, batches
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import gradient, jpeg
from PIL import Image
from torchvision import transforms
from torchvision.transforms.functional import to_tensor

from flambeau.stages import CenterCrop, DecodeImage, Normalize, Resize, ToTensor


@settings(deadline=None)
@given(batches(), st.booleans())
def test_a_batch_gives_what_its_rows_give_one_by_one(rows, scale):
    assert_same_as_row_by_row(ToTensor(scale=scale), rows)


@given(batches())
def test_results_are_contiguous_with_channels_first(rows):
    for row, result in zip(rows, ToTensor()(rows), strict=True):
        if isinstance(row, (np.ndarray, Image.Image)):
            assert result.ndim == 3
            assert result.is_contiguous()


@pytest.mark.parametrize(
    "image", [gradient(), gradient()[..., :1], gradient()[..., 0]], ids=["rgb", "one channel", "grey"]
)
def test_values_are_those_of_torchvision(image):
    assert torch.equal(ToTensor()([image])[0], to_tensor(image))


def test_floating_point_is_not_scaled_and_uint8_need_not_be():
    (tensor,) = ToTensor()([np.full((2, 2, 3), 7.0, np.float32)])
    assert tensor.max() == 7
    (unscaled,) = ToTensor(scale=False)([gradient()])
    assert unscaled.dtype is torch.uint8
    assert torch.equal(unscaled, torch.from_numpy(gradient()).permute(2, 0, 1))


def test_a_palette_becomes_rgb():
    paletted = Image.fromarray(gradient()).convert("P")
    assert torch.equal(ToTensor()([paletted])[0], to_tensor(paletted.convert("RGB")))


def test_a_row_that_is_read_only_is_neither_changed_nor_warned_of():
    image = np.frombuffer(bytes(27), np.uint8).reshape(3, 3, 3)
    assert ToTensor()([image])[0].shape == (3, 3, 3)


def test_tensors_go_to_the_device_as_they_are():
    tensor = torch.ones(3, 2, 2, dtype=torch.uint8)
    assert ToTensor("cpu")([tensor])[0] is tensor
    assert ToTensor("meta")([tensor, gradient()])[1].device.type == "meta"


def test_a_device_that_does_not_exist_is_refused_at_once():
    with pytest.raises(RuntimeError, match="toaster"):
        ToTensor("toaster")


def test_stages_link_into_what_torchvision_does_for_a_classifier(tmp_path):
    file = jpeg(gradient(300, 400))
    (tmp_path / "picture.jpg").write_bytes(file)
    reference = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )(Image.open(tmp_path / "picture.jpg").convert("RGB"))
    rows = [file, b"broken", file]
    for stage in (DecodeImage(), Resize(256), CenterCrop(224), ToTensor(), Normalize()):
        rows = stage(rows)
    assert isinstance(rows[1], Exception)
    for tensor in (rows[0], rows[2]):
        torch.testing.assert_close(tensor, reference, atol=0.03, rtol=0)  # 0.02: one level in 256
