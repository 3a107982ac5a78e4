"""From maps to pictures: values stay float until they are colours, and no sum ever wraps around."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cnnviz.errors import PictureError, UsageError

COLORMAPS = (
    "jet",
    "turbo",
    "viridis",
    "inferno",
    "magma",
    "plasma",
    "cividis",
    "parula",
    "hot",
    "bone",
)
"""Names of the colour maps, the default first."""

DEFAULT_ALPHA = 0.4
"""Part of the colour in an overlay; the rest is the picture."""

SIGNED_PERCENTILE = 99.5
"""Percentile of magnitudes that :func:`signed_colour` shows at full strength."""

MONOCHROME_PERCENTILE = 99.0
"""Percentile that :func:`monochrome` shows as white, as the Grad-CAM tutorial of MXNet does."""

UNSEEN_BRIGHTNESS = 0.5
"""Brightness of what the network did not see, next to what it saw."""

_GREY = 128.0
_STEPS = 16  # colours between two entries of a colour map's table: enough that no step is seen
_BAND = 1 << 16  # pixels that are coloured at a time

Place = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""Brings a map (h, w, ...) onto the picture (H, W, ...): :func:`preprocessing.to_picture`."""


def normalise_by_max(
    array: npt.NDArray[np.floating[Any]],
) -> tuple[npt.NDArray[np.float32], bool]:
    """Divide a non-negative map by its maximum, so that it ends in [0, 1].

    Nothing is subtracted: a pixel without evidence stays at zero. A map of zeros, the final ReLU
    of Grad-CAM having left nothing, stays zero.

    Returns:
        float32 of the same shape, and whether the map is blank (all zero).

    Raises:
        PictureError: NaN, infinity or a negative value in the map.
    """
    _check_map(array, non_negative=True)
    peak = float(array.max(initial=0.0))
    if peak == 0.0:
        return np.zeros(array.shape, np.float32), True
    return _divided(array, peak), False


