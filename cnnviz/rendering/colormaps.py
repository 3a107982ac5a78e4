"""The colors that values are shown in, from tables of them."""

from __future__ import annotations

import functools
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cnnviz.rendering.style import check_colors
from cnnviz.types import Color, RgbImage

DIVERGING = "diverging"
"""Name of the colors of :func:`diverging_colors` for :func:`color_scale`."""

UNSEEN: Color = (64, 64, 64)
"""What the network did not see, where no image lies beneath the map."""

FloatMap = npt.NDArray[np.floating[Any]]

# From full strength against, through zero, to full strength in favor, in equal steps. In CIELAB
# two hues, 270 and 33 degrees; both sides have the lightness 83, 66, 49 and 32.
_DIVERGING = (
    (0, 79, 135),
    (0, 121, 198),
    (85, 165, 244),
    (178, 209, 255),
    (247, 247, 247),
    (255, 191, 180),
    (251, 121, 107),
    (221, 46, 48),
    (153, 10, 23),
)
_STEPS = 16  # colors between two entries of a color map's table: enough that no step is visible


def sequential_colors(values: FloatMap, colormap: str) -> RgbImage:
    """Colors for values from 0 to 1; what lies beyond has the color of the nearer end.

    Args:
        values: float (H, W).
        colormap: one of :data:`cnnviz.rendering.style.COLORMAPS`.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    table = _table(colormap)
    steps = np.float32(table.size - 1)
    return _entries(table, (np.clip(values, 0.0, 1.0) * steps + np.float32(0.5)).astype(np.uint16))


def diverging_colors(values: FloatMap) -> RgbImage:
    """Blue for values down to -1, white for 0, red up to 1, as :func:`sequential_colors`."""
    table = _diverging_table()
    middle = table.size // 2
    # Rounded before zero is moved to the middle, so that both signs are rounded alike.
    steps = np.rint(np.clip(values, -1.0, 1.0) * np.float32(middle))
    return _entries(table, (steps + np.float32(middle)).astype(np.uint16))


def color_scale(colors: str, steps: int = 256) -> RgbImage:
    """List the colors of a scale from its lowest value to its highest, for a legend.

    Args:
        colors: one of :data:`cnnviz.rendering.style.COLORMAPS`, or :data:`DIVERGING`.
        steps: how many, at least 2.

    Returns:
        uint8 (steps, 3), RGB.

    Raises:
        UsageError: an unknown color map.
    """
    levels = np.linspace(0.0, 1.0, steps, dtype=np.float32)[None]
    if colors == DIVERGING:
        return diverging_colors(2 * levels - 1).reshape(steps, 3)
    check_colors(colors)
    return sequential_colors(levels, colors).reshape(steps, 3)


@functools.cache  # the same for every image of a run
def _table(colormap: str) -> npt.NDArray[np.uint32]:
    levels = np.arange(256, dtype=np.uint8)[:, None]
    entries = cv2.applyColorMap(levels, getattr(cv2, f"COLORMAP_{colormap.upper()}"))[:, 0, ::-1]
    return _interpolated(entries, _STEPS)


@functools.cache
def _diverging_table() -> npt.NDArray[np.uint32]:
    return _interpolated(np.array(_DIVERGING, np.uint8), 32 * _STEPS)


def _interpolated(entries: npt.NDArray[np.uint8], steps: int) -> npt.NDArray[np.uint32]:
    """RGB and a byte of zero, as one number, for 0 to 1, with this many equal steps per entry."""
    places = np.arange((len(entries) - 1) * steps + 1) / steps
    table = np.zeros((places.size, 4), np.uint8)
    for channel in range(3):
        table[:, channel] = np.rint(np.interp(places, np.arange(len(entries)), entries[:, channel]))
    table.flags.writeable = False
    return table.view(np.uint32)[:, 0]


def _entries(table: npt.NDArray[np.uint32], indices: npt.NDArray[np.uint16]) -> RgbImage:
    colors = table[indices].view(np.uint8).reshape(*indices.shape, 4)
    return np.asarray(cv2.cvtColor(colors, cv2.COLOR_RGBA2RGB), np.uint8)
