"""From maps to images: values stay float until they are colors, and no sum ever wraps around."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, get_args

import cv2
import numpy as np

from cnnviz.errors import MapError, UsageError
from cnnviz.rendering.colormaps import UNSEEN, FloatMap, diverging_colors, sequential_colors
from cnnviz.rendering.style import Style, check_colors
from cnnviz.types import Float32, Mask, RgbImage

SIGNED_PERCENTILE = 99.5
"""Percentile of magnitudes that :func:`signed_color` and :func:`diverging` show at full
strength."""

GRAYSCALE_PERCENTILE = 99.0
"""Percentile that :func:`grayscale` shows as white, as the Grad-CAM tutorial of MXNet does."""

UNSEEN_BRIGHTNESS = 0.5
"""Brightness of what the network did not see, next to what it saw."""

Scaled = Literal["heat", "signed", "diverging", "magnitude"]
"""Kinds of maps that are rendered on a scale of their own, or on a given one.

``heat`` by :func:`normalize_by_max`, ``signed`` by :func:`signed_color`, ``diverging`` by
:func:`diverging`, ``magnitude`` by :func:`grayscale`; see :func:`scale_limit`.
"""

SCALED: tuple[Scaled, ...] = get_args(Scaled)

_GRAY = 128.0

_BAND = 1 << 16  # pixels that are colored at a time

Upsample = Callable[[Float32], Float32]
"""Brings a map (h, w, ...) onto the image (H, W, ...): :func:`preprocessing.to_image`."""


def scale_limit(kind: str, array: FloatMap) -> float:
    """The value at which a map's own scale ends: what is shown at full strength.

    The largest of many maps' limits is a scale that they can have in common, as ``vmax`` of the
    functions below. With its own limit a map is rendered as it is by itself (but see
    :func:`grayscale`).

    Args:
        kind: how the map is rendered, one of :data:`SCALED`.
        array: float, of whatever shape, as it is rendered.

    Returns:
        At least 0; 0 for a map of zeros.

    Raises:
        UsageError: another kind.
        MapError: NaN or infinity in the map, or a negative value where there can be none.
    """
    if kind not in SCALED:
        raise UsageError(f"A map's scale is that of {', '.join(SCALED)}; got {kind!r}.")
    if kind in ("signed", "diverging"):
        _check_map(array)
        return _percentile(np.abs(array), SIGNED_PERCENTILE)
    _check_map(array, non_negative=True)
    if kind == "heat":
        return float(array.max(initial=0.0))
    return _percentile(array.astype(np.float64), GRAYSCALE_PERCENTILE)


def normalize_by_max(array: FloatMap, vmax: float | None = None) -> tuple[Float32, bool]:
    """Divide a non-negative map by its maximum, so that it ends in [0, 1].

    Nothing is subtracted: a pixel without evidence stays at zero. A map of zeros, the final ReLU
    of Grad-CAM having left nothing, stays zero.

    Args:
        array: float, of whatever shape.
        vmax: the value that becomes 1, and all above it too; the map's maximum if not given. For
            probabilities 1, for many maps on one scale see :func:`scale_limit`.

    Returns:
        float32 of the same shape, and whether the map is blank (all zero).

    Raises:
        UsageError: ``vmax`` is negative or not a number.
        MapError: NaN, infinity or a negative value in the map.
    """
    _check_map(array, non_negative=True)
    _check_vmax(vmax)
    peak = float(array.max(initial=0.0))
    if peak == 0.0:
        return np.zeros(array.shape, np.float32), True
    if vmax is None:
        return _divided(array, peak), False
    return _scaled(array, vmax), False


def overlay(
    image: RgbImage,
    heatmap: FloatMap,
    colormap: str = Style.colormap,
    alpha: float = Style.alpha,
    visible: Mask | None = None,
) -> RgbImage:
    """Lay a map over an image: ``(1 - alpha) * image + alpha * colors(heatmap)``.

    Args:
        image: uint8 (H, W, 3), RGB.
        heatmap: float (H, W), from 0 to 1 (see :func:`normalize_by_max`).
        colormap: one of :data:`cnnviz.rendering.style.COLORMAPS`.
        alpha: from 0, the image alone, to 1, the colors alone.
        visible: bool (H, W), true where the network saw the image. The rest is shown gray and
            dark, without color: there is no evidence there, neither for nor against.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        UsageError: an unknown color map, or alpha outside [0, 1].
        MapError: the map holds other values than 0 to 1, or has another shape than the image.
    """
    check_colors(colormap, alpha)
    if heatmap.shape != image.shape[:2]:
        raise MapError(
            f"The map has shape {heatmap.shape} and the image {image.shape[:2]}; bring the map "
            "onto the image first (preprocessing.to_image)."
        )
    _check_heat(heatmap, visible)
    result = np.empty_like(image)
    for band in bands(heatmap.shape):
        colors = sequential_colors(heatmap[band], colormap)
        result[band] = cv2.addWeighted(image[band], 1 - alpha, colors, alpha, 0.0)
    if visible is not None and not visible.all():
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        dark = cv2.convertScaleAbs(gray, alpha=UNSEEN_BRIGHTNESS)
        unseen = (~visible).view(np.uint8)
        cv2.copyTo(cv2.cvtColor(dark, cv2.COLOR_GRAY2RGB), unseen, result)
    return result


def colorize(
    heatmap: FloatMap,
    colormap: str = Style.colormap,
    visible: Mask | None = None,
) -> RgbImage:
    """Show a map in color, without the image.

    Args:
        heatmap: float (H, W), from 0 to 1 (see :func:`normalize_by_max`).
        colormap: one of :data:`cnnviz.rendering.style.COLORMAPS`.
        visible: bool (H, W), true where the network saw the image; the rest is :data:`UNSEEN`.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        UsageError: an unknown color map.
        MapError: the map holds other values than 0 to 1.
    """
    check_colors(colormap)
    _check_heat(heatmap, visible)
    result = np.empty((*heatmap.shape, 3), np.uint8)
    for band in bands(heatmap.shape):
        result[band] = sequential_colors(heatmap[band], colormap)
    paint_unseen(result, visible)
    return result


def render_heatmap(
    image: RgbImage, heatmap: FloatMap, style: Style, visible: Mask | None = None
) -> RgbImage:
    """Show a heatmap as a style has it: over its image (:func:`overlay`) or alone."""
    if style.overlay:
        return overlay(image, heatmap, style.colormap, style.alpha, visible)
    return colorize(heatmap, style.colormap, visible)


def signed_color(
    array: FloatMap,
    upsample: Upsample | None = None,
    vmax: float | None = None,
) -> tuple[RgbImage, bool]:
    """Show a signed color map, a gradient say, as color on mid-gray.

    Zero is gray 128 exactly; the same factor holds for all channels and both signs, and the 99.5th
    percentile of the magnitudes reaches full strength. (Stretching minimum to maximum, as is often
    done, moves zero to some other gray in every image.)

    The percentile is the map's own, and so the same at every size that the map is rendered at.

    Args:
        array: float (h, w, 3), or (h, w) of a network that sees gray.
        upsample: brings the scaled map onto the image; without it the map keeps its size.
        vmax: the magnitude at full strength, instead of the percentile (see :func:`scale_limit`).

    Returns:
        uint8 (H, W, 3), RGB, or (H, W), and whether the map is blank (all zero, all gray).

    Raises:
        UsageError: ``vmax`` is negative or not a number.
        MapError: NaN or infinity in the map.
    """
    own = scale_limit("signed", array)
    _check_vmax(vmax)
    scaled = _scaled(array, own if vmax is None else vmax)
    placed = scaled if upsample is None else upsample(scaled)
    return _to_uint8(placed, 127.0, _GRAY), own == 0.0


def diverging(
    array: FloatMap,
    upsample: Upsample | None = None,
    vmax: float | None = None,
    visible: Mask | None = None,
) -> tuple[RgbImage, bool]:
    """Show a signed map in two colors: red for the target, blue against it, white is zero.

    Zero is (247, 247, 247) exactly. The same factor holds for both signs, and the 99.5th percentile
    of the magnitudes reaches full strength; equal magnitudes are equally dark.

    Args:
        array: float (h, w).
        upsample: brings the scaled map onto the image; without it the map keeps its size.
        vmax: the magnitude at full strength, instead of the percentile (see :func:`scale_limit`).
        visible: bool (H, W), true where the network saw the image; the rest is :data:`UNSEEN`.

    Returns:
        uint8 (H, W, 3), RGB, and whether the map is blank (all zero, all white).

    Raises:
        UsageError: ``vmax`` is negative or not a number.
        MapError: NaN or infinity in the map, or the map is not (h, w).
    """
    own = scale_limit("diverging", array)
    _check_vmax(vmax)
    if array.ndim != 2:
        raise MapError(f"A map in two colors has shape (h, w); got {array.shape}.")
    scaled = _scaled(array, own if vmax is None else vmax)
    placed = scaled if upsample is None else upsample(scaled)
    check_visible(placed.shape, visible)
    result = np.empty((*placed.shape, 3), np.uint8)
    for band in bands(placed.shape):
        result[band] = diverging_colors(placed[band])
    paint_unseen(result, visible)
    return result, own == 0.0


def grayscale(
    array: FloatMap,
    upsample: Upsample | None = None,
    vmax: float | None = None,
) -> tuple[RgbImage, bool]:
    """Show a non-negative map from black (its minimum) to white (its 99th percentile).

    Both are the map's own, and so the same at every size that the map is rendered at.

    Args:
        array: float (h, w).
        upsample: brings the scaled map onto the image; without it the map keeps its size.
        vmax: the value shown as white (see :func:`scale_limit`). Black is then 0, not the minimum:
            only so does a gray mean the same in two maps.

    Returns:
        uint8 (H, W), and whether the map is blank (the same everywhere; all black without
        ``vmax``).

    Raises:
        UsageError: ``vmax`` is negative or not a number.
        MapError: NaN, infinity or a negative value in the map.
    """
    _check_map(array, non_negative=True)
    _check_vmax(vmax)
    above = array.astype(np.float64) - float(array.min(initial=np.inf))
    own = _percentile(above, GRAYSCALE_PERCENTILE)
    scaled = _scaled(above, own) if vmax is None else _scaled(array, vmax)
    placed = scaled if upsample is None else upsample(scaled)
    return _to_uint8(placed, 255.0), own == 0.0


def bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows (H, W, ...) a few at a time, so that no working array is of the image's size."""
    rows = max(1, _BAND // max(1, shape[1]))
    return (slice(top, top + rows) for top in range(0, shape[0], rows))


def paint_unseen(image: RgbImage, visible: Mask | None) -> None:
    """Give :data:`UNSEEN` to what the network did not see."""
    if visible is not None:
        for band in bands(visible.shape):
            image[band][~visible[band]] = UNSEEN


def _percentile(magnitude: FloatMap, percent: float) -> float:
    """The percentile, or the maximum where so few pixels differ from zero that it is zero."""
    if magnitude.size == 0:
        return 0.0
    return float(np.percentile(magnitude, percent)) or float(magnitude.max())


def _divided(array: FloatMap, by: float) -> Float32:
    # In float64: the divisor may be so small that float32 cannot divide by it. What lies very far
    # beyond it is infinite, until it is clipped.
    result = np.empty(array.shape, np.float32)
    with np.errstate(over="ignore"):
        np.divide(array, by, out=result, dtype=np.float64, casting="same_kind")
    return result


def _scaled(array: FloatMap, vmax: float) -> Float32:
    """The part of ``vmax``, from -1 to 1; where ``vmax`` is 0, what differs from 0 is beyond it."""
    if vmax == 0.0:
        return np.asarray(np.sign(array), np.float32)
    result = _divided(array, vmax)
    np.clip(result, -1.0, 1.0, out=result)
    return result


def _to_uint8(values: Float32, factor: float, offset: float = 0.0) -> RgbImage:
    """``factor * values + offset``, which is at least 0, rounded; above 255 it is 255."""
    return np.asarray(cv2.convertScaleAbs(values, alpha=factor, beta=offset), np.uint8).reshape(
        values.shape
    )


def _check_map(array: FloatMap, *, non_negative: bool = False) -> None:
    lowest, highest = array.min(initial=0.0), array.max(initial=0.0)
    if not (np.isfinite(lowest) and np.isfinite(highest)):  # NaN is both
        raise MapError(
            "The map holds NaN or infinity: the network overflowed on this image, or its weights "
            "are damaged."
        )
    if non_negative and lowest < 0:
        raise MapError(f"The map goes down to {lowest:g}; it must not be negative.")


def _check_heat(heatmap: FloatMap, visible: Mask | None) -> None:
    _check_map(heatmap, non_negative=True)
    check_visible(heatmap.shape, visible)
    # Bilinear weights sum to one only up to rounding.
    if heatmap.max(initial=0.0) > 1 + 1e-4:
        raise MapError(f"The map goes up to {heatmap.max():g}; a heatmap takes 0 to 1.")


def check_visible(shape: tuple[int, ...], visible: Mask | None) -> None:
    """Refuse what does not have the shape of its map, with a MapError."""
    if visible is not None and visible.shape != shape:
        raise MapError(
            f"The map has shape {shape} and what the network saw {visible.shape}; bring both onto "
            "the image first (preprocessing.to_image)."
        )


def _check_vmax(vmax: float | None) -> None:
    if vmax is not None and not (np.isfinite(vmax) and vmax >= 0):
        raise UsageError(f"A map's scale ends at a finite number, 0 or above; got {vmax}.")
