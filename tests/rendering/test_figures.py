"""Figures: what lies where, on which scale, in which colors, and that words can be read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cnnviz.errors import ImageError, MapError
from cnnviz.images.preprocessing import Canvas, Geometry
from cnnviz.rendering import figures, grids
from cnnviz.rendering.figures import Cell, ContrastedClass, contrast, fitted, panel
from cnnviz.rendering.maps import overlay
from cnnviz.rendering.style import Style
from cnnviz.rendering.text import SMALLEST_TEXT, line_height

FERRET = "black-footed ferret, ferret, Mustela nigripes (359) 0.87"


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 120, (height, width, 3), dtype=np.uint8)


def place(sheet, image):
    """Top and left of where an image lies on a sheet, unchanged; it lies there once."""
    height, width = image.shape[:2]
    rgb = image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)
    rows, columns = sheet.shape[0] - height + 1, sheet.shape[1] - width + 1
    corner = (sheet[:rows, :columns] == rgb[0, 0]).all(axis=2)
    found = [
        (int(top), int(left))
        for top, left in np.argwhere(corner)
        if (sheet[top : top + height, left : left + width] == rgb).all()
    ]
    assert len(found) == 1
    return found[0]


def ink(area):
    """Top, bottom, left and right of what is darker than paper; bottom and right are one past."""
    dark = (area < 128).all(axis=2)
    rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


# --- a panel -------------------------------------------------------------------------------------


def test_images_stand_in_rows_and_columns_unchanged():
    """The cells of a row begin at one height, those of a column are centerd in its width."""
    rows = [
        [noise(200, 300, 0), noise(260, 300, 1), noise(200, 350, 2)],
        [noise(200, 300, 3), noise(200, 200, 4)[:, :, 0]],
    ]

    sheet = panel("two rows", [[Cell(image, "a name") for image in row] for row in rows])

    (a, b, c), (d, e) = ([place(sheet, image) for image in row] for row in rows)
    assert a[0] == b[0] == c[0]
    assert d[0] == e[0] > a[0] + 260
    assert a[1] == d[1] == 0
    gap = b[1] - 300
    assert 0 < gap < 10
    assert c[1] == b[1] + 300 + gap
    assert e[1] == b[1] + 50
    assert sheet.shape == (d[0] + 200, 950 + 2 * gap, 3)


def test_without_words_there_are_only_images():
    image = noise(200, 300)

    sheet = panel("", [[Cell(image, "")] * 2])

    assert sheet.shape[0] == 200
    assert (sheet[:, 300:-300] == 255).all()


def test_captions_end_right_above_their_images():
    images = [noise(200, 300, seed) for seed in range(3)]
    captions = ["HHH", FERRET, ""]

    sheet = panel("", [list(map(Cell, images, captions))])

    places = [place(sheet, image) for image in images]
    above = places[0][0]
    ends = []
    for (_, left), caption in zip(places, captions, strict=True):
        words = sheet[:above, left : left + 300]
        if not caption:
            assert (words == 255).all()
            continue
        _, bottom, first, last = ink(words)
        assert abs((first + last) / 2 - 150) <= 3
        ends.append(bottom)
    assert 0 < above - ends[0] < 12
    assert 0 < above - ends[1] < 12
    assert above > 2 * line_height(SMALLEST_TEXT)  # the long one takes two lines


def test_the_title_stands_above_all_in_larger_letters():
    cells = [[Cell(noise(300, 400, seed), "HHH") for seed in range(4)]]

    sheet = panel("HHH", cells)

    without = panel("", cells)
    above = sheet.shape[0] - without.shape[0]
    assert (sheet[above:] == without).all()
    top, bottom, left, right = ink(sheet[:above])
    assert abs((left + right) / 2 - sheet.shape[1] / 2) <= 2
    caption = ink(without[: place(without, cells[0][0].image)[0], :400])
    assert bottom - top > caption[1] - caption[0]


@settings(max_examples=100)
@example(8, 319, 6, 1000, "00000000")
@given(
    st.integers(8, 700),
    st.integers(8, 700),
    st.integers(1, 6),
    st.sampled_from([None, 200, 500, 1000, 2560]),
    st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Zs"]), max_size=200),
)
def test_words_fit_and_can_be_read_at_all_sizes(height, width, columns, max_width, text):
    """A caption of H shows how large letters are; a long one stays in its column's three lines."""
    image = np.full((height, width, 3), 200, np.uint8)  # no ink

    short = panel("", [[Cell(image, "H")] * columns], max_width)
    long = panel(2 * text, [[Cell(image, "H " + text)] * columns], max_width)

    if max_width is not None:
        assert max(short.shape[1], long.shape[1]) <= max(max_width, 14 * SMALLEST_TEXT)
    shapes = [(height, width)] * columns
    if max_width:  # a long row is broken
        (shapes, *_) = figures._parts(shapes, figures._most_columns(max_width))
        shapes = [fitted((height, width), len(shapes), max_width)] * len(shapes)
    plan = figures._Plan.of([shapes])
    first = short[: 3 * plan.size, : plan.columns[0]]
    top, bottom, *_ = ink(first)
    assert bottom - top >= 9
    above = panel("", [[Cell(image, "H " + text)] + [Cell(image, "")] * (columns - 1)], max_width)
    assert (above[:, plan.columns[0] :] >= 200).all()  # nothing in the neighbor's column
    without = panel("", [[Cell(image, "")] * columns], max_width)
    assert above.shape[0] - without.shape[0] <= 3 * line_height(plan.size) + plan.size


