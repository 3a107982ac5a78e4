"""What counts as an image among arrays, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.errors import ImageError
from cnnviz.images.pixels import check_pixels, orient, to_rgb8


@pytest.mark.parametrize(
    ("shape", "dtype", "color", "gray"),
    [
        ((4, 5, 3), np.uint8, True, True),
        ((1, 1, 3), np.uint8, True, True),
        ((4, 5), np.uint8, False, True),
        ((4, 5, 1), np.uint8, False, False),
        ((4, 5, 4), np.uint8, False, False),
        ((3, 4, 5), np.uint8, False, False),  # channels first
        ((0, 5, 3), np.uint8, False, False),
        ((4, 0), np.uint8, False, False),
        ((3,), np.uint8, False, False),
        ((2, 4, 5, 3), np.uint8, False, False),
        ((4, 5, 3), np.float32, False, False),
        ((4, 5), np.int8, False, False),
    ],
)
def test_which_arrays_are_images(shape, dtype, color, gray):
    array = np.zeros(shape, dtype)
    for allowed, options in ((color, {}), (gray, {"gray": True})):
        if allowed:
            check_pixels(array, **options)
        else:
            with pytest.raises(
                ImageError, match=r"^an image is a uint8 array .*; got [a-z]+\d+ of"
            ):
                check_pixels(array, **options)


def test_half_transparent_pixels_by_hand():
    """Black at alpha 51 of 255 is a fifth of black over white: 204."""
    pixels = np.array([[[0, 51], [100, 255]]], np.uint8)
    assert to_rgb8(pixels, premultiplied=False).tolist() == [[[204] * 3, [100] * 3]]
    # Of colors that are already multiplied by their alpha only the white is added.
    assert to_rgb8(np.array([[[10, 51]]], np.uint8), premultiplied=True).tolist() == [[[214] * 3]]


def test_every_orientation_by_hand():
    """EXIF 2.3: which corner of the upright image the stored one begins in, and its direction."""
    stored = np.array([[1, 2, 3], [4, 5, 6]])
    expected = {
        1: [[1, 2, 3], [4, 5, 6]],
        2: [[3, 2, 1], [6, 5, 4]],
        3: [[6, 5, 4], [3, 2, 1]],
        4: [[4, 5, 6], [1, 2, 3]],
        5: [[1, 4], [2, 5], [3, 6]],
        6: [[4, 1], [5, 2], [6, 3]],
        7: [[6, 3], [5, 2], [4, 1]],
        8: [[3, 6], [2, 5], [1, 4]],
    }
    for orientation, upright in expected.items():
        rgb = np.repeat(stored[:, :, None], 3, axis=2).astype(np.uint8)
        assert orient(rgb, orientation)[:, :, 0].tolist() == upright
