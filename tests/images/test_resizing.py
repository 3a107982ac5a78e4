"""Each interpolation against its filter, in plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cnnviz.images.input_spec import AREA, INTERPOLATIONS
from cnnviz.images.resizing import resize_image

RNG = np.random.default_rng(4)


def sinc(x):
    return np.sinc(x)


def cubic(x):
    """Keys 1981, with a = -1/2."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


#: Each filter by its support: how many pixels it reaches to either side where an image grows.
FILTERS = {
    "box": (0.5, lambda x: ((x > -0.5) & (x <= 0.5)).astype(float)),
    "bilinear": (1.0, lambda x: np.maximum(0, 1 - np.abs(x))),
    "hamming": (
        1.0,
        lambda x: np.where(np.abs(x) < 1, sinc(x) * (0.54 + 0.46 * np.cos(np.pi * x)), 0),
    ),
    "bicubic": (2.0, cubic),
    "lanczos": (3.0, lambda x: np.where(np.abs(x) < 3, sinc(x) * sinc(x / 3), 0)),
}


def weights(name, before, after):
    """(after, before): what each new pixel takes; widened where the image shrinks."""
    support, of = FILTERS[name]
    scale = before / after
    wide = max(1.0, scale)
    centers = (np.arange(after) + 0.5) * scale
    rows = np.zeros((after, before))
    for row, center in zip(rows, centers, strict=True):
        first = max(0, int(center - support * wide + 0.5))
        last = min(before, int(center + support * wide + 0.5))
        row[first:last] = of((np.arange(first, last) - center + 0.5) / wide)
    return rows / rows.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("shape", [(11, 13), (70, 64), (20, 90), (37, 41)])
def test_each_filter_is_that_of_the_formula(name, shape):
    image = RNG.uniform(-1, 2, (37, 41, 2)).astype(np.float32)
    down, across = (weights(name, *axis) for axis in zip(image.shape, shape, strict=False))
    expected = np.stack([down @ image[:, :, one] @ across.T for one in range(2)], axis=2)
    found = resize_image(image, shape, name)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)  # sums of up to 42 numbers in float32


@pytest.mark.parametrize("name", FILTERS)
def test_bytes_are_those_of_floats_rounded(name):
    """Once after the width, and once after the height: by half a level each, times the weights."""
    image = RNG.integers(90, 166, (60, 50, 3), np.uint8)  # overshoot is not clipped in between
    found = resize_image(image, (31, 40), name)
    exact = resize_image(image.astype(np.float32), (31, 40), name)
    assert found.dtype == np.uint8
    assert np.abs(found - exact).max() < 1.3


@pytest.mark.parametrize("name", sorted({*INTERPOLATIONS} - {AREA}))
@pytest.mark.parametrize("shape", [(31, 40), (90, 20), (60, 50)])
def test_bytes_are_those_of_pillow(name, shape):
    image = RNG.integers(0, 256, (60, 50, 3), np.uint8)
    how = Image.Resampling[name.upper()]
    theirs = np.asarray(Image.fromarray(image).resize(shape[::-1], how))
    np.testing.assert_array_equal(resize_image(image, shape, name), theirs)
    np.testing.assert_array_equal(
        resize_image(image[:, :, 0], shape, name), theirs[:, :, 0], strict=True
    )


@pytest.mark.parametrize("name", INTERPOLATIONS)
def test_fine_stripes_become_gray_where_an_image_shrinks(name):
    stripes = np.zeros((64, 60, 3), np.uint8)
    stripes[:, ::2] = 200
    inner = resize_image(stripes, (16, 15), name)[:, 3:-3].astype(int)
    assert (abs(inner - 100) <= 6).all() == (name != "nearest")


@pytest.mark.parametrize("name", INTERPOLATIONS)
@pytest.mark.parametrize("shape", [(23, 17), (90, 99), (20, 99)])
def test_everything_stays_in_its_place(name, shape):
    """Values that are their own coordinates: a pixel has that of its center, to half a pixel."""
    height, width = 40, 50
    rows, columns = np.mgrid[:height, :width].astype(np.float32) + 0.5
    found = resize_image(np.stack([rows, columns], axis=2), shape, name)
    down, across = height / shape[0], width / shape[1]
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    inner = (slice(9, -9), slice(6, -6))
    coarse = {"nearest": 0.5, "box": 0.5, "hamming": 0.2}  # which do not keep ramps where they grow
    apart = coarse.get(name, 0.04 * max(1, down, across))
    assert np.abs(found[:, :, 0] - rows * down)[inner].max() <= apart + 1e-4
    assert np.abs(found[:, :, 1] - columns * across)[inner].max() <= apart + 1e-4