def test_letters_grow_with_the_whole():
    """A figure twice as large is shown half as large on the same screen."""
    heights = []
    for factor in (1, 2, 4):
        cell = Cell(np.full((300 * factor, 400 * factor), 200, np.uint8), "HHH")
        sheet = panel("", [[cell] * 4])
        top, bottom, *_ = ink(sheet[:, : 400 * factor])
        heights.append(bottom - top)

    # Capitals are 0.7 of the letters' size: 1% of the width, as large as letters are on a screen
    # that is 1,400 wide.
    assert heights[0] == pytest.approx(0.7 * 0.01 * (4 * 400), abs=1)
    assert heights[1] == pytest.approx(2 * heights[0], abs=2)
    assert heights[2] == pytest.approx(4 * heights[0], abs=4)


def test_a_title_without_end_is_cut():
    cell = Cell(np.full((200, 300), 200, np.uint8), "")

    sheet = panel("many words " * 1000, [[cell]])

    assert sheet.shape[0] < 200 + 6 * line_height(2 * SMALLEST_TEXT)


def test_a_long_caption_keeps_its_ends():
    """What identifies a class stands at its end."""
    long = ", ".join(["a synonym of it"] * 12) + " (359) 0.87"
    image = np.full((64, 64), 200, np.uint8)

    sheet, alone = panel("", [[Cell(image, long)]]), panel("", [[Cell(image, "(359) 0.87")]])

    top, bottom, left, right = ink(alone)
    end = alone[top:bottom, left:right]
    lines = sheet[: sheet.shape[0] - 64]
    assert lines.shape[0] < 4 * line_height(SMALLEST_TEXT)  # of the three
    found = [
        (y, x)
        for y in range(lines.shape[0] - end.shape[0] + 1)
        for x in range(lines.shape[1] - end.shape[1] + 1)
        if abs(lines[y : y + end.shape[0], x : x + end.shape[1]].astype(int) - end).mean() < 12
    ]
    assert found  # letters may begin between two pixels, and so be drawn a little differently
    assert found[0][0] > 2 * line_height(SMALLEST_TEXT) - SMALLEST_TEXT


def test_too_wide_a_whole_is_reduced_by_one_factor():
    """Averaged: what is red in every second column becomes half red."""
    stripes = np.full((600, 1200, 3), 255, np.uint8)
    stripes[:, ::2, 1:] = 0
    high = np.zeros((900, 1200, 3), np.uint8)

    sheet = panel("", [[Cell(stripes, ""), Cell(high, "")]], 1205)

    assert 1195 <= sheet.shape[1] <= 1205
    black = np.argwhere((sheet == 0).all(axis=2))
    height, width = black.max(axis=0) - black.min(axis=0) + 1
    assert 595 <= width <= 600
    assert height == pytest.approx(0.75 * width, abs=1)
    shown = sheet[: round(height * 2 / 3) - 1, : width - 1]
    assert (shown[:, :, 0] == 255).all()
    assert abs(shown[:, :, 1:].mean() - 127.5) < 1
    assert shown[:, :, 1:].min() > 90  # no column is one of the stripes'
    assert (sheet[round(height * 2 / 3) + 1 :, :width] == 255).all()


def test_what_fits_is_not_reduced():
    image = noise(200, 630)

    sheet = panel("", [[Cell(image, "a")] + [Cell(image[::-1], "b")] * 3], 2560)

    assert place(sheet, image)[1] == 0


