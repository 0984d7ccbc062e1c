import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import HEIGHT, WIDTH, jpeg, png, with_orientation

from flambeau.errors import BadRequest
from flambeau.stages.image_header import ImageFormat, ImageHeader, read_header

JPEG_FILE = jpeg(exif=with_orientation(6))
PNG_FILE = png(exif=with_orientation(3))


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (jpeg(), ImageHeader(ImageFormat.JPEG, WIDTH, HEIGHT)),
        (jpeg(progressive=True), ImageHeader(ImageFormat.JPEG, WIDTH, HEIGHT)),
        (jpeg(comment=b"\xff\xd8\xff\xd9"), ImageHeader(ImageFormat.JPEG, WIDTH, HEIGHT)),
        (JPEG_FILE, ImageHeader(ImageFormat.JPEG, WIDTH, HEIGHT, orientation=6)),
        (png(), ImageHeader(ImageFormat.PNG, WIDTH, HEIGHT)),
        (PNG_FILE, ImageHeader(ImageFormat.PNG, WIDTH, HEIGHT, orientation=3)),
    ],
    ids=["jpeg", "progressive", "markers in a comment", "turned jpeg", "png", "turned png"],
)
def test_size_and_orientation_are_read_without_decoding(file, expected):
    assert read_header(file) == read_header(bytearray(file)) == expected


def test_fill_bytes_in_front_of_a_marker_are_skipped():
    file = jpeg()
    assert read_header(file[:2] + b"\xff\xff" + file[2:]) == read_header(file)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_upright(orientation):
    assert read_header(jpeg(exif=with_orientation(orientation))).orientation == 1


@pytest.mark.parametrize("block", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\x09", b"nonsense"])
def test_a_block_of_exif_that_is_damaged_leaves_the_picture_upright(block):
    assert read_header(jpeg(exif=b"Exif\0\0" + block)).orientation == 1


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        (b"", "is empty"),
        (b"GIF89a" + bytes(40), "not a JPEG or PNG"),
        (b"<html>", "not a JPEG or PNG"),
        (b"\xff\xd8", "JPEG image is truncated"),
        (JPEG_FILE[:-2], "JPEG image is truncated"),
        (JPEG_FILE[: len(JPEG_FILE) // 2], "JPEG image is truncated"),
        (b"\xff\xd8\xff\xda\0\x02\xff\xd9", "pixels come before its size"),
        (b"\xff\xd8hello", "does not start with a marker"),
        (PNG_FILE[:20], "PNG image is damaged"),
        (PNG_FILE[:-12], "PNG image is truncated"),
        (PNG_FILE[: len(PNG_FILE) // 2], "PNG image is truncated"),
        (PNG_FILE[:16] + bytes(8) + PNG_FILE[24:], "no pixels"),
    ],
)
def test_what_is_no_whole_image_is_refused_with_what_is_wrong(file, problem):
    with pytest.raises(BadRequest, match=problem):
        read_header(file)


@given(st.sampled_from([JPEG_FILE, PNG_FILE]), st.integers(0), st.binary(max_size=8), st.integers(0))
def test_any_damage_gives_a_header_or_a_bad_request(file, place, damage, end):
    place %= len(file)
    damaged = file[:place] + damage + file[place + len(damage) :]
    try:
        header = read_header(damaged[: len(damaged) - end % 16])
    except BadRequest:
        return
    assert header.width > 0
    assert header.height > 0
    assert 1 <= header.orientation <= 8
