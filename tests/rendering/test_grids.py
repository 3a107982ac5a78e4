"""Images and words on one sheet: what lies where, whatever the font looks like."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cnnviz.errors import ImageError
from cnnviz.rendering import grids
from cnnviz.rendering.text import line_height, text_width, wrapped

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)


def plain(height, width, color=GREEN):
    return np.full((height, width, 3), color, np.uint8)


def noise(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def ink(area):
    """Top, bottom, left and right of what is darker than paper; bottom and right are one past."""
    dark = (area < 128).all(axis=2)
    rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


# --- a strip -------------------------------------------------------------------------------------


def test_images_stand_side_by_side_unchanged():
    cells = [noise(200, 300), noise(200, 250), np.full((200, 260), 77, np.uint8)]

    result = grids.strip(cells, ["one", "two", "gray"])

    gap = (result.shape[1] - 810) // 2
    assert 0 < gap <= 10
    left = 0
    for cell in cells:
        width = cell.shape[1]
        shown = result[:200, left : left + width]
        assert (shown == (cell if cell.ndim == 3 else cell[:, :, None])).all()
        assert (result[:200, left + width : left + width + gap] == 255).all()
        left += width + gap


def test_captions_stand_under_the_middle_of_their_images():
    result = grids.strip([plain(200, 300), plain(200, 300)], ["mm", "conv5_3 512x14x14"])

    gap = result.shape[1] - 600
    for left in (0, 300 + gap):
        _, _, first, last = ink(result[200:, left : left + 300])
        assert abs((first + last) / 2 - 150) <= 2  # letters have a little space beside them
    assert (result[200:, 300 : 300 + gap] == 255).all()


def test_without_words_there_is_no_ink():
    result = grids.strip([plain(60, 300)], [""])

    assert (result[60:] == 255).all()


def test_letters_grow_with_the_images():
    """A strip twice as large is read from twice as far."""
    heights = []
    for factor in (1, 2, 4):
        result = grids.strip([plain(300 * factor, 400 * factor)] * 4, ["HHH"] * 4)
        top, bottom, *_ = ink(result[300 * factor :, : 400 * factor])
        heights.append(bottom - top)

    assert heights[0] >= 9  # the least that is read with ease
    assert heights[1] == pytest.approx(2 * heights[0], abs=2)
    assert heights[2] == pytest.approx(4 * heights[0], abs=4)


def test_a_tiny_image_stands_in_a_column_with_room_for_words():
    cell = noise(32, 32)

    result = grids.strip([cell, cell], ["stage1 16x32x32", "stage2 32x16x16"])

    column = result.shape[1] // 2
    assert column > 100
    left = [i for i in range(column) if (result[:32, i : i + 32] == cell).all()]
    assert len(left) == 1
    assert abs(left[0] + 16 - column / 2) <= 5
    *_, first, last = ink(result[32:, :column])
    assert last - first > 80  # not shortened


def test_no_caption_runs_into_its_neighbor():
    name = "features.7.a_very_long_branch_name.of_a_concatenation.expand3x3  512x14x14"
    result = grids.strip([plain(100, 300)] * 2, [name, ""])

    assert (result[100:, 300:] == 255).all()
    _, _, first, last = ink(result[100:, :300])
    assert last - first > 270  # as much as fits
    shape = grids.strip([plain(100, 300)], ["14"])
    # what stands at the end is the end of the text
    *_, left, right = ink(shape[100:])
    assert (result[100:, last - (right - left) : last] == shape[100:, left:right]).mean() > 0.95


@pytest.mark.parametrize(
    ("cells", "captions", "problem"),
    [
        ([], [], "0 images and 0 captions"),
        ([plain(4, 4)], ["a", "b"], "1 images and 2 captions"),
        ([plain(4, 4), plain(5, 4)], ["a", "b"], "same height; got 4, 5"),
        ([np.zeros((4, 4, 3))], ["a"], r"float64 of shape \(4, 4, 3\)"),
        ([np.zeros((4, 4, 4), np.uint8)], ["a"], r"\(4, 4, 4\)"),
        ([np.zeros((0, 4, 3), np.uint8)], ["a"], r"\(0, 4, 3\)"),
    ],
)
def test_a_strip_says_what_is_wrong(cells, captions, problem):
    with pytest.raises(ImageError, match=problem):
        grids.strip(cells, captions)


# --- a grid --------------------------------------------------------------------------------------


def corners(sheet, cells):
    """Top and left of each image, found by its pixels."""
    found = []
    for cell in cells:
        height, width = cell.shape[:2]
        rgb = cell if cell.ndim == 3 else np.repeat(cell[:, :, None], 3, axis=2)
        inside = sheet[: sheet.shape[0] - height + 1, : sheet.shape[1] - width + 1]
        found += [
            (int(top), int(left))
            for top, left in np.argwhere((inside == rgb[0, 0]).all(axis=2))
            if (sheet[top : top + height, left : left + width] == rgb).all()
        ]
    return found


def test_a_grid_is_read_like_text_and_changes_no_pixel():
    """Twelve images, nearly square with their captions: four columns come closest to 4:3."""
    cells = [
        np.random.default_rng(seed).integers(0, 256, (90, 100, 3), np.uint8) for seed in range(11)
    ]
    cells.append(np.random.default_rng(11).integers(0, 256, (90, 100), np.uint8))

    sheet = grids.grid(cells, [f"number {i}" for i in range(12)], "twelve")

    found = corners(sheet, cells)
    tops = sorted({top for top, _ in found})
    lefts = sorted({left for _, left in found})
    assert (len(tops), len(lefts)) == (3, 4)
    assert found == [(top, left) for top in tops for left in lefts]
    ink(sheet[: tops[0]])  # the title; without ink this fails
    for top, left in found:  # a caption below each
        ink(sheet[top + 90 : top + 110, left : left + 100])


def test_the_columns_of_a_grid_suit_the_images_shape():
    """Eight wide images stand in few columns, eight high ones in many."""
    columns = []
    for shape in ((20, 600), (100, 100), (600, 100)):
        cells = [
            np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8) for seed in range(8)
        ]
        columns.append(len({left for _, left in corners(grids.grid(cells, [""] * 8), cells)}))

    assert columns[0] == 1
    assert columns[1] in (3, 4)
    assert columns[2] == 8


def test_captions_of_a_grid_stand_below_the_middle_and_take_several_lines():
    cell = noise(100, 120)
    short = grids.grid([cell], ["mm"])
    long = grids.grid([cell], ["one two three four five six seven eight nine"])

    *_, first, last = ink(short[100:])
    assert abs((first + last) / 2 - 60) <= 2
    # The column grows to 18 letters' heights, 234 pixels; the words take two lines of 20 there.
    assert (short.shape[1], long.shape[1]) == (120, 234)
    assert long.shape[0] - short.shape[0] == 20


def test_tiny_images_of_a_grid_get_columns_as_wide_as_their_captions():
    cells = [np.full((9, 9, 3), (200, 0, number), np.uint8) for number in range(4)]
    short = grids.grid(cells, ["1"] * 4)
    long = grids.grid(cells, ["37: norm 1.23"] * 4)

    assert long.shape[1] > short.shape[1]
    assert long.shape[0] < 4 * (9 + 30)  # none is wrapped
    assert len(corners(long, cells)) == 4


def test_the_title_of_a_grid_is_wrapped_not_cut():
    cells = [noise(60, 150)]
    title = " ".join(["word"] * 30)
    plain_sheet, sheet = grids.grid(cells, [""]), grids.grid(cells, [""], title)

    assert sheet.shape[1] == plain_sheet.shape[1] == 150
    assert sheet.shape[0] - plain_sheet.shape[0] > 5 * 20  # at most six words of 25 pixels a line


@pytest.mark.parametrize(
    ("cells", "captions", "reason"),
    [
        ([], [], "at least one image"),
        ([plain(9, 9)], ["a", "b"], "1 images and 2 captions"),
        ([plain(9, 9), plain(9, 8)], ["a", "b"], "9x8, 9x9"),
        ([plain(9, 9).astype(float)], ["a"], "uint8"),
    ],
)
def test_what_makes_no_grid_is_refused(cells, captions, reason):
    with pytest.raises(ImageError, match=reason):
        grids.grid(cells, captions)


# --- legends -------------------------------------------------------------------------------------


def places(image, color):
    rows, columns = np.nonzero((image == color).all(axis=2))
    return rows, columns


@pytest.mark.parametrize("shape", [(300, 500), (500, 300), (400, 400), (30, 40), (50, 900)])
def test_a_legend_shows_every_color_once_in_order(shape):
    image = noise(*shape)
    image[image == 200] = 199  # none of the legend's own colors
    entries = [(RED, "tabby, tabby cat (281): 37"), (GREEN, "lynx"), (BLUE, "other")]

    result = grids.with_legend(image, entries, "Classes")

    assert (result[: shape[0], : shape[1]] == image).all()
    areas, corners = [], []
    for color, _ in entries:
        rows, columns = places(result, color)
        areas.append(len(rows))
        corners.append((rows[0], columns[0]))
        assert rows.max() - rows.min() == columns.max() - columns.min()  # a square
        assert len(rows) == (rows.max() - rows.min() + 1) ** 2
        # its words stand right of it
        *_, left, _ = ink(result[rows.min() : rows.max(), columns.max() + 3 :])
        assert left < 2 * (rows.max() - rows.min())
    assert len(set(areas)) == 1
    assert areas[0] >= 100
    assert corners == sorted(corners, key=lambda corner: (corner[1], corner[0]))


def test_a_legend_stands_beside_what_is_high_and_below_what_is_wide():
    entries = [(RED, "tabby"), (GREEN, "lynx")]

    tall = grids.with_legend(plain(500, 300), entries)
    wide = grids.with_legend(plain(300, 900), entries)

    assert tall.shape[0] == 500
    assert tall.shape[1] > 300
    assert wide.shape[1] == 900
    assert wide.shape[0] > 300


def test_a_wide_image_has_its_legend_in_columns():
    entries = [((10 * i, 0, 200), f"class {i}") for i in range(12)]

    result = grids.with_legend(plain(100, 1600), entries)

    lefts = sorted({places(result, color)[1].min() for color, _ in entries})
    assert len(lefts) > 2
    assert result.shape[0] < 300
    steps = np.diff(lefts)
    assert steps.min() == steps.max()  # in equal steps


def test_long_names_of_classes_keep_their_number():
    name = "a name that goes on and on " * 20
    short = grids.with_legend(plain(300, 900), [(RED, f"{name}(281): 37")])
    other = grids.with_legend(plain(300, 900), [(RED, f"{name}(281): 38")])

    assert short.shape == other.shape
    assert short.shape[1] == 900
    different = np.nonzero((short != other).any(axis=(0, 2)))[0]
    assert len(different) > 0  # the last digit


def test_a_legend_may_have_neither_title_nor_entries():
    image = plain(40, 60)

    result = grids.with_legend(image, [])

    assert (result[:40, :60] == image).all()
    with pytest.raises(ImageError, match="uint8"):
        grids.with_legend(np.zeros((4, 5)), [])


# --- a scale of colors --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(300, 500), (40, 30), (300, 501)])
def test_a_scale_goes_from_left_to_right_in_all_its_colors(shape):
    colors = np.zeros((100, 3), np.uint8)
    colors[:, 0] = np.arange(100) + 100  # red tells where on the scale a column is
    image = noise(*shape)

    result = grids.with_scale(image, colors, ["0", "1"])

    assert (result[: shape[0], : shape[1]] == image).all()
    below = result[shape[0] :]
    bar = (below[:, :, 0] >= 100) & (below[:, :, 1:] == 0).all(axis=2)
    rows, columns = np.nonzero(bar)
    assert bar[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
    reds = below[rows.min(), columns.min() : columns.max() + 1, 0].astype(int)
    width = len(reds)
    expected = 100 + ((np.arange(width) + 0.5) / width * 100).astype(int)
    assert (reds == expected).all()
    assert columns.min() == result.shape[1] - 1 - columns.max()  # as far from both sides


def test_labels_stand_under_their_values():
    colors = np.full((9, 3), 200, np.uint8)

    result = grids.with_scale(plain(300, 500), colors, ["H", "H", "H"], "")

    bar = np.nonzero((result[300:] == 200).all(axis=2))
    first, last, foot = bar[1].min(), bar[1].max() + 1, 300 + bar[0].max() + 1
    dark = (result[foot:] < 128).all(axis=2).any(axis=0)
    strokes = np.flatnonzero(np.diff(dark.astype(int))) + 1  # where they begin and end
    assert abs(strokes[0] - first) <= 3  # the first begins where the bar begins
    assert abs(strokes[-1] - last) <= 3  # the last ends where it ends
    middle = [edge for edge in strokes if first + 50 < edge < last - 50]
    assert abs((middle[0] + middle[-1]) / 2 - (first + last) / 2) <= 2


def test_a_title_stands_above_the_scale():
    colors = np.full((9, 3), 200, np.uint8)
    image = plain(300, 500)

    bare = grids.with_scale(image, colors, ["", ""])
    titled = grids.with_scale(image, colors, ["", ""], "probability")

    more = titled.shape[0] - bare.shape[0]
    assert more > 0
    scale = np.nonzero((titled[300:] == 200).all(axis=2))[0].min()
    top, bottom, *_ = ink(titled[300:])
    assert 0 < top < bottom <= scale


def test_a_long_title_takes_several_lines():
    colors = np.full((9, 3), 201, np.uint8)
    words = "probability of tabby, tabby cat (281) while the window hides this part"
    image = plain(200, 200)

    for draw in (
        lambda title: grids.with_scale(image, colors, ["", ""], title),
        lambda title: grids.with_legend(plain(200, 700), [(RED, "")] * 3, title * 3),
    ):
        one, several = draw("word"), draw(words)
        assert several.shape[1] == one.shape[1]
        line = draw("word").shape[0] - draw("").shape[0]
        more = several.shape[0] - one.shape[0]
        assert more >= line
        assert more % line == 0

    lines = wrapped(words, 16, 200)
    assert " ".join(lines) == words
    assert all(text_width(line, 16) <= 200 for line in lines)
    # no word would have fitted into the line before
    for line, following in itertools.pairwise(lines):
        assert text_width(f"{line} {following.split()[0]}", 16) > 200


def test_a_scale_says_what_is_wrong():
    with pytest.raises(ImageError, match=r"\(4, 2\) and 2 labels"):
        grids.with_scale(plain(4, 4), np.zeros((4, 2), np.uint8), ["0", "1"])
    with pytest.raises(ImageError, match=r"\(4, 3\) and 1 labels"):
        grids.with_scale(plain(4, 4), np.zeros((4, 3), np.uint8), ["0"])
    with pytest.raises(ImageError, match="uint8"):
        grids.with_scale(np.zeros((4, 5)), np.zeros((4, 3), np.uint8), ["0", "1"])


def test_letters_of_a_scale_can_be_given_a_size():
    """Beside a sheet of small letters its own would be out of place."""
    white = np.full((2, 3), 255, np.uint8)  # a bar without ink
    heights = []
    for size in (None, 40, 20):
        sheet = grids.with_scale(plain(900, 1200), white, ["H", "H"], size=size)
        top, bottom, *_ = ink(sheet[900:])
        heights.append(bottom - top)

    assert heights[1] == pytest.approx(2 * heights[2], abs=2)
    assert heights[2] < heights[0]  # 0.028 of the square root of the area is 29 pixels


def test_long_labels_of_a_scale_take_lines_of_their_own_and_do_not_meet():
    colors = np.full((4, 3), 200, np.uint8)
    long = ["for black-footed ferret (359)", "for loggerhead turtle (33)"]

    result = grids.with_scale(plain(100, 240), colors, long, size=13)

    short = grids.with_scale(plain(100, 240), colors, ["a", "b"], size=13)
    assert result.shape[0] == short.shape[0] + line_height(13)
    labels = result[-2 * line_height(13) :]
    assert (labels[:, 117:123] == 255).all()
    for side, text in ((labels[:, :120], long[0]), (labels[:, 120:], long[1])):
        top, bottom, left, right = ink(side)
        assert bottom - top > line_height(13)
        assert right - left > 0.4 * text_width(text, 13)  # in two lines, nothing left out