def test_more_columns_than_can_have_words_become_rows_of_equal_length():
    """At the least width of 182, 13 columns fit 2560 pixels: of 16 there are two rows of 8."""
    cells = [Cell(np.full((300, 400), 100, np.uint8), "H") for _ in range(16)]

    sheet = panel("", [cells], 2560)

    gray = (sheet == 100).all(axis=2)
    assert np.count_nonzero(np.diff(gray[:, 1].astype(int)) == 1) == 2
    row = gray[-1].astype(int)
    assert np.count_nonzero(np.diff(row) == -1) + row[-1] == 8
    assert sheet.shape[1] <= 2560


@pytest.mark.parametrize("shape", [(64, 64), (300, 1024), (1024, 300), (2400, 4000), (30, 5000)])
@pytest.mark.parametrize("columns", [1, 4, 9, 20])
def test_fitted_is_the_size_at_which_nothing_has_to_be_reduced(shape, columns):
    height, width = fitted(shape, columns)

    assert width <= shape[1]
    assert height <= shape[0]
    # Both are rounded to whole pixels.
    assert abs(height / shape[0] - width / shape[1]) <= 0.5 / shape[0] + 0.5 / shape[1] + 1e-9
    cells = [Cell(np.full((height, width), 100, np.uint8), "") for _ in range(columns)]
    assert panel("", [cells], 2560).shape[1] <= 2560
    assert fitted((height, width), columns) == (height, width)
    if width < shape[1] and columns <= 13:  # a little more each, and it would be too wide
        wider = Cell(np.full((height, width + 2), 100, np.uint8), "")
        assert panel("", [[wider] * columns]).shape[1] > 2560


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ([], "at least one image; got rows of none"),
        ([[Cell(noise(4, 4), "")], []], "at least one image; got rows of 1, 0"),
        ([[Cell(np.zeros((4, 4, 3)), "")]], r"float64 of shape \(4, 4, 3\)"),
        ([[Cell(np.zeros((0, 4, 3), np.uint8), "")]], r"\(0, 4, 3\)"),
    ],
)
def test_a_panel_says_what_is_wrong(cells, problem):
    with pytest.raises(ImageError, match=problem):
        panel("", cells)


# --- a contrast ----------------------------------------------------------------------------------

SIDE = 400
WHOLE = Geometry((SIDE, SIDE), (0.0, 0.0, float(SIDE), float(SIDE)), (32, 32))


def plain(level):
    return np.full((SIDE, SIDE, 3), level, np.uint8)


def spread(values):
    """A map that has the values in its rows, each wide enough to be seen unmixed."""
    return np.repeat(np.asarray(values, np.float32)[:, None], 4, axis=0).repeat(8, axis=1)


def called(cam, name="volcano (980)", value="0.22", short=None):
    return ContrastedClass(cam, f"{name} {value}", short or name)


def drawn(base, a, b, difference, **options):
    """The four images of a contrast, and what lies above and below them."""
    first, second = called(a), called(b, "web (815)", "0.5")
    style = Style(size="full", **options)
    sheet = contrast(base, first, second, difference, style)
    # Where images lie depends on words and on sizes alone.
    mark = Canvas(noise(*base.shape), base.geometry)
    top, left = place(contrast(mark, first, second, difference, style), mark.image)
    width = base.shape[1]
    step = (sheet.shape[1] - width) // 3
    lefts = [left + number * step for number in range(4)]
    bottom = top + base.shape[0]
    return [sheet[top:bottom, x : x + width] for x in lefts], sheet[:top], sheet[bottom:]


def test_the_parts_of_a_contrast():
    base = Canvas(noise(SIDE, SIDE, 3), WHOLE)
    a, b, difference = spread([2, 0]), spread([0, 2]), spread([1, -1])

    (image, first, signed, second), above, below = drawn(base, a, b, difference)

    assert (image == base.image).all()
    assert (first[:50] == second[-50:][:, :, :]).mean() < 0.5  # other pixels below the same red
    assert (signed[:50, :, 0] > signed[:50, :, 2]).all()  # red for the first
    assert (signed[-50:, :, 0] < signed[-50:, :, 2]).all()  # blue for the second
    for words in (above, below):
        top, bottom, *_ = ink(words)
        assert bottom - top >= 9


def test_both_maps_have_one_scale():
    """A map half as strong as the other is drawn half as strong."""
    base = Canvas(plain(100), WHOLE)
    a, b = spread([4, 1, 0]), spread([2, 2, 0])

    (_, first, _, second), *_ = drawn(base, a, b, a - b)

    expected = [
        overlay(plain(100), np.full((SIDE, SIDE), part, np.float32))[0, 0]
        for part in (1, 0.25, 0.5, 0)
    ]
    full, quarter, half, nothing = expected
    assert (first[10, 5] == full).all()
    assert (first[200, 5] == quarter).all()
    assert (first[390, 5] == nothing).all()
    assert (second[10, 5] == half).all()
    assert (second[200, 5] == half).all()
    assert (second[390, 5] == nothing).all()
    assert len({tuple(color) for color in expected}) == 4


