"""From maps to pictures: everything in float, and uint8 only at the very end."""

from __future__ import annotations

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
_LUMA = np.asarray([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as OpenCV's grey


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
    # In float64: the maximum may be so small that float32 cannot divide by it.
    return (array.astype(np.float64) / peak).astype(np.float32), False


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
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha lies between 0 (picture) and 1 (colours); got {alpha}.")
    _check_map(cam, non_negative=True)
    if cam.shape != picture.shape[:2] or (seen is not None and seen.shape != cam.shape):
        raise PictureError(
            f"The map has shape {cam.shape} and the picture {picture.shape[:2]}; bring the map "
            "onto the picture first (preprocessing.to_picture)."
        )
    # Bilinear weights sum to one only up to rounding.
    if cam.max(initial=0.0) > 1 + 1e-4:
        raise PictureError(f"The map goes up to {cam.max():g}; an overlay takes 0 to 1.")
    base = picture.astype(np.float32)
    result = (1 - alpha) * base + alpha * _colours(cam, colormap)
    if seen is not None and not seen.all():
        result[~seen] = (base[~seen] @ _LUMA)[:, None] * UNSEEN_BRIGHTNESS
    return _to_uint8(result)


def signed_colour(
    array: npt.NDArray[np.floating[Any]],
) -> tuple[npt.NDArray[np.uint8], bool]:
    """Show a signed colour map, a gradient say, as colour on mid-grey.

    Zero is grey 128 exactly; the same factor holds for all channels and both signs, and the 99.5th
    percentile of the magnitudes reaches full strength. (Stretching minimum to maximum, as is often
    done, moves zero to some other grey in every picture.)

    Args:
        array: float (H, W, 3).

    Returns:
        uint8 (H, W, 3), RGB, and whether the map is blank (all zero, all grey).

    Raises:
        PictureError: NaN or infinity in the map.
    """
    _check_map(array)
    magnitude = np.abs(array)
    full = _percentile(magnitude, SIGNED_PERCENTILE)
    if full == 0.0:
        return np.full(array.shape, int(_GREY), np.uint8), True
    scaled = np.clip(array.astype(np.float64) / full, -1.0, 1.0)
    return _to_uint8(_GREY + 127.0 * scaled), False


def monochrome(array: npt.NDArray[np.floating[Any]]) -> tuple[npt.NDArray[np.uint8], bool]:
    """Show a non-negative map from black (its minimum) to white (its 99th percentile).

    Args:
        array: float (H, W).

    Returns:
        uint8 (H, W), and whether the map is blank (the same everywhere, all black).

    Raises:
        PictureError: NaN, infinity or a negative value in the map.
    """
    _check_map(array, non_negative=True)
    lowest = float(array.min(initial=np.inf))
    above = array.astype(np.float64) - lowest
    white = _percentile(above, MONOCHROME_PERCENTILE)
    if white == 0.0:
        return np.zeros(array.shape, np.uint8), True
    return _to_uint8(255.0 * np.clip(above / white, 0.0, 1.0)), False


def _percentile(magnitude: npt.NDArray[np.floating[Any]], percent: float) -> float:
    """The percentile, or the maximum where so few pixels differ from zero that it is zero."""
    if magnitude.size == 0:
        return 0.0
    return float(np.percentile(magnitude, percent)) or float(magnitude.max())


def _colours(cam: npt.NDArray[np.floating[Any]], colormap: str) -> npt.NDArray[np.float32]:
    """RGB in 0 to 255, interpolated between the map's 256 entries."""
    if colormap not in COLORMAPS:
        raise UsageError(
            f"There is no colour map {colormap!r}; choose one of {', '.join(COLORMAPS)}."
        )
    entries = np.arange(256, dtype=np.uint8)[:, None]
    code = getattr(cv2, f"COLORMAP_{colormap.upper()}")
    table = cv2.applyColorMap(entries, code)[:, 0, ::-1].astype(np.float32)
    place = np.clip(cam, 0.0, 1.0).astype(np.float32) * 255
    below = np.minimum(place.astype(np.intp), 254)
    part = (place - below)[:, :, None]
    return np.asarray(table[below] * (1 - part) + table[below + 1] * part)


def _to_uint8(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _check_map(array: npt.NDArray[np.floating[Any]], *, non_negative: bool = False) -> None:
    if not np.isfinite(array).all():
        raise PictureError(
            "The map holds NaN or infinity: the network overflowed on this picture, or its weights "
            "are damaged."
        )
    if non_negative and array.size and array.min() < 0:
        raise PictureError(f"The map goes down to {array.min():g}; it must not be negative.")
