"""The GIF decoder against Pillow's, and against files built by hand from the specification."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnnviz.gif import GifError, first_frame


def by_pillow(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


def gif(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "GIF", **options)
    return buffer.getvalue()


def indexed(pixels, colours=256):
    image = Image.fromarray(pixels.astype(np.uint8), "L").convert("P")
    rng = np.random.default_rng(9)
    image.putpalette(rng.integers(0, 256, 3 * colours, dtype=np.uint8).tobytes())
    return image


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize("colours", [2, 3, 4, 16, 17, 256])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 3), (7, 5), (64, 81), (300, 211)])
def test_noise_of_any_size_and_depth(shape, colours, interlace):
    """Noise fills the code table quickly: the largest file resets it many times over."""
    pixels = np.random.default_rng(0).integers(0, colours, shape)
    data = gif(indexed(pixels, colours), interlace=interlace)

    assert (first_frame(data) == by_pillow(data)).all()


def test_long_runs_use_the_code_that_is_only_being_made():
    data = gif(indexed(np.zeros((200, 300))))

    assert (first_frame(data) == by_pillow(data)).all()


def test_transparent_pixels_have_no_alpha():
    pixels = np.arange(12).reshape(3, 4) % 5
    result = first_frame(gif(indexed(pixels, 8), transparency=3))

    assert ((result[:, :, 3] == 0) == (pixels == 3)).all()


@given(st.binary(min_size=1, max_size=400), st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_any_pixels(values, width):
    pixels = np.frombuffer(values, np.uint8)
    width = min(width, len(pixels))
    pixels = pixels[: len(pixels) // width * width].reshape(-1, width)
    data = gif(indexed(pixels))

    assert (first_frame(data) == by_pillow(data)).all()


# By hand. The picture of 2 x 1 pixels with indices 0 and 1 has the codes clear (4), 0, 1, end (5),
# of three bits each, least significant first: 101 001 000 100 = 0xA44, low byte first.
PALETTE = bytes((255, 0, 0, 0, 255, 0))
CODES = b"\x02\x02\x44\x0a\x00"


def by_hand(canvas, place, *, flags=0x80, before=b"", local=b"", codes=CODES):
    head = b"GIF89a" + struct.pack("<HHBBB", *canvas, flags, 0, 0)
    frame = struct.pack("<BHHHHB", 0x2C, *place, 0x80 if local else 0)
    return head + (PALETTE if flags else b"") + before + frame + local + codes + b"\x3b"


def test_two_pixels_by_hand():
    result = first_frame(by_hand((2, 1), (0, 0, 2, 1)))

    assert result.tolist() == [[[255, 0, 0, 255], [0, 255, 0, 255]]]


def test_a_frame_at_its_place_on_the_canvas():
    result = first_frame(by_hand((4, 3), (1, 2, 2, 1)))

    assert result.shape == (3, 4, 4)
    assert result[2, 1:3].tolist() == [[255, 0, 0, 255], [0, 255, 0, 255]]
    assert result[:, :, 3].sum() == 2 * 255


def test_a_canvas_of_nothing_grows_to_its_frame():
    assert first_frame(by_hand((0, 0), (0, 0, 2, 1))).shape == (1, 2, 4)


def test_the_frames_own_colours_come_first():
    result = first_frame(by_hand((2, 1), (0, 0, 2, 1), local=bytes((1, 2, 3, 4, 5, 6))))

    assert result[0, :, :3].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_comments_before_the_frame_are_passed_over():
    comment = b"\x21\xfe\x05hello\x02, \x00"

    assert first_frame(by_hand((2, 1), (0, 0, 2, 1), before=comment)).shape == (1, 2, 4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GIF90a" + bytes(20), "begin like a GIF"),
        (by_hand((2, 1), (0, 0, 2, 1), flags=0), "no colour table"),
        (by_hand((2, 1), (0, 0, 0, 1)), "first frame is empty"),
        (by_hand((60000, 50000), (0, 0, 2, 1)), "60000 x 50000 pixels are too many"),
        (by_hand((2, 1), (0, 0, 2, 2)), "in the middle of the first frame"),
        (by_hand((2, 1), (0, 0, 2, 1), before=b"\x99"), "no block of kind 0x99"),
        (by_hand((2, 1), (0, 0, 2, 1), before=b"\x3b"), "no picture"),
        (by_hand((2, 1), (0, 0, 2, 1), codes=b"\x0c\x01\x00\x00"), "code size is 12"),
        # clear (4), then 7, which nothing has defined: 111 100 = 0x3C
        (by_hand((2, 1), (0, 0, 2, 1), codes=b"\x02\x01\x3c\x00"), "LZW data is damaged"),
    ],
)
def test_says_what_is_wrong(data, message):
    with pytest.raises(GifError, match=message):
        first_frame(data)


def test_every_truncation_is_an_error():
    data = gif(indexed(np.random.default_rng(1).integers(0, 256, (9, 13))))
    for length in range(len(data) - 3):  # then: block end and trailer, which nothing needs
        with pytest.raises(GifError):
            first_frame(data[:length])


@given(st.binary(max_size=200), st.integers(6, 40))
@settings(max_examples=300, deadline=None)
def test_no_bytes_raise_anything_else(tail, keep):
    try:
        result = first_frame(by_hand((2, 1), (0, 0, 2, 1))[:keep] + tail)
    except GifError:
        return
    assert result.dtype == np.uint8
    assert result.shape[2] == 4