def test_the_colors_of_the_difference_on_white_are_those_of_its_scale():
    """Their ends as in cnnviz.rendering.colormaps: what differs most, and neither."""
    base = Canvas(plain(255), WHOLE)
    difference = spread([3, 0, -3])

    (_, _, signed, _), _, below = drawn(base, abs(difference), abs(difference), difference)

    assert (signed[10] == (153, 10, 23)).all()
    assert (signed[200] == (247, 247, 247)).all()
    assert (signed[390] == (0, 79, 135)).all()
    # The scale: against at the left, in favor at the right, below the third image.
    blue = np.argwhere((below == (0, 79, 135)).all(axis=2))[:, 1]
    red = np.argwhere((below == (153, 10, 23)).all(axis=2))[:, 1]
    assert below.shape[1] / 2 < blue.min() <= blue.max() < red.min()
    assert red.max() < below.shape[1] * 3 / 4
    assert (blue.min() + red.max()) / 2 == pytest.approx(below.shape[1] * 5 / 8, abs=3)
    *_, left, right = ink(below)
    assert left - blue.min() == pytest.approx(0, abs=3)
    assert right - red.max() == pytest.approx(0, abs=3)


@pytest.mark.parametrize("level", [0, 90, 200])
def test_what_lies_below_the_difference_is_seen(level):
    """Zero is the image in gray, faded to 45%; colors darken with it by the same factor."""
    base = Canvas(plain(level), WHOLE)
    difference = spread([3, 0, -3])

    (_, _, signed, _), *_ = drawn(base, abs(difference), abs(difference), difference)

    part = (255 - 0.45 * (255 - level)) / 255
    for row, color in ((10, (153, 10, 23)), (200, (247, 247, 247)), (390, (0, 79, 135))):
        assert signed[row, 5] == pytest.approx(np.multiply(color, part), abs=1)


def test_the_difference_has_a_scale_of_its_own():
    base = Canvas(plain(255), WHOLE)
    difference = spread([1, -0.5])

    (_, _, small, _), *_ = drawn(base, spread([9, 9]), spread([8, 9]), 1e-6 * difference)
    (_, _, large, _), *_ = drawn(base, spread([9, 9]), spread([8, 9]), 1e3 * difference)

    assert (small == large).all()
    assert (large[10] == (153, 10, 23)).all()
    assert (large[390] == (85, 165, 244)).all()  # halfway to blue


def test_without_overlay_colors_stand_alone():
    base = Canvas(noise(SIDE, SIDE, 3), WHOLE)
    difference = spread([3, 0, -3])

    (image, first, signed, second), *_ = drawn(
        base, spread([2, 1, 0]), spread([1, 1, 0]), difference, overlay=False, colormap="hot"
    )

    assert (image == base.image).all()
    assert (first[10] == (255, 255, 255)).all()  # hot ends in white
    assert (first[390] == (0, 0, 0)).all()
    assert (second[10] == first[200]).all()
    assert (signed[200] == (247, 247, 247)).all()


@pytest.mark.parametrize("overlay", [True, False])
def test_what_the_network_did_not_see_has_no_colors(overlay):
    center = Geometry((SIDE, SIDE), (100.0, 100.0, 300.0, 300.0), (32, 32))
    base = Canvas(plain((200, 90, 40)), center)
    gray = 200 * 0.299 + 90 * 0.587 + 40 * 0.114

    (image, first, signed, second), *_ = drawn(
        base, spread([2, 2]), spread([1, 1]), spread([1, -1]), overlay=overlay
    )

    assert (image == (200, 90, 40)).all()
    for part in (first, signed, second):
        for outside in (part[:99], part[301:], part[:, :99], part[:, 301:]):
            wanted = gray / 2 if overlay else 64
            assert (abs(outside.astype(float) - wanted) <= 1).all()
        inside = part[101:299, 101:299].astype(float)
        assert (abs(inside - wanted) > 1).any(axis=2).all()


@pytest.fixture
def words(monkeypatch):
    """What is written on a figure, in order, and the middle of each, as a part of the width."""
    written = []
    real = figures.write_line

    def write_line(canvas, text, size, top, left, width, align=0.0):
        written.append((text, (left + width / 2) / canvas.shape[1]))
        real(canvas, text, size, top, left, width, align=align)

    for module in (figures, grids):
        monkeypatch.setattr(module, "write_line", write_line)
    return written


