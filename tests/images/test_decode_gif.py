"""The first frame of GIFs against Pillow, and of files built by hand from the specification."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnnviz.errors import ImageError
from cnnviz.images.decode import decode_image


def by_pillow(data):
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image))[..., :3]


def gif(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "GIF", **options)
    return buffer.getvalue()


def indexed(pixels, colors=256):
    image = Image.fromarray(pixels.astype(np.uint8)).convert("P")
    rng = np.random.default_rng(9)
    image.putpalette(rng.integers(0, 256, 3 * colors, dtype=np.uint8).tobytes())
    return image


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize("colors", [2, 3, 4, 16, 17, 256])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 3), (7, 5), (64, 81), (300, 211)])
def test_noise_of_any_size_and_depth(shape, colors, interlace):
    """Noise fills the code table quickly: the largest file resets it many times over."""
    pixels = np.random.default_rng(0).integers(0, colors, shape)
    data = gif(indexed(pixels, colors), interlace=interlace)

    assert (decode_image(data).pixels == by_pillow(data)).all()


def test_long_runs_use_the_code_that_is_only_being_made():
    data = gif(indexed(np.zeros((200, 300))))

    assert (decode_image(data).pixels == by_pillow(data)).all()


def test_transparent_pixels_are_white():
    pixels = np.arange(12).reshape(3, 4) % 5
    data = gif(indexed(pixels, 8), transparency=3)

    assert (decode_image(data).pixels == by_pillow(data)).all()
    assert (decode_image(data).pixels[pixels == 3] == 255).all()


def test_the_first_of_several_frames():
    frames = [indexed(np.full((4, 5), value), 4) for value in (1, 2, 3)]
    data = gif(frames[0], save_all=True, append_images=frames[1:])

    assert (decode_image(data).pixels == by_pillow(data)).all()


@given(st.binary(min_size=1, max_size=400), st.integers(1, 20))
@settings(max_examples=100)
def test_any_pixels(values, width):
    pixels = np.frombuffer(values, np.uint8)
    width = min(width, len(pixels))
    pixels = pixels[: len(pixels) // width * width].reshape(-1, width)
    data = gif(indexed(pixels))

    assert (decode_image(data).pixels == by_pillow(data)).all()


# By hand. The image of 2 x 1 pixels with indices 0 and 1 has the codes clear (4), 0, 1, end (5),
# of three bits each, least significant first: 101 001 000 100 = 0xA44, low byte first.
PALETTE = bytes((255, 0, 0, 0, 255, 0))
CODES = b"\x02\x02\x44\x0a\x00"


def by_hand(canvas, place, *, flags=0x80, before=b"", local=b"", codes=CODES):
    head = b"GIF89a" + struct.pack("<HHBBB", *canvas, flags, 0, 0)
    frame = struct.pack("<BHHHHB", 0x2C, *place, 0x80 if local else 0)
    return head + (PALETTE if flags else b"") + before + frame + local + codes + b"\x3b"


def test_two_pixels_by_hand():
    result = decode_image(by_hand((2, 1), (0, 0, 2, 1))).pixels

    assert result.tolist() == [[[255, 0, 0], [0, 255, 0]]]


def test_a_frame_at_its_place_on_the_canvas():
    result = decode_image(by_hand((4, 3), (1, 2, 2, 1))).pixels

    assert result.shape == (3, 4, 3)
    assert result[2, 1:3].tolist() == [[255, 0, 0], [0, 255, 0]]
    # The file's background is its color 0, and shows where no frame reaches.
    assert (result == [255, 0, 0]).all(axis=2).sum() == 3 * 4 - 1


def test_the_frames_own_colors_come_first():
    result = decode_image(by_hand((2, 1), (0, 0, 2, 1), local=bytes((1, 2, 3, 4, 5, 6)))).pixels

    assert result.tolist() == [[[1, 2, 3], [4, 5, 6]]]


def test_comments_before_the_frame_are_passed_over():
    comment = b"\x21\xfe\x05hello\x02, \x00"
    result = decode_image(by_hand((2, 1), (0, 0, 2, 1), before=comment)).pixels

    assert result.tolist() == [[[255, 0, 0], [0, 255, 0]]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        # A canvas of 3,000 million pixels, and codes of 13 bits.
        (by_hand((60000, 50000), (0, 0, 2, 1)), "60000 pixels wide and 50000 high, 3,000 million"),
        (by_hand((2, 1), (0, 0, 2, 1), codes=b"\x0c\x01\x00\x00"), "cannot be decoded"),
        (by_hand((2, 1), (0, 0, 2, 1), before=b"\x3b"), "holds no image"),
        (by_hand((2, 1), (0, 0, 2, 1), before=b"\x99"), "holds no image"),
    ],
)
def test_what_is_no_image_is_refused_quietly(data, message, capfd):
    with pytest.raises(ImageError, match=message):
        decode_image(data)
    assert capfd.readouterr() == ("", "")


def test_every_truncation_is_an_error():
    data = gif(indexed(np.random.default_rng(1).integers(0, 256, (40, 60))))
    for length in range(6, len(data) - 1):  # the last byte closes the file, after the frame
        with pytest.raises(ImageError, match="ends in the middle"):
            decode_image(data[:length])


@given(st.binary(max_size=200), st.integers(6, 40))
@settings(max_examples=100)
def test_no_bytes_raise_anything_else(tail, keep):
    try:
        result = decode_image(by_hand((2, 1), (0, 0, 2, 1))[:keep] + tail).pixels
    except ImageError:
        return
    assert result.dtype == np.uint8
    assert result.shape[2] == 3