def check_overlay(colormap: str, alpha: float) -> None:
    """Refuse what :func:`colour_overlay` cannot draw with.

    Raises:
        UsageError: an unknown colour map, or alpha outside [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha lies between 0 (picture) and 1 (colours); got {alpha}.")
    if colormap not in COLORMAPS:
        raise UsageError(
            f"There is no colour map {colormap!r}; choose one of {', '.join(COLORMAPS)}."
        )


def colour_overlay(
    picture: npt.NDArray[np.uint8],
    cam: npt.NDArray[np.floating[Any]],
    colormap: str = COLORMAPS[0],
    alpha: float = DEFAULT_ALPHA,
    seen: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.uint8]:
    """Lay a map over a picture in colour: ``(1 - alpha) * picture + alpha * colour(cam)``.

    Args:
        picture: uint8 (H, W, 3), RGB.
        cam: float (H, W), from 0 to 1 (see :func:`normalise_by_max`).
        colormap: one of :data:`COLORMAPS`.
        alpha: from 0, the picture alone, to 1, the colours alone.
        seen: bool (H, W), true where the network saw the picture. The rest is shown grey and
            dark, without colour: there is no evidence there, neither for nor against.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        UsageError: an unknown colour map, or alpha outside [0, 1].
        PictureError: the map holds other values than 0 to 1, or has another shape than the picture.
    """
    check_overlay(colormap, alpha)
    _check_map(cam, non_negative=True)
    if cam.shape != picture.shape[:2] or (seen is not None and seen.shape != cam.shape):
        raise PictureError(
            f"The map has shape {cam.shape} and the picture {picture.shape[:2]}; bring the map "
            "onto the picture first (preprocessing.to_picture)."
        )
    # Bilinear weights sum to one only up to rounding.
    if cam.max(initial=0.0) > 1 + 1e-4:
        raise PictureError(f"The map goes up to {cam.max():g}; an overlay takes 0 to 1.")
    table = _colour_table(colormap)
    result = np.empty_like(picture)
    rows = max(1, _BAND // max(1, cam.shape[1]))
    for top in range(0, cam.shape[0], rows):
        band = slice(top, top + rows)
        colours = _looked_up(cam[band], table)
        result[band] = cv2.addWeighted(picture[band], 1 - alpha, colours, alpha, 0.0)
    if seen is not None and not seen.all():
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        dark = cv2.convertScaleAbs(grey, alpha=UNSEEN_BRIGHTNESS)
        unseen = (~seen).view(np.uint8)
        cv2.copyTo(cv2.cvtColor(dark, cv2.COLOR_GRAY2RGB), unseen, result)
    return result


def signed_colour(
    array: npt.NDArray[np.floating[Any]], place: Place | None = None
) -> tuple[npt.NDArray[np.uint8], bool]:
    """Show a signed colour map, a gradient say, as colour on mid-grey.

    Zero is grey 128 exactly; the same factor holds for all channels and both signs, and the 99.5th
    percentile of the magnitudes reaches full strength. (Stretching minimum to maximum, as is often
    done, moves zero to some other grey in every picture.)

    The percentile is the map's own, and so the same at every size that the map is drawn at.

    Args:
        array: float (h, w, 3), or (h, w) of a network that sees grey.
        place: brings the scaled map onto the picture; without it the map is drawn as it is.

    Returns:
        uint8 (H, W, 3), RGB, or (H, W), and whether the map is blank (all zero, all grey).

    Raises:
        PictureError: NaN or infinity in the map.
    """
    _check_map(array)
    full = _percentile(np.abs(array), SIGNED_PERCENTILE)
    if full == 0.0:
        scaled = np.zeros(array.shape, np.float32)
    else:
        scaled = np.clip(_divided(array, full), -1.0, 1.0)
    placed = scaled if place is None else place(scaled)
    return _to_uint8(placed, 127.0, _GREY), full == 0.0


def monochrome(
    array: npt.NDArray[np.floating[Any]], place: Place | None = None
) -> tuple[npt.NDArray[np.uint8], bool]:
    """Show a non-negative map from black (its minimum) to white (its 99th percentile).

    Both are the map's own, and so the same at every size that the map is drawn at.

    Args:
        array: float (h, w).
        place: brings the scaled map onto the picture; without it the map is drawn as it is.

    Returns:
        uint8 (H, W), and whether the map is blank (the same everywhere, all black).

    Raises:
        PictureError: NaN, infinity or a negative value in the map.
    """
    _check_map(array, non_negative=True)
    above = array.astype(np.float64) - float(array.min(initial=np.inf))
    white = _percentile(above, MONOCHROME_PERCENTILE)
    if white == 0.0:
        scaled = np.zeros(array.shape, np.float32)
    else:
        scaled = np.clip(_divided(above, white), 0.0, 1.0)
    placed = scaled if place is None else place(scaled)
    return _to_uint8(placed, 255.0), white == 0.0


def _percentile(magnitude: npt.NDArray[np.floating[Any]], percent: float) -> float:
    """The percentile, or the maximum where so few pixels differ from zero that it is zero."""
    if magnitude.size == 0:
        return 0.0
    return float(np.percentile(magnitude, percent)) or float(magnitude.max())


def _divided(array: npt.NDArray[np.floating[Any]], by: float) -> npt.NDArray[np.float32]:
    # In float64: the divisor may be so small that float32 cannot divide by it.
    result = np.empty(array.shape, np.float32)
    np.divide(array, by, out=result, dtype=np.float64, casting="same_kind")
    return result


@functools.cache  # the same for every picture of a run
def _colour_table(colormap: str) -> npt.NDArray[np.uint32]:
    """RGB and a byte of zero, as one number, for 0 to 1 in equal steps; interpolated."""
    levels = np.arange(256, dtype=np.uint8)[:, None]
    entries = cv2.applyColorMap(levels, getattr(cv2, f"COLORMAP_{colormap.upper()}"))[:, 0, ::-1]
    places = np.arange(255 * _STEPS + 1) / _STEPS
    table = np.zeros((places.size, 4), np.uint8)
    for channel in range(3):
        table[:, channel] = np.rint(np.interp(places, np.arange(256), entries[:, channel]))
    table.flags.writeable = False
    return table.view(np.uint32)[:, 0]


def _looked_up(
    cam: npt.NDArray[np.floating[Any]], table: npt.NDArray[np.uint32]
) -> npt.NDArray[np.uint8]:
    """RGB (H, W, 3) for values from 0 to 1."""
    steps = np.float32(table.size - 1)
    indices = (np.clip(cam, 0.0, 1.0) * steps + np.float32(0.5)).astype(np.uint16)
    colours = table[indices].view(np.uint8).reshape(*cam.shape, 4)
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_RGBA2RGB), np.uint8)


def _to_uint8(
    values: npt.NDArray[np.float32], factor: float, offset: float = 0.0
) -> npt.NDArray[np.uint8]:
    """``factor * values + offset``, which is at least 0, rounded; above 255 it is 255."""
    return np.asarray(cv2.convertScaleAbs(values, alpha=factor, beta=offset), np.uint8).reshape(
        values.shape
    )


def _check_map(array: npt.NDArray[np.floating[Any]], *, non_negative: bool = False) -> None:
    lowest, highest = array.min(initial=0.0), array.max(initial=0.0)
    if not (np.isfinite(lowest) and np.isfinite(highest)):  # NaN is both
        raise PictureError(
            "The map holds NaN or infinity: the network overflowed on this picture, or its weights "
            "are damaged."
        )
    if non_negative and lowest < 0:
        raise PictureError(f"The map goes down to {lowest:g}; it must not be negative.")
