"""Which class is where, in one color each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnviz.errors import MapError
from cnnviz.rendering.maps import Upsample, bands, check_visible, paint_unseen
from cnnviz.types import Color, Mask, RgbImage

OTHER: Color = (190, 190, 190)
"""All classes of a :func:`class_map` that have no color of their own."""

# Chosen one by one, each as far as can be from those before it, from white, from OTHER and from
# UNSEEN: in CIELAB, for usual sight and, at half the distance, for protanopes and deuteranopes
# (the matrices of Machado et al. 2009); neither very dark, very light, pale nor glaring.
CLASS_COLORS: tuple[Color, ...] = (
    (0, 120, 180),
    (225, 60, 0),
    (255, 225, 15),
    (105, 255, 150),
    (60, 45, 180),
    (255, 165, 255),
    (15, 135, 90),
    (120, 45, 15),
    (255, 165, 90),
    (150, 0, 120),
    (255, 105, 135),
    (90, 135, 255),
    (0, 150, 30),
    (180, 105, 150),
    (180, 240, 195),
    (0, 180, 210),
    (165, 195, 0),
    (180, 150, 90),
    (255, 210, 255),
    (15, 60, 150),
)
"""Colors of classes, the most frequent first; easy to tell apart, for the color-blind too."""


def class_palette(
    classes: npt.NDArray[np.integer[Any]], most: int = len(CLASS_COLORS)
) -> dict[int, Color]:
    """Give the most frequent classes a color each: the most frequent the first.

    Args:
        classes: int, of whatever shape; for colors that are common to several maps, all of them.
        most: how many classes at most get a color of their own.

    Returns:
        The color by class, in the order of frequency; of equals the lower class comes first.
    """
    found, counts = np.unique(classes, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    return {int(index): rgb for index, rgb in zip(found[order], CLASS_COLORS, strict=False)}


def class_map(
    classes: npt.NDArray[np.integer[Any]],
    palette: Mapping[int, Color],
    upsample: Upsample | None = None,
    visible: Mask | None = None,
) -> RgbImage:
    """Show which class is where, in one color each.

    Nothing is mixed where the map is enlarged: a pixel has the color of the nearest value.

    Args:
        classes: int (h, w).
        palette: the colors by class (:func:`class_palette`); all other classes are :data:`OTHER`.
        upsample: brings a map onto the image; without it the map keeps its size.
        visible: bool (H, W), true where the network saw the image; the rest is
            :data:`cnnviz.rendering.colormaps.UNSEEN`.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        MapError: the map is not (h, w) whole numbers.
    """
    if classes.ndim != 2 or classes.size == 0 or not np.issubdtype(classes.dtype, np.integer):
        raise MapError(
            "A map of classes holds whole numbers in the shape (h, w); got "
            f"{classes.dtype} with shape {classes.shape}."
        )
    colors = np.full((*classes.shape, 3), OTHER, np.uint8)
    for index, rgb in palette.items():
        colors[classes == index] = rgb
    if upsample is not None:
        colors = _nearest(colors, upsample)
    check_visible(colors.shape[:2], visible)
    paint_unseen(colors, visible)
    return colors


def _nearest(colors: RgbImage, upsample: Upsample) -> RgbImage:
    """Bring colors (h, w, 3) onto the image unmixed.

    Places of a map lie in a straight line: what ``upsample`` makes of the numbers of rows and
    columns says where each pixel falls between them.
    """
    placed = upsample(np.moveaxis(np.indices(colors.shape[:2], np.float32), 0, 2))
    result = np.empty((*placed.shape[:2], 3), np.uint8)
    for band in bands(result.shape):
        indices = np.floor(placed[band] + np.float32(0.5)).astype(np.intp)
        result[band] = colors[indices[:, :, 0], indices[:, :, 1]]
    return result
