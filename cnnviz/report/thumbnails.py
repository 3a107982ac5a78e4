"""Small JPEGs of the pictures that a run wrote, for a page that shows thousands of them."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from cnnviz.preprocessing import resize_picture

FOLDER = "thumbnails"
"""The folder that they lie in, beside the report."""

LONG_SIDE = 256
"""Pixels. Twice what a card of the page is wide, for screens with two pixels a point."""

QUALITY = 85
"""Of the JPEGs: at this size the eye finds no difference to the PNG."""


def thumbnail_path(file: PurePosixPath) -> PurePosixPath:
    """Where the thumbnail of a picture lies: ``thumbnails/a/cat.jpg`` for ``a/cat.png``.

    No two pictures share one, and no name gets longer.

    Args:
        file: a PNG that a run wrote, relative to its output folder.

    Raises:
        ValueError: another kind of file; they have no thumbnails.
    """
    if file.suffix != ".png":
        raise ValueError(f"Only PNGs have thumbnails; got {file}.")
    return FOLDER / file.with_suffix(".jpg")


def thumbnail(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A picture's thumbnail: the long side at most :data:`LONG_SIDE`, area-averaged.

    Args:
        picture: uint8 (H, W, 3) or (H, W). What is small already is returned as it is.
    """
    height, width = picture.shape[:2]
    scale = LONG_SIDE / max(height, width)
    if scale >= 1:
        return picture
    return resize_picture(picture, (max(1, round(height * scale)), max(1, round(width * scale))))
