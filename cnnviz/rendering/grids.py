"""Images in a row or in several, with words beneath, and legends: what makes maps readable."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cnnviz.errors import ImageError
from cnnviz.images.pixels import check_pixels
from cnnviz.rendering.text import PAPER, line_height, readable_size, text_width, wrapped, write_line
from cnnviz.types import Color, RgbImage

_OUTLINE = 128
_USUAL_ASPECT = 4 / 3  # width to height: what most images, screens and pages come near to
_SCALE_LINES = 3  # a label of a scale has no more


def strip(cells: Sequence[RgbImage], captions: Sequence[str]) -> RgbImage:
    """Put images of one height side by side, a caption under each.

    No pixel of an image is changed; one that is too narrow for words stands in the middle of a
    wider column. Letters grow with the images and with the width of the whole, so that they can
    be read when it is shown on a screen. A caption that is too long loses its middle.

    Args:
        cells: uint8 (H, W, 3) RGB or (H, W), at least one; widths may differ.
        captions: one for each, of one line.

    Returns:
        uint8, (height, width, 3), RGB on white.

    Raises:
        ImageError: no images, images of several heights, or not one caption for each.
    """
    _check_cells("strip", cells, captions)
    height = cells[0].shape[0]
    if any(cell.shape[0] != height for cell in cells):
        heights = ", ".join(str(cell.shape[0]) for cell in cells)
        raise ImageError(f"Images of a strip have the same height; got {heights}.")

    narrowest = min(cell.shape[1] for cell in cells)
    total = sum(cell.shape[1] for cell in cells)
    size = readable_size(min(max(0.045 * height, total / 100), narrowest / 16))
    gap = math.ceil(size / 3)
    widths = [max(cell.shape[1], 14 * size) for cell in cells]
    canvas = paper(height + gap + line_height(size), sum(widths) + gap * (len(cells) - 1))
    left = 0
    for cell, caption, width in zip(cells, captions, widths, strict=True):
        lay(canvas, cell, 0, left + (width - cell.shape[1]) // 2)
        write_line(canvas, caption, size, height + gap // 2, left, width, align=0.5)
        left += width + gap
    return canvas


def grid(cells: Sequence[RgbImage], captions: Sequence[str], title: str = "") -> RgbImage:
    """Put images of one size in rows, a caption under each, so that a usual aspect comes out.

    They are read as text is: along the first row, then the next. No pixel of an image is changed;
    narrow ones stand in the middle of columns that are wide enough for words. Letters grow with the
    images and with the width of the whole.

    Args:
        cells: uint8 (H, W, 3) RGB or (H, W), at least one, all of the same height and width.
        captions: one for each, in as many lines as it needs; a word that is too long for the
            column loses its middle.
        title: above them, in as many lines as it needs.

    Returns:
        uint8, (height, width, 3), RGB on white.

    Raises:
        ImageError: no images, images of several sizes, or not one caption for each.
    """
    _check_cells("grid", cells, captions)
    height, width = cells[0].shape[:2]
    if any(cell.shape[:2] != (height, width) for cell in cells):
        sizes = ", ".join(sorted({f"{cell.shape[0]}x{cell.shape[1]}" for cell in cells}))
        raise ImageError(f"Images of a grid have the same size; got {sizes}.")

    sheet = min(
        (
            _Sheet.of(height, width, tuple(captions), columns)
            for columns in range(1, len(cells) + 1)
        ),
        key=lambda sheet: _unwieldy(sheet.shape),
    )
    size, room = max(sheet.size, heading_size(sheet.shape)), sheet.shape[1] - 2 * sheet.gap
    heading = wrapped(title, size, room)
    above = len(heading) * line_height(size) + (sheet.gap if heading else 0)
    canvas = paper(above + sheet.shape[0], sheet.shape[1])
    for number, text in enumerate(heading):
        write_line(canvas, text, size, sheet.gap // 2 + number * line_height(size), sheet.gap, room)
    for number, (cell, caption) in enumerate(zip(cells, captions, strict=True)):
        row, column = divmod(number, sheet.columns)
        top = above + row * (sheet.row + sheet.gap)
        left = column * (sheet.column + sheet.gap)
        lay(canvas, cell, top, left + (sheet.column - width) // 2)
        for line, text in enumerate(wrapped(caption, sheet.size, sheet.column)):
            below = top + height + sheet.gap // 2 + line * line_height(sheet.size)
            write_line(canvas, text, sheet.size, below, left, sheet.column, align=0.5)
    return canvas


def with_legend(image: RgbImage, entries: Sequence[tuple[Color, str]], title: str = "") -> RgbImage:
    """Add a legend of colors, at the right or below: what makes a small sheet of a usual aspect.

    The image stays in the upper left corner, unchanged.

    Args:
        image: uint8 (H, W, 3) RGB or (H, W).
        entries: colors and what they stand for, in order; a long text loses its middle.
        title: above them, in as many lines as it needs.

    Returns:
        uint8, (height, width, 3), RGB on white.

    Raises:
        ImageError: ``image`` is not one.
    """
    check_pixels(image, gray=True)
    height, width = image.shape[:2]
    size = readable_size(0.028 * math.sqrt(height * width))
    line, pad = line_height(size), size // 2
    swatch = size + pad
    longest = swatch + max((text_width(text, size) for _, text in entries), default=0)

    least = min(longest, 20 * size)  # of a column: wide enough for most names
    column = min(max(longest, text_width(title, size)), 28 * size)
    rows, heading = len(entries), wrapped(title, size, column)
    beside = (max(height, (rows + len(heading)) * line + 2 * pad), width + column + 2 * pad)
    wide = max(width, least + 2 * pad)
    columns = max(1, (wide - pad) // (least + pad))
    rows_below, heading_below = math.ceil(rows / columns), wrapped(title, size, wide - 2 * pad)
    below = (height + (rows_below + len(heading_below)) * line + 2 * pad, wide)
    if _unwieldy(beside) < _unwieldy(below):
        canvas = paper(*beside)
        top, left = pad, width + pad
    else:
        canvas = paper(*below)
        top, left, rows, heading = height + pad, pad, rows_below, heading_below
        column = (wide - pad) // columns - pad
    lay(canvas, image, 0, 0)
    for words in heading:
        write_line(canvas, words, size, top, left, canvas.shape[1] - left - pad)
        top += line
    for number, (color, text) in enumerate(entries):
        x = left + number // rows * (column + pad)
        y = top + number % rows * line
        _swatch(canvas, color, size, y + (line - size) // 2, x)
        write_line(canvas, text, size, y, x + swatch, column - swatch)
    return canvas


def heading_size(shape: Sequence[int]) -> int:
    """The size of letters, in pixels, that suits what is said of a whole sheet of (H, W, ...)."""
    return readable_size(0.018 * math.sqrt(shape[0] * shape[1]))


def with_scale(
    image: RgbImage,
    colors: npt.NDArray[np.uint8],
    labels: Sequence[str],
    title: str = "",
    size: int | None = None,
) -> RgbImage:
    """Add a bar of colors below an image, with the values that they stand for.

    The image stays in the upper left corner, unchanged.

    Args:
        image: uint8 (H, W, 3) RGB or (H, W).
        colors: uint8 (n, 3), from the lowest value to the highest
            (:func:`cnnviz.rendering.colormaps.color_scale`).
        labels: at least two, of values in equal steps from the lowest to the highest; one that is
            too long for its part of the bar takes up to three lines.
        title: above the bar, in as many lines as it needs: what the values are.
        size: of the letters, in pixels; by default they grow with the image.

    Returns:
        uint8, (height, width, 3), RGB on white.

    Raises:
        ImageError: ``image`` is not one, no colors, or fewer than two labels.
    """
    check_pixels(image, gray=True)
    if colors.ndim != 2 or colors.shape[1] != 3 or len(colors) == 0 or len(labels) < 2:
        raise ImageError(
            "A scale has colors of shape (n, 3) and at least two labels; got shape "
            f"{colors.shape} and {len(labels)} labels."
        )
    height, width = image.shape[:2]
    size = readable_size(0.028 * math.sqrt(height * width)) if size is None else readable_size(size)
    line, pad = line_height(size), size // 2
    wide = max(width, 12 * size)
    bar = wide - 2 * pad
    heading = wrapped(title, size, bar)
    step = bar // (len(labels) - 1)
    ends = (0, len(labels) - 1)
    # Room for half a step to both sides, but none beyond the ends of the bar; a space between.
    rooms = [
        max(1, (step // 2 if number in ends else step) - size // 2) for number in range(len(labels))
    ]
    texts = [
        wrapped(label, size, room, _SCALE_LINES) for label, room in zip(labels, rooms, strict=True)
    ]
    lines = 1 + len(heading) + max(1, *map(len, texts))
    canvas = paper(height + pad + line * lines, wide)
    lay(canvas, image, 0, 0)
    top = height + pad
    for words in heading:
        write_line(canvas, words, size, top, pad, bar)
        top += line
    nearest = ((np.arange(bar) + 0.5) * len(colors) / bar).astype(np.intp)
    canvas[top : top + size, pad : pad + bar] = colors[nearest]
    for number, (text, room) in enumerate(zip(texts, rooms, strict=True)):
        share = number / (len(labels) - 1)
        align = share if number in ends else 0.5
        left = pad + round(share * bar) - round(align * room)
        for below, words in enumerate(text):
            write_line(canvas, words, size, top + size + below * line, left, room, align=align)
    return canvas


class _Sheet(NamedTuple):
    """How a grid is laid out, without its title; all in pixels but the number of columns."""

    columns: int
    size: int  # of the letters
    gap: int
    column: int  # width of one
    row: int  # height of an image with the lines below it
    shape: tuple[int, int]

    @classmethod
    def of(cls, height: int, width: int, captions: tuple[str, ...], columns: int) -> _Sheet:
        """The sheet for images of (height, width) in this many columns."""
        size = readable_size(min(max(0.045 * height, columns * width / 100), width / 16))
        gap = math.ceil(size / 2)
        column, lines = _captioned(captions, size, width)
        row = height + (gap // 2 + lines * line_height(size) if lines else 0)
        rows = math.ceil(len(captions) / columns)
        shape = (rows * (row + gap), columns * (column + gap) - gap)
        return cls(columns, size, gap, column, row, shape)


@functools.lru_cache(maxsize=64)  # asked again for every number of columns
def _captioned(captions: tuple[str, ...], size: int, width: int) -> tuple[int, int]:
    """The width of a column for images with captions, and how many lines the longest takes."""
    column = max(width, min(18 * size, max(text_width(caption, size) for caption in captions)))
    return column, max(len(wrapped(caption, size, column)) for caption in captions)


def _check_cells(kind: str, cells: Sequence[RgbImage], captions: Sequence[str]) -> None:
    if not cells or len(cells) != len(captions):
        raise ImageError(
            f"A {kind} has one caption for each of its images, and at least one image; got "
            f"{len(cells)} images and {len(captions)} captions."
        )
    for cell in cells:
        check_pixels(cell, gray=True)


def paper(height: int, width: int) -> RgbImage:
    """A white sheet, uint8 (height, width, 3)."""
    return np.full((height, width, 3), PAPER, np.uint8)


def lay(canvas: RgbImage, image: RgbImage, top: int, left: int) -> None:
    """Put an image, in color or in gray, on a sheet."""
    height, width = image.shape[:2]
    rgb = image if image.ndim == 3 else image[:, :, None]
    canvas[top : top + height, left : left + width] = rgb


def _swatch(canvas: RgbImage, color: Color, size: int, top: int, left: int) -> None:
    edge = max(1, size // 16)
    canvas[top : top + size, left : left + size] = _OUTLINE
    canvas[top + edge : top + size - edge, left + edge : left + size - edge] = color


def _unwieldy(shape: tuple[int, int]) -> float:
    """Of two sheets (height, width) the smaller and the more usual in aspect has less."""
    return math.log(shape[0] * shape[1]) + abs(math.log(shape[1] / shape[0] / _USUAL_ASPECT))
