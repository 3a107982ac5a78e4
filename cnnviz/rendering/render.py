"""From maps to images: values stay float until they are colors, and no sum ever wraps around."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cnnviz.errors import MapError, UsageError
from cnnviz.rendering.style import COLORMAPS, Style

SIGNED_PERCENTILE = 99.5
"""Percentile of magnitudes that :func:`signed_color` and :func:`diverging` show at full
strength."""

MONOCHROME_PERCENTILE = 99.0
"""Percentile that :func:`monochrome` shows as white, as the Grad-CAM tutorial of MXNet does."""

UNSEEN_BRIGHTNESS = 0.5
"""Brightness of what the network did not see, next to what it saw."""

SCALED = ("heat", "signed", "diverging", "magnitude")
"""Kinds of maps that are drawn on a scale of their own, or on a given one: see :func:`reach`."""

DIVERGING = "diverging"
"""Name of the colors of :func:`diverging` for :func:`color_scale`."""

Color = tuple[int, int, int]
"""Red, green and blue, each from 0 to 255."""

UNSEEN: Color = (64, 64, 64)
"""What the network did not see, where no image lies beneath the map."""

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
"""Colors of classes, the most frequent first; easily told apart, by the color-blind too."""

_GRAY = 128.0
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
_STEPS = 16  # colors between two entries of a color map's table: enough that no step is seen
_BAND = 1 << 16  # pixels that are colored at a time

Place = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""Brings a map (h, w, ...) onto the image (H, W, ...): :func:`preprocessing.to_image`."""


