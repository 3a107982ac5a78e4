"""Thumbnails: where they lie, and that they are averages."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

import numpy as np
import pytest

from cnnviz.outputs.thumbnails import thumbnail, thumbnail_path


def test_they_lie_in_a_folder_of_their_own():
    assert thumbnail_path(PurePosixPath("a/cat_gradcam.png")) == PurePosixPath(
        "thumbnails/a/cat_gradcam.jpg"
    )


def test_names_stay_apart_and_do_not_grow():
    long = "x" * 251 + ".png"
    names = ["a.png", "a.jpg.png", "a.PNG.png", "a..png", "a/b.png", ".a.png", "\udcff.png", long]
    paths = [thumbnail_path(PurePosixPath(name)) for name in names]
    assert len(set(paths)) == len(names)
    assert all(len(os.fsencode(path.name)) <= 255 for path in paths)


@pytest.mark.parametrize("name", ["cat.npz", "cat", ".png", "cat.PNG"])
def test_only_images_have_one(name):
    with pytest.raises(ValueError, match="Only images"):
        thumbnail_path(PurePosixPath(name))


def test_each_pixel_is_the_mean_of_what_it_covers():
    image = np.random.default_rng(0).integers(0, 256, (1024, 768, 3), dtype=np.uint8)
    small = thumbnail(image)
    assert small.shape == (256, 192, 3)
    means = image.reshape(256, 4, 192, 4, 3).mean(axis=(1, 3))
    assert np.abs(small - means).max() <= 1  # rounding, twice for a quarter


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((256, 256), (256, 256)),
        ((20, 256, 3), (20, 256, 3)),
        ((257, 100, 3), (256, 100, 3)),
        ((1, 20000, 3), (1, 256, 3)),
        ((20000, 1), (256, 1)),
    ],
)
def test_sizes(shape, expected):
    image = np.full(shape, 77, np.uint8)
    small = thumbnail(image)
    assert small.shape == expected
    assert (small == 77).all()