def test_the_words_of_a_contrast(words):
    maps = spread([2, 0]), spread([0, 1])
    long = "spider web, spider's web (815)"

    contrast(
        Canvas(noise(SIDE, SIDE), WHOLE),
        called(maps[0], long, "0.61", "spider web (815)"),
        called(maps[1], "volcano (980)", "0.004"),
        maps[0] - maps[1],
        Style(),
    )

    scale, title, captions = words[:2], words[2], words[3:]
    assert [text for text, _ in scale] == ["for volcano (980)", "for spider web (815)"]
    assert scale[0][1] < 0.5 < scale[1][1]  # below blue, below red
    assert title == (f"{long} 0.61, rather than volcano (980) 0.004", 0.5)
    assert [text for text, _ in captions] == [
        "the image",
        "Grad-CAM for spider web (815)",
        "the difference",
        "Grad-CAM for volcano (980), on the same scale",
    ]
    assert [round(8 * middle) for _, middle in captions] == [1, 3, 5, 7]


@pytest.mark.parametrize(("a", "b"), [(0, 0), (1, 0), (0, 1)])
def test_blank_maps_are_drawn_and_called_so(words, a, b):
    base = Canvas(plain(100), WHOLE)
    nothing = overlay(plain(100), np.zeros((SIDE, SIDE), np.float32))[0, 0]
    maps = [spread([level, level]) for level in (a, b)]

    (_, first, signed, second), *_ = drawn(base, *maps, maps[0] - maps[1])

    assert (first == nothing).all() == (a == 0)
    assert (second == nothing).all() == (b == 0)
    assert (signed == signed[0, 0, 0]).all() == (a == b)
    texts = [text for text, _ in words]
    assert texts[-4:] == [
        "the image",
        "Grad-CAM for volcano (980)" + ": blank" * (a == 0),
        "the difference" + ": none" * (a == b),
        "Grad-CAM for web (815)" + ": blank" * (b == 0),
    ]


@pytest.mark.parametrize("shape", [(64, 64), (20, 600), (600, 20), (300, 1024), (2000, 3000)])
def test_contrasts_of_all_sizes_fit_a_screen(shape):
    geometry = Geometry(shape, (0.0, 0.0, *map(float, shape)), (32, 32))
    base = Canvas(np.full((*shape, 3), 90, np.uint8), geometry)
    long = [
        called(spread([1, 0]), f"{', '.join([name] * 5)} ({index})", short=f"{name} ({index})")
        for name, index in (("black-footed ferret", 359), ("loggerhead turtle", 33))
    ]

    sheet = contrast(base, *long, spread([1, -1]), Style())

    assert sheet.shape[1] <= 2560
    whole = contrast(base, *long, spread([1, -1]), Style(size="full"))
    assert (whole.shape == sheet.shape) == (whole.shape[1] <= 2560)


def test_a_reduced_contrast_is_drawn_at_its_size():
    """Its words are not reduced: only so can they be read."""
    shape = (1500, 2000)
    geometry = Geometry(shape, (0.0, 0.0, *map(float, shape)), (32, 32))
    large = Canvas(np.full((*shape, 3), 90, np.uint8), geometry)
    maps = called(spread([1, 0]), "a (0)"), called(spread([0, 1]), "b (1)")
    height, width = fitted(shape, 4)
    small = Canvas(np.full((height, width, 3), 90, np.uint8), geometry)

    reduced = contrast(large, *maps, spread([1, -1]), Style())

    assert (reduced == contrast(small, *maps, spread([1, -1]), Style(size="full"))).all()


@pytest.mark.parametrize(
    ("maps", "error", "problem"),
    [
        ((np.ones((4, 4)), np.ones((4, 5)), np.ones((4, 4))), MapError, r"\(4, 4\), \(4, 5\)"),
        ((np.ones((4, 4)),) * 2 + (np.ones((1, 4, 4)),), MapError, "one shape"),
        ((np.ones((3, 4, 4)),) * 3, MapError, "one shape"),
        ((-np.ones((4, 4)), np.ones((4, 4)), np.ones((4, 4))), MapError, "negative"),
        ((np.ones((4, 4)), np.full((4, 4), np.nan), np.ones((4, 4))), MapError, "NaN"),
        ((np.ones((4, 4)), np.ones((4, 4)), np.full((4, 4), np.inf)), MapError, "infinity"),
    ],
)
def test_a_contrast_says_what_is_wrong(maps, error, problem):
    base = Canvas(plain(100), WHOLE)
    a, b, difference = (values.astype(np.float32) for values in maps)

    with pytest.raises(error, match=problem):
        contrast(base, called(a), called(b), difference, Style())