def reach(kind: str, array: npt.NDArray[np.floating[Any]]) -> float:
    """Say how far a map's own scale reaches: the value that is drawn at full strength.

    The largest of many maps' reaches is a scale that they can have in common, as ``full`` of the
    functions below. With its own reach a map is drawn as it is by itself (but see
    :func:`monochrome`).

    Args:
        kind: one of :data:`SCALED`, how the map is drawn: ``heat`` by :func:`normalize_by_max`,
            ``signed`` by :func:`signed_color`, ``diverging`` by :func:`diverging`, ``magnitude``
            by :func:`monochrome`.
        array: float, of whatever shape, as it is drawn.

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
    return _percentile(array.astype(np.float64), MONOCHROME_PERCENTILE)


def normalize_by_max(
    array: npt.NDArray[np.floating[Any]], full: float | None = None
) -> tuple[npt.NDArray[np.float32], bool]:
    """Divide a non-negative map by its maximum, so that it ends in [0, 1].

    Nothing is subtracted: a pixel without evidence stays at zero. A map of zeros, the final ReLU
    of Grad-CAM having left nothing, stays zero.

    Args:
        array: float, of whatever shape.
        full: the value that becomes 1, and all above it too; the map's maximum if not given. For
            probabilities 1, for many maps on one scale see :func:`reach`.

    Returns:
        float32 of the same shape, and whether the map is blank (all zero).

    Raises:
        UsageError: ``full`` is negative or not a number.
        MapError: NaN, infinity or a negative value in the map.
    """
    _check_map(array, non_negative=True)
    _check_full(full)
    peak = float(array.max(initial=0.0))
    if peak == 0.0:
        return np.zeros(array.shape, np.float32), True
    if full is None:
        return _divided(array, peak), False
    return _scaled(array, full), False


def check_overlay(colormap: str, alpha: float) -> None:
    """Refuse what :func:`color_overlay` cannot draw with.

    Raises:
        UsageError: an unknown color map, or alpha outside [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha lies between 0 (image) and 1 (colors); got {alpha}.")
    if colormap not in COLORMAPS:
        raise UsageError(
            f"There is no color map {colormap!r}; choose one of {', '.join(COLORMAPS)}."
        )


def color_overlay(
    image: npt.NDArray[np.uint8],
    cam: npt.NDArray[np.floating[Any]],
    colormap: str = Style.colormap,
    alpha: float = Style.alpha,
    seen: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.uint8]:
    """Lay a map over an image in color: ``(1 - alpha) * image + alpha * color(cam)``.

    Args:
        image: uint8 (H, W, 3), RGB.
        cam: float (H, W), from 0 to 1 (see :func:`normalize_by_max`).
        colormap: one of :data:`COLORMAPS`.
        alpha: from 0, the image alone, to 1, the colors alone.
        seen: bool (H, W), true where the network saw the image. The rest is shown gray and
            dark, without color: there is no evidence there, neither for nor against.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        UsageError: an unknown color map, or alpha outside [0, 1].
        MapError: the map holds other values than 0 to 1, or has another shape than the image.
    """
    check_overlay(colormap, alpha)
    if cam.shape != image.shape[:2]:
        raise MapError(
            f"The map has shape {cam.shape} and the image {image.shape[:2]}; bring the map "
            "onto the image first (preprocessing.to_image)."
        )
    _check_heat(cam, seen)
    table = _color_table(colormap)
    result = np.empty_like(image)
    for band in _bands(cam.shape):
        colors = _looked_up(cam[band], table)
        result[band] = cv2.addWeighted(image[band], 1 - alpha, colors, alpha, 0.0)
    if seen is not None and not seen.all():
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        dark = cv2.convertScaleAbs(gray, alpha=UNSEEN_BRIGHTNESS)
        unseen = (~seen).view(np.uint8)
        cv2.copyTo(cv2.cvtColor(dark, cv2.COLOR_GRAY2RGB), unseen, result)
    return result


def color(
    cam: npt.NDArray[np.floating[Any]],
    colormap: str = Style.colormap,
    seen: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.uint8]:
    """Show a map in color, without the image.

    Args:
        cam: float (H, W), from 0 to 1 (see :func:`normalize_by_max`).
        colormap: one of :data:`COLORMAPS`.
        seen: bool (H, W), true where the network saw the image; the rest is :data:`UNSEEN`.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        UsageError: an unknown color map.
        MapError: the map holds other values than 0 to 1.
    """
    check_overlay(colormap, 1.0)
    _check_heat(cam, seen)
    table = _color_table(colormap)
    result = np.empty((*cam.shape, 3), np.uint8)
    for band in _bands(cam.shape):
        result[band] = _looked_up(cam[band], table)
    _paint_unseen(result, seen)
    return result


def heat_color(
    image: npt.NDArray[np.uint8],
    cam: npt.NDArray[np.floating[Any]],
    colormap: str,
    alpha: float,
    seen: npt.NDArray[np.bool_] | None,
    *,
    overlay: bool,
) -> npt.NDArray[np.uint8]:
    """Show a map over its image (:func:`color_overlay`), or alone (:func:`color`)."""
    if overlay:
        return color_overlay(image, cam, colormap, alpha, seen)
    return color(cam, colormap, seen)


def signed_color(
    array: npt.NDArray[np.floating[Any]],
    place: Place | None = None,
    full: float | None = None,
) -> tuple[npt.NDArray[np.uint8], bool]:
    """Show a signed color map, a gradient say, as color on mid-gray.

    Zero is gray 128 exactly; the same factor holds for all channels and both signs, and the 99.5th
    percentile of the magnitudes reaches full strength. (Stretching minimum to maximum, as is often
    done, moves zero to some other gray in every image.)

    The percentile is the map's own, and so the same at every size that the map is drawn at.

    Args:
        array: float (h, w, 3), or (h, w) of a network that sees gray.
        place: brings the scaled map onto the image; without it the map is drawn as it is.
        full: the magnitude at full strength, instead of the percentile (see :func:`reach`).

    Returns:
        uint8 (H, W, 3), RGB, or (H, W), and whether the map is blank (all zero, all gray).

    Raises:
        UsageError: ``full`` is negative or not a number.
        MapError: NaN or infinity in the map.
    """
    own = reach("signed", array)
    _check_full(full)
    scaled = _scaled(array, own if full is None else full)
    placed = scaled if place is None else place(scaled)
    return _to_uint8(placed, 127.0, _GRAY), own == 0.0


def diverging(
    array: npt.NDArray[np.floating[Any]],
    place: Place | None = None,
    full: float | None = None,
    seen: npt.NDArray[np.bool_] | None = None,
) -> tuple[npt.NDArray[np.uint8], bool]:
    """Show a signed map in two colors: red speaks for the target, blue against it, white is zero.

    Zero is (247, 247, 247) exactly. The same factor holds for both signs, and the 99.5th percentile
    of the magnitudes reaches full strength; equal magnitudes are equally dark.

    Args:
        array: float (h, w).
        place: brings the scaled map onto the image; without it the map is drawn as it is.
        full: the magnitude at full strength, instead of the percentile (see :func:`reach`).
        seen: bool (H, W), true where the network saw the image; the rest is :data:`UNSEEN`.

    Returns:
        uint8 (H, W, 3), RGB, and whether the map is blank (all zero, all white).

    Raises:
        UsageError: ``full`` is negative or not a number.
        MapError: NaN or infinity in the map, or the map is not (h, w).
    """
    own = reach("diverging", array)
    _check_full(full)
    if array.ndim != 2:
        raise MapError(f"A map in two colors has shape (h, w); got {array.shape}.")
    scaled = _scaled(array, own if full is None else full)
    placed = scaled if place is None else place(scaled)
    _check_seen(placed.shape, seen)
    table = _diverging_table()
    middle = table.size // 2
    result = np.empty((*placed.shape, 3), np.uint8)
    for band in _bands(placed.shape):
        # Rounded before zero is moved to the middle, so that both signs are rounded alike.
        steps = np.rint(np.clip(placed[band], -1.0, 1.0) * np.float32(middle))
        result[band] = _entries(table, (steps + np.float32(middle)).astype(np.uint16))
    _paint_unseen(result, seen)
    return result, own == 0.0


def monochrome(
    array: npt.NDArray[np.floating[Any]],
    place: Place | None = None,
    full: float | None = None,
) -> tuple[npt.NDArray[np.uint8], bool]:
    """Show a non-negative map from black (its minimum) to white (its 99th percentile).

    Both are the map's own, and so the same at every size that the map is drawn at.

    Args:
        array: float (h, w).
        place: brings the scaled map onto the image; without it the map is drawn as it is.
        full: the value shown as white (see :func:`reach`). Black is then 0, not the minimum: only
            so does a gray mean the same in two maps.

    Returns:
        uint8 (H, W), and whether the map is blank (the same everywhere; all black without
        ``full``).

    Raises:
        UsageError: ``full`` is negative or not a number.
        MapError: NaN, infinity or a negative value in the map.
    """
    _check_map(array, non_negative=True)
    _check_full(full)
    above = array.astype(np.float64) - float(array.min(initial=np.inf))
    own = _percentile(above, MONOCHROME_PERCENTILE)
    scaled = _scaled(above, own) if full is None else _scaled(array, full)
    placed = scaled if place is None else place(scaled)
    return _to_uint8(placed, 255.0), own == 0.0


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
    place: Place | None = None,
    seen: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.uint8]:
    """Show which class is where, in one color each.

    Nothing is mixed where the map is enlarged: a pixel has the color of the nearest value.

    Args:
        classes: int (h, w).
        palette: the colors by class (:func:`class_palette`); all other classes are :data:`OTHER`.
        place: brings a map onto the image; without it the map is drawn as it is.
        seen: bool (H, W), true where the network saw the image; the rest is :data:`UNSEEN`.

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
    if place is not None:
        colors = _nearest(colors, place)
    _check_seen(colors.shape[:2], seen)
    _paint_unseen(colors, seen)
    return colors


def color_scale(colors: str, steps: int = 256) -> npt.NDArray[np.uint8]:
    """List the colors of a scale from its lowest value to its highest, for a legend.

    Args:
        colors: one of :data:`COLORMAPS`, or :data:`DIVERGING`.
        steps: how many, at least 2.

    Returns:
        uint8 (steps, 3), RGB.

    Raises:
        UsageError: an unknown color map.
    """
    levels = np.linspace(0.0, 1.0, steps, dtype=np.float32)[None]
    shown = diverging(2 * levels - 1, full=1.0)[0] if colors == DIVERGING else color(levels, colors)
    return shown.reshape(steps, 3)


def _nearest(colors: npt.NDArray[np.uint8], place: Place) -> npt.NDArray[np.uint8]:
    """Bring colors (h, w, 3) onto the image unmixed.

    Places of a map lie in a straight line: what ``place`` makes of the rows' and columns' numbers
    says where each pixel falls between them.
    """
    placed = place(np.moveaxis(np.indices(colors.shape[:2], np.float32), 0, 2))
    result = np.empty((*placed.shape[:2], 3), np.uint8)
    for band in _bands(result.shape):
        indices = np.floor(placed[band] + np.float32(0.5)).astype(np.intp)
        result[band] = colors[indices[:, :, 0], indices[:, :, 1]]
    return result


def _bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Rows (H, W, ...) a few at a time, so that no working array is of the image's size."""
    rows = max(1, _BAND // max(1, shape[1]))
    return (slice(top, top + rows) for top in range(0, shape[0], rows))


def _paint_unseen(image: npt.NDArray[np.uint8], seen: npt.NDArray[np.bool_] | None) -> None:
    if seen is not None:
        for band in _bands(seen.shape):
            image[band][~seen[band]] = UNSEEN


def _percentile(magnitude: npt.NDArray[np.floating[Any]], percent: float) -> float:
    """The percentile, or the maximum where so few pixels differ from zero that it is zero."""
    if magnitude.size == 0:
        return 0.0
    return float(np.percentile(magnitude, percent)) or float(magnitude.max())


def _divided(array: npt.NDArray[np.floating[Any]], by: float) -> npt.NDArray[np.float32]:
    # In float64: the divisor may be so small that float32 cannot divide by it. What lies very far
    # beyond it is infinite, until it is clipped.
    result = np.empty(array.shape, np.float32)
    with np.errstate(over="ignore"):
        np.divide(array, by, out=result, dtype=np.float64, casting="same_kind")
    return result


def _scaled(array: npt.NDArray[np.floating[Any]], full: float) -> npt.NDArray[np.float32]:
    """The part of ``full``, from -1 to 1; where ``full`` is 0, what differs from 0 is beyond it."""
    if full == 0.0:
        return np.asarray(np.sign(array), np.float32)
    result = _divided(array, full)
    np.clip(result, -1.0, 1.0, out=result)
    return result


@functools.cache  # the same for every image of a run
def _color_table(colormap: str) -> npt.NDArray[np.uint32]:
    levels = np.arange(256, dtype=np.uint8)[:, None]
    entries = cv2.applyColorMap(levels, getattr(cv2, f"COLORMAP_{colormap.upper()}"))[:, 0, ::-1]
    return _interpolated(entries, _STEPS)


@functools.cache
def _diverging_table() -> npt.NDArray[np.uint32]:
    return _interpolated(np.array(_DIVERGING, np.uint8), 32 * _STEPS)


def _interpolated(entries: npt.NDArray[np.uint8], steps: int) -> npt.NDArray[np.uint32]:
    """RGB and a byte of zero, as one number, for 0 to 1 in equal steps, so many an entry."""
    places = np.arange((len(entries) - 1) * steps + 1) / steps
    table = np.zeros((places.size, 4), np.uint8)
    for channel in range(3):
        table[:, channel] = np.rint(np.interp(places, np.arange(len(entries)), entries[:, channel]))
    table.flags.writeable = False
    return table.view(np.uint32)[:, 0]


def _looked_up(
    cam: npt.NDArray[np.floating[Any]], table: npt.NDArray[np.uint32]
) -> npt.NDArray[np.uint8]:
    """RGB (H, W, 3) for values from 0 to 1."""
    steps = np.float32(table.size - 1)
    return _entries(table, (np.clip(cam, 0.0, 1.0) * steps + np.float32(0.5)).astype(np.uint16))


def _entries(
    table: npt.NDArray[np.uint32], indices: npt.NDArray[np.uint16]
) -> npt.NDArray[np.uint8]:
    colors = table[indices].view(np.uint8).reshape(*indices.shape, 4)
    return np.asarray(cv2.cvtColor(colors, cv2.COLOR_RGBA2RGB), np.uint8)


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
        raise MapError(
            "The map holds NaN or infinity: the network overflowed on this image, or its weights "
            "are damaged."
        )
    if non_negative and lowest < 0:
        raise MapError(f"The map goes down to {lowest:g}; it must not be negative.")


def _check_heat(cam: npt.NDArray[np.floating[Any]], seen: npt.NDArray[np.bool_] | None) -> None:
    _check_map(cam, non_negative=True)
    _check_seen(cam.shape, seen)
    # Bilinear weights sum to one only up to rounding.
    if cam.max(initial=0.0) > 1 + 1e-4:
        raise MapError(f"The map goes up to {cam.max():g}; a heatmap takes 0 to 1.")


def _check_seen(shape: tuple[int, ...], seen: npt.NDArray[np.bool_] | None) -> None:
    if seen is not None and seen.shape != shape:
        raise MapError(
            f"The map has shape {shape} and what the network saw {seen.shape}; bring both onto the "
            "image first (preprocessing.to_image)."
        )


def _check_full(full: float | None) -> None:
    if full is not None and not (np.isfinite(full) and full >= 0):
        raise UsageError(f"A map's scale ends at a finite number, 0 or above; got {full}.")
