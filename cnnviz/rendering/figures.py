"""Figures for a person: all that was found out about one image, and why one class, not another.

Arrays in, images out. Maps are laid over a :class:`cnnviz.images.preprocessing.Canvas`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from cnnviz.errors import ImageError, MapError
from cnnviz.images.pixels import check_pixels
from cnnviz.images.preprocessing import Canvas, to_image
from cnnviz.images.resizing import resize_image
from cnnviz.rendering import grids
from cnnviz.rendering.colormaps import DIVERGING, color_scale
from cnnviz.rendering.maps import (
    UNSEEN_BRIGHTNESS,
    diverging,
    normalize_by_max,
    render_heatmap,
    scale_limit,
)
from cnnviz.rendering.style import SCREEN_WIDTH, Style
from cnnviz.rendering.text import (
    SMALLEST_TEXT,
    line_height,
    readable_size,
    wrapped,
    write_line,
)
from cnnviz.types import Float32, RgbImage

_COLUMN = 14  # a column's least width, in sizes of its letters: enough for most words
_LINES = 3  # a caption has no more
_TITLE_LINES = 5
_FADED = 0.45  # of an image's gray, under the colors of a difference


class Cell(NamedTuple):
    """One image of a figure.

    Attributes:
        image: uint8 (H, W, 3) RGB or (H, W).
        caption: what it is, in a few words.
    """

    image: RgbImage
    caption: str


@dataclass(frozen=True)
class ContrastedClass:
    """One of the two classes of a contrast.

    Attributes:
        cam: (h, w) float32, at least 0: its class activation map, unnormalized.
        title: its name and what the network says of it, ``volcano (980) 0.22``.
        short_name: its name where there is little room.
    """

    cam: Float32
    title: str
    short_name: str


# --- a panel -------------------------------------------------------------------------------------


def panel(title: str, cells: Sequence[Sequence[Cell]], max_width: int | None = None) -> RgbImage:
    """Put images in rows and columns, a caption above each and a title above all.

    Captions stand above, as in the tutorial: what follows an image below, a scale or a legend,
    would part it from its caption, and the images of a row begin at one height. No pixel is
    changed unless the whole has to be reduced; then all images are, by one factor, and letters
    are as large as those of a figure of that size. A caption has at most three lines; a longer one
    loses its middle.

    Args:
        title: above all, in up to five lines; may be empty.
        cells: the rows from above, each of at least one image; rows may differ in length and
            images in size.
        max_width: the width in pixels that the whole does not exceed, in so far as words allow it:
            a column is at least 182 wide, and a row of more columns than that is broken.
            :data:`SCREEN_WIDTH` suits a screen; None reduces nothing.

    Returns:
        uint8, (height, width, 3), RGB on white.

    Raises:
        ImageError: no images, an empty row, or something that is no image.
    """
    rows = [list(row) for row in cells]
    if not rows or not all(rows):
        raise ImageError(
            "A panel has rows of at least one image; got rows of "
            f"{', '.join(str(len(row)) for row in rows) or 'none'}."
        )
    for row in rows:
        for cell in row:
            check_pixels(cell.image, gray=True)
    if max_width is not None:
        most = _most_columns(max_width)
        rows = [part for row in rows for part in _parts(row, most)]
        rows = _reduced(rows, max_width)

    plan = _Plan.of([[cell.image.shape[:2] for cell in row] for row in rows])
    line, pad = line_height(plan.size), math.ceil(plan.size / 4)
    captions = [
        [
            wrapped(cell.caption, plan.size, width, _LINES)
            for cell, width in zip(row, plan.columns, strict=False)
        ]
        for row in rows
    ]
    above = [line * max(map(len, row)) + (pad if any(row) else 0) for row in captions]
    below = [max(cell.image.shape[0] for cell in row) for row in rows]
    between = 2 * plan.gap
    height = sum(above) + sum(below) + between * (len(rows) - 1)

    size = max(round(1.25 * plan.size), grids.heading_size((height, plan.width)))
    heading = wrapped(title, size, plan.width - 2 * pad, _TITLE_LINES)
    top = line_height(size) * len(heading) + (pad if heading else 0)
    canvas = grids.paper(top + height, plan.width)
    for number, words in enumerate(heading):
        y = number * line_height(size)
        write_line(canvas, words, size, y, pad, plan.width - 2 * pad, align=0.5)
    for row, texts, room, deep in zip(rows, captions, above, below, strict=True):
        left = 0
        for cell, lines, width in zip(row, texts, plan.columns, strict=False):
            y = top + room - pad - line * len(lines)  # they end right above the image
            for number, words in enumerate(lines):
                write_line(canvas, words, plan.size, y + number * line, left, width, align=0.5)
            beside = (width - cell.image.shape[1]) // 2
            grids.lay(canvas, cell.image, top + room, left + beside)
            left += width + plan.gap
        top += room + deep + between
    return canvas


def fitted(shape: tuple[int, int], columns: int, max_width: int = SCREEN_WIDTH) -> tuple[int, int]:
    """The (h, w) at which that many images of (H, W) fit side by side into ``max_width``.

    For an image with words in it, a legend, say: rendered at this size it can be read, reduced to
    it it cannot.
    """
    row = [[shape] * min(columns, _most_columns(max_width))]
    factor = _factor(row, max_width)
    return _scaled(shape, factor)


class _Plan(NamedTuple):
    """Where columns lie, all in pixels."""

    size: int  # of the letters
    gap: int
    columns: list[int]

    @property
    def width(self) -> int:
        return sum(self.columns) + self.gap * (len(self.columns) - 1)

    @classmethod
    def of(cls, rows: Sequence[Sequence[tuple[int, ...]]]) -> _Plan:
        """For rows of images with these shapes."""
        count = max(map(len, rows))
        widths = [max(row[i][1] for row in rows if i < len(row)) for i in range(count)]
        lowest = min(shape[0] for row in rows for shape in row)
        size = readable_size(min(max(0.045 * lowest, sum(widths) / 100), min(widths) / 16))
        return cls(size, math.ceil(size / 3), [max(width, _COLUMN * size) for width in widths])


def _most_columns(max_width: int) -> int:
    """How many columns of the least width fit, at least one."""
    least, gap = _COLUMN * SMALLEST_TEXT, math.ceil(SMALLEST_TEXT / 3)
    return max(1, (max_width + gap) // (least + gap))


def _parts(row: list[Cell], most: int) -> list[list[Cell]]:
    """As few rows as have no more than ``most``, and as equal."""
    length = math.ceil(len(row) / math.ceil(len(row) / most))
    return [row[i : i + length] for i in range(0, len(row), length)]


def _factor(rows: Sequence[Sequence[tuple[int, ...]]], max_width: int) -> float:
    """What all images are multiplied by, at most 1, for the whole to be no wider."""
    max_width = max(max_width, _COLUMN * SMALLEST_TEXT)
    if _Plan.of(rows).width <= max_width:
        return 1.0
    fits, too_wide = 0.0, 1.0
    for _ in range(24):  # until it is exact to a pixel
        middle = (fits + too_wide) / 2
        if _Plan.of([[_scaled(shape, middle) for shape in row] for row in rows]).width <= max_width:
            fits = middle
        else:
            too_wide = middle
    return fits


def _scaled(shape: Sequence[int], factor: float) -> tuple[int, int]:
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def _reduced(rows: list[list[Cell]], max_width: int) -> list[list[Cell]]:
    factor = _factor([[cell.image.shape[:2] for cell in row] for row in rows], max_width)
    if factor == 1.0:
        return rows
    return [
        [
            Cell(resize_image(cell.image, _scaled(cell.image.shape, factor)), cell.caption)
            for cell in row
        ]
        for row in rows
    ]


# --- a contrast ----------------------------------------------------------------------------------


def contrast(
    base: Canvas, a: ContrastedClass, b: ContrastedClass, difference: Float32, style: Style
) -> RgbImage:
    """Show why a network predicts one class rather than another.

    Side by side: the image, the map of a, the difference, the map of b. Both maps have one scale,
    that of the stronger. The difference has its own: red is evidence for a, blue for b, up to the
    99.5th percentile of its magnitudes; it lies over the image in faded gray, so that white is
    evidence for neither.

    Args:
        base: the image beneath the maps.
        a: the class whose evidence is red.
        b: the class whose evidence is blue.
        difference: (h, w) float32, above 0 where there is more evidence for a; of maps without
            their ReLU.
        style: colors of the classes' maps; whether all maps lie over the image. Where no size was
            asked for, images are reduced until the whole fits a screen.

    Returns:
        uint8, (height, width, 3), RGB on white.

    Raises:
        MapError: the maps are not (h, w) of one shape, hold NaN or infinity, or a class's map
            is negative somewhere.
    """
    shapes = a.cam.shape, b.cam.shape, difference.shape
    if difference.ndim != 2 or len(set(shapes)) > 1:
        raise MapError(
            "The maps of a contrast have one shape (h, w); got "
            f"{', '.join(str(shape) for shape in shapes)}."
        )
    limit = style.max_width
    shape = base.shape if limit is None else fitted(base.shape, 4, limit)
    base = Canvas(resize_image(base.image, shape), base.geometry)
    vmax = max(scale_limit("heat", one.cam) for one in (a, b))
    shown, captions, blanks = [], [], []
    for one in (a, b):
        upsampled, visible = to_image(one.cam, base.geometry, base.shape)
        heatmap, blank = normalize_by_max(upsampled, vmax)
        shown.append(render_heatmap(base.image, heatmap, style, visible))
        captions.append(f"Grad-CAM for {one.short_name}{': blank' if blank else ''}")
        blanks.append(blank)
    if not any(blanks):
        captions[1] += ", on the same scale"
    signed, blank = _signed(base, difference, overlay=style.overlay)
    plan = _Plan.of([[base.shape] * 4])
    wide = grids.paper(base.shape[0], plan.columns[2])  # so that the scale has a column's width
    grids.lay(wide, signed, 0, (wide.shape[1] - base.shape[1]) // 2)
    scaled = grids.with_scale(
        wide,
        color_scale(DIVERGING),
        [f"for {one.short_name}" for one in (b, a)],
        size=plan.size,
    )
    return panel(
        f"{a.title}, rather than {b.title}",
        [
            [
                Cell(base.image, "the image"),
                Cell(shown[0], captions[0]),
                Cell(scaled, f"the difference{': none' if blank else ''}"),
                Cell(shown[1], captions[1]),
            ]
        ],
    )


def _signed(base: Canvas, difference: Float32, *, overlay: bool) -> tuple[RgbImage, bool]:
    """The difference in its colors, over the image in faded gray, and whether there is none."""

    def upsample(values: Float32) -> Float32:
        return to_image(values, base.geometry, base.shape)[0]

    visible = to_image(difference, base.geometry, base.shape)[1]
    colors, blank = diverging(difference, upsample, visible=visible)
    if not overlay:
        return colors, blank
    gray = cv2.cvtColor(base.image, cv2.COLOR_RGB2GRAY)
    # Colors like ink on a faded print: on white they are those of the scale.
    faded = cv2.convertScaleAbs(gray, alpha=_FADED, beta=255 * (1 - _FADED))
    ground = cv2.cvtColor(faded, cv2.COLOR_GRAY2RGB)
    result = np.asarray(cv2.multiply(colors, ground, scale=1 / 255), np.uint8)
    dark = cv2.convertScaleAbs(gray, alpha=UNSEEN_BRIGHTNESS)
    result[~visible] = dark[~visible][:, None]
    return result, blank
