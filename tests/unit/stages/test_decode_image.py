import io
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import GREY, GREY_ALPHA, HEIGHT, RGB, RGBA, WIDTH, gradient, jpeg, png, raw_png, with_orientation
from PIL import Image, ImageOps

from flambeau.errors import BadRequest
from flambeau.stages import DecodeImage
from flambeau.stages.decoders import DECODERS, load_decoders
from flambeau.stages.image_header import ImageFormat

INSTALLED = [name for name, decoder in DECODERS.items() if find_spec(decoder.package)]
DEEP = (gradient().astype(np.uint16) << 8) + 77
"""16 bits, of which the upper 8 are the gradient."""


@pytest.fixture(params=INSTALLED)
def backend(request) -> str:
    return request.param


def by_pillow(file: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(file)) as image:
        return np.asarray(image.convert("RGB"))


def largest_difference(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other).max())


@pytest.mark.parametrize(
    "file",
    [
        jpeg(),
        jpeg(subsampling=0),
        jpeg(progressive=True),
        jpeg(Image.fromarray(gradient()).convert("L")),
        jpeg(Image.fromarray(gradient()).convert("CMYK")),
        png(),
        png(Image.fromarray(gradient()).convert("1")),
        png(Image.fromarray(gradient()).convert("L")),
        png(Image.fromarray(gradient()).convert("LA")),
        png(Image.fromarray(gradient()).convert("P")),
        png(np.dstack([gradient(), gradient()[..., 0]])),
    ],
    ids=["jpeg", "4:4:4", "progressive", "grey", "cmyk", "png", "1 bit", "grey png", "grey alpha", "palette", "rgba"],
)
def test_pixels_are_those_that_pillow_sees(backend, file):
    (pixels,) = DecodeImage(backend=backend)([file])
    assert largest_difference(pixels, by_pillow(file)) <= 1


@pytest.mark.parametrize("transparency", [0, bytes(range(256))], ids=["one color", "every color"])
def test_a_palette_with_transparency_loses_only_that(backend, transparency):
    paletted = Image.fromarray(gradient()).convert("P")
    (pixels,) = DecodeImage(backend=backend)([png(paletted, transparency=transparency)])
    assert largest_difference(pixels, np.asarray(paletted.convert("RGB"))) == 0


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (raw_png(DEEP, RGB), gradient()),
        (raw_png(DEEP[..., 0], GREY), np.repeat(gradient()[..., :1], 3, axis=-1)),
        (raw_png(DEEP[..., :2], GREY_ALPHA), np.repeat(gradient()[..., :1], 3, axis=-1)),
        (raw_png(np.dstack([DEEP, DEEP[..., 0]]), RGBA), gradient()),
    ],
    ids=["rgb", "grey", "grey alpha", "rgba"],
)
def test_of_16_bits_the_upper_8_are_kept(backend, file, expected):
    (pixels,) = DecodeImage(backend=backend)([file])
    assert largest_difference(pixels, expected) == 0


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("file", [jpeg(), png()], ids=["jpeg", "png"])
def test_every_backend_gives_the_same_kind_of_array(backend, color, file):
    (pixels,) = DecodeImage(color, backend)([file])
    assert isinstance(pixels, np.ndarray)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (HEIGHT, WIDTH, 3))
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


def test_blue_comes_first_where_it_is_wanted(backend):
    (rgb,), (bgr,) = DecodeImage("rgb", backend)([jpeg()]), DecodeImage("bgr", backend)([jpeg()])
    assert np.array_equal(rgb[..., ::-1], bgr)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("encode", [jpeg, png])
def test_photographs_are_turned_as_viewers_turn_them(backend, encode, orientation):
    file = encode(exif=with_orientation(orientation))
    with Image.open(io.BytesIO(file)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    (pixels,) = DecodeImage(backend=backend)([file])
    assert pixels.flags.c_contiguous
    assert largest_difference(pixels, expected) <= 1
    (as_stored,) = DecodeImage(backend=backend, exif_orientation=False)([file])
    assert largest_difference(as_stored, by_pillow(file)) <= 1


@pytest.mark.parametrize("row", [bytearray(jpeg()), memoryview(jpeg()), np.frombuffer(jpeg(), np.uint8)])
def test_whatever_holds_bytes_is_taken(row):
    (pixels,) = DecodeImage()([row])
    assert np.array_equal(pixels, DecodeImage()([jpeg()])[0])


@pytest.mark.parametrize("row", [None, 5, "text", [1, 2], {"data": b""}], ids=str)
def test_what_holds_no_bytes_is_refused(row):
    (failure,) = DecodeImage()([row])
    assert isinstance(failure, BadRequest)
    assert type(row).__name__ in str(failure)


DAMAGED_PNGS = {
    "no such filter": raw_png(gradient(), RGB, filter_type=9),
    "pixels cut off": raw_png(gradient(), RGB, length=700),
    "wrong checksum": png()[:150] + bytes(30) + png()[180:],
}


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"hello",
        jpeg()[:-40],
        jpeg()[:-2],
        png()[:-40],
        jpeg()[:50] + bytes(300) + jpeg()[350:],
        *DAMAGED_PNGS.values(),
    ],
    ids=["empty", "text", "cut jpeg", "jpeg without its end", "cut png", "jpeg with a hole in its head", *DAMAGED_PNGS],
)
def test_a_damaged_file_is_the_failure_of_its_row_alone(backend, file):
    first, failure, last = DecodeImage(backend=backend)([jpeg(), file, png()])
    assert isinstance(failure, BadRequest)
    assert first.shape == last.shape == (HEIGHT, WIDTH, 3)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([jpeg(), jpeg(progressive=True), png(), raw_png(DEEP, RGB)]), st.data())
def test_any_damage_gives_pixels_or_a_bad_request_and_never_ends_the_process(file, data):
    damaged = bytearray(file)
    places = st.tuples(st.integers(2, len(file) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(places, min_size=1, max_size=20)):
        damaged[place] = value
    for name in INSTALLED:
        (result,) = DecodeImage(backend=name, max_pixels=1_000_000)([damaged])
        assert isinstance(result, BadRequest) or (result.dtype == np.uint8 and result.shape[2] == 3)


def test_an_image_that_would_be_huge_is_refused_by_its_header(backend):
    bomb = raw_png(np.zeros((1, 1), np.uint8), GREY, size=(60_000, 60_000))
    (failure,) = DecodeImage(backend=backend)([bomb])
    assert isinstance(failure, BadRequest)
    assert "60000x60000 is more than 89478485 pixels" in str(failure)


def test_the_limit_of_pixels_is_an_option():
    stage = DecodeImage(max_pixels=HEIGHT * WIDTH)
    fits, failure = stage([jpeg(), jpeg(gradient(HEIGHT + 1))])
    assert fits.shape == (HEIGHT, WIDTH, 3)
    assert isinstance(failure, BadRequest)


@pytest.fixture
def without(monkeypatch):
    """Makes modules look as if they were not installed."""
    return lambda *modules: [monkeypatch.setitem(sys.modules, module, None) for module in modules]


def test_the_first_backend_that_knows_the_format_is_taken(without):
    without("simplejpeg", "cv2")
    chosen = {image_format.value: decode.__qualname__ for image_format, decode in load_decoders(None).items()}
    assert chosen == {"JPEG": "_torchvision.<locals>.decode", "PNG": "_pillow.<locals>.decode"}


def test_the_backend_named_is_taken_for_what_it_knows():
    chosen = load_decoders("pillow")
    assert {decode.__qualname__ for decode in chosen.values()} == {"_pillow.<locals>.decode"}
    assert chosen.keys() == set(ImageFormat)


def test_no_png_is_ever_given_to_torchvision_whose_decoder_dies_of_damage():
    assert ImageFormat.PNG not in DECODERS["torchvision"].formats


def test_a_torchvision_that_decodes_no_more_is_passed_over(without, monkeypatch):
    without("simplejpeg", "cv2")
    monkeypatch.setattr(torch.ops, "image", object(), raising=False)
    assert load_decoders(None)[ImageFormat.JPEG].__qualname__ == "_pillow.<locals>.decode"


def test_a_format_that_nothing_installed_knows_is_refused_with_what_to_install(without):
    files = [jpeg(), png()]
    without("simplejpeg", "cv2", "PIL.Image")
    pixels, failure = DecodeImage()(files)
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert str(failure) == "PNG images need Pillow or OpenCV: pip install pillow"


def test_without_any_backend_the_error_says_what_to_install(without):
    without("simplejpeg", "cv2", "PIL.Image", "torchvision.io")
    with pytest.raises(ModuleNotFoundError, match="one of simplejpeg, torchvision, opencv-python-headless, pillow"):
        DecodeImage()


def test_a_backend_that_is_named_but_missing_says_what_to_install(without):
    without("simplejpeg")
    with pytest.raises(ModuleNotFoundError, match="pip install simplejpeg"):
        DecodeImage(backend="simplejpeg")


@pytest.mark.parametrize(("option", "value"), [("color", "cmyk"), ("backend", "imagemagick")])
def test_an_option_without_meaning_is_refused(option, value):
    with pytest.raises(ValueError, match=value):
        DecodeImage(**{option: value})
