"""Rendering against the formulas, worked by hand or in float64."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cnnviz.errors import MapError, UsageError
from cnnviz.rendering.class_maps import class_map
from cnnviz.rendering.colormaps import color_scale
from cnnviz.rendering.maps import (
    SCALED,
    colorize,
    diverging,
    grayscale,
    normalize_by_max,
    overlay,
    scale_limit,
    signed_color,
)
from cnnviz.rendering.style import COLORMAPS

finite = st.floats(-1e6, 1e6, width=32)


# --- normalizing ---------------------------------------------------------------------------------


def test_divides_by_the_maximum_and_subtracts_nothing():
    result, blank = normalize_by_max(np.array([[1.0, 2.0], [4.0, 0.5]], np.float32))

    assert not blank
    assert result.dtype == np.float32
    assert result.tolist() == [[0.25, 0.5], [1.0, 0.125]]


def test_a_map_of_zeros_stays_zero_and_is_blank():
    result, blank = normalize_by_max(np.zeros((3, 4), np.float32))

    assert blank
    assert result.shape == (3, 4)
    assert not result.any()


def test_the_smallest_map_is_still_a_map():
    tiny = np.array([[1e-45, 0.0]], np.float32)  # the smallest float32 above zero

    result, blank = normalize_by_max(tiny)

    assert not blank
    assert result.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "function",
    [
        normalize_by_max,
        grayscale,
        diverging,
        colorize,
        lambda array: signed_color(np.repeat(array[:, :, None], 3, axis=2)),
        lambda array: overlay(np.zeros((2, 2, 3), np.uint8), array),
    ],
)
def test_nan_and_infinity_are_refused(function, bad):
    with pytest.raises(MapError, match="NaN or infinity"):
        function(np.array([[0.0, 0.5], [bad, 1.0]], np.float32))


@pytest.mark.parametrize(
    "function",
    [
        normalize_by_max,
        grayscale,
        colorize,
        lambda array: overlay(np.zeros((1, 2, 3), np.uint8), array),
    ],
)
def test_negative_evidence_is_refused_where_none_can_be(function):
    with pytest.raises(MapError, match=r"down to -0\.5"):
        function(np.array([[1.0, -0.5]]))


# --- drawn onto an image ------------------------------------------------------------------------


def doubled(values):
    return values.repeat(2, axis=0).repeat(2, axis=1)


@pytest.mark.parametrize("draw", [signed_color, grayscale])
def test_percentiles_are_the_maps_own_wherever_it_is_drawn(draw):
    """Half of a crop's image may be outside: that must not change what is white."""
    rng = np.random.default_rng(5)
    array = np.abs(rng.standard_normal((20, 30, 3) if draw is signed_color else (20, 30)))

    alone, _ = draw(array)
    larger, blank = draw(array, doubled)
    padded, _ = draw(array, lambda values: np.concatenate([values, np.zeros_like(values)]))

    assert not blank
    assert (larger == doubled(alone)).all()
    assert (padded[:20] == alone).all()
    assert (padded[20:] == (128 if draw is signed_color else 0)).all()


@pytest.mark.parametrize("draw", [signed_color, grayscale])
def test_a_blank_map_is_blank_on_the_image_too(draw):
    result, blank = draw(np.zeros((2, 3), np.float32), doubled)

    assert blank
    assert result.shape == (4, 6)
    assert (result == (128 if draw is signed_color else 0)).all()


# --- the overlay ---------------------------------------------------------------------------------


def test_overlay_is_the_convex_sum():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)

    result = overlay(image, levels / 255, "viridis", 0.3)

    colors = cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[:, :, ::-1].astype(float)
    expected = np.rint(0.7 * image + 0.3 * colors)
    assert np.abs(result - expected).max() <= 1  # a half either way


def test_jet_goes_from_blue_through_green_to_red():
    """By default jet, in RGB order; its middle is light green (127 or so, 255, 127 or so)."""
    cam = np.array([[0.0, 0.5, 1.0]], np.float32)

    (low, middle, high), *_ = overlay(np.zeros((1, 3, 3), np.uint8), cam, alpha=1.0)

    assert low[0] == 0
    assert low[1] == 0
    assert low[2] == 128
    assert middle[1] == 255
    assert abs(int(middle[0]) - 128) <= 4
    assert abs(int(middle[2]) - 128) <= 4
    assert high[0] == 128
    assert high[1] == 0
    assert high[2] == 0


@pytest.mark.parametrize("colormap", COLORMAPS)
def test_alpha_zero_is_the_image_and_one_the_colors(colormap):
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (8, 9, 3), dtype=np.uint8)
    cam = rng.random((8, 9))

    assert (overlay(image, cam, colormap, 0.0) == image).all()
    alone = overlay(image, cam, colormap, 1.0)
    assert (alone == overlay(255 - image, cam, colormap, 1.0)).all()


@pytest.mark.parametrize("alpha", [0.0, 0.4, 0.9, 1.0])
def test_overlay_of_white_and_black_never_wraps_around(alpha):
    """A sum in uint8 would turn 255 + 1 into 0: a brighter image must give a brighter result."""
    cam = np.linspace(0, 1, 64).reshape(8, 8)
    results = [
        overlay(np.full((8, 8, 3), level, np.uint8), cam, alpha=alpha).astype(int)
        for level in (0, 127, 254, 255)
    ]
    for darker, brighter in itertools.pairwise(results):
        assert (brighter >= darker).all()
    assert (results[-1] >= np.rint((1 - alpha) * 255) - 1).all()


@pytest.mark.parametrize("colormap", COLORMAPS)
def test_between_two_colors_lies_their_mean(colormap):
    """Against linear interpolation in float64, at places that are no entries of any table."""
    cam = np.random.default_rng(6).random((40, 50))
    code = getattr(cv2, f"COLORMAP_{colormap.upper()}")
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], code)[:, 0, ::-1]

    result = overlay(np.zeros((40, 50, 3), np.uint8), cam, colormap, 1.0)

    for channel in range(3):
        expected = np.interp(cam * 255, np.arange(256), table[:, channel].astype(float))
        # A half for rounding, and the steepest slope over a 32nd of an entry.
        slope = np.abs(np.diff(table[:, channel].astype(float))).max()
        assert np.abs(result[:, :, channel] - expected).max() <= 0.5 + slope / 32 + 1e-3


def test_colors_are_not_quantized_before_mixing():
    """Between two entries of the table lies the value between: with 256 levels there were steps."""
    cam = np.linspace(0.40, 0.41, 50)[None]
    blues = overlay(np.zeros((1, 50, 3), np.uint8), cam, "jet", 1.0)[0, :, 2].astype(int)

    assert np.abs(np.diff(blues)).max() <= 1


def test_what_the_network_did_not_see_is_gray_and_dark():
    image = np.full((2, 2, 3), (200, 100, 50), np.uint8)
    seen = np.array([[True, False], [True, True]])

    result = overlay(image, np.ones((2, 2)), alpha=0.5, visible=seen)

    # luma 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2, half of it 62.1
    assert result[0, 1].tolist() == [62, 62, 62]
    # jet(1) is (128, 0, 0): half of it and half of the image
    assert result[0, 0].tolist() == [164, 50, 25]


def test_overlay_says_what_is_wrong():
    image = np.zeros((4, 5, 3), np.uint8)
    with pytest.raises(UsageError, match=r"'rainbow'.*jet, turbo"):
        overlay(image, np.zeros((4, 5)), "rainbow")
    with pytest.raises(UsageError, match=r"alpha.*1\.5"):
        overlay(image, np.zeros((4, 5)), alpha=1.5)
    with pytest.raises(MapError, match=r"\(5, 4\).*\(4, 5\)"):
        overlay(image, np.zeros((5, 4)))
    with pytest.raises(MapError, match="up to 7"):
        overlay(image, np.full((4, 5), 7.0))


# --- signed color -------------------------------------------------------------------------------


def test_zero_is_mid_gray_exactly_and_signs_are_symmetric():
    array = np.zeros((2, 3, 3))
    array[0, 0] = (2.0, -2.0, 1.0)

    result, blank = signed_color(array)

    # of 18 magnitudes the 99.5th percentile lies between the last two, which are both 2
    assert not blank
    assert result[0, 0].tolist() == [255, 1, round(128 + 63.5)]
    assert (result[1] == 128).all()


def test_scale_is_the_percentile_of_magnitudes():
    rng = np.random.default_rng(2)
    array = rng.standard_normal((100, 120, 3)).astype(np.float32)

    result, _ = signed_color(array)

    full = np.sort(np.abs(array), axis=None)[round(0.995 * (array.size - 1))]
    expected = 128 + 127 * np.clip(array / full, -1, 1)
    assert np.abs(result - expected).max() <= 0.51
    clipped = (np.abs(array) > full).mean()
    assert clipped == pytest.approx(0.005, abs=1e-3)


def test_a_single_outlier_does_not_gray_out_the_rest():
    array = np.tile(np.array([0.5, -0.5, 0.25]), (50, 50, 1))
    array[0, 0, 0] = 1e9

    result, _ = signed_color(array)

    assert result[10, 10].tolist() == [255, 1, 192]  # 128 + 63.5, to even


def test_a_few_pixels_among_zeros_are_seen():
    array = np.zeros((100, 100, 3))
    array[3, 4, 1] = 7.0

    result, blank = signed_color(array)

    assert not blank
    assert result[3, 4].tolist() == [128, 255, 128]


def test_blank_is_all_gray():
    result, blank = signed_color(np.zeros((4, 5, 3), np.float32))

    assert blank
    assert (result == 128).all()
    assert result.shape == (4, 5, 3)


@given(hnp.arrays(np.float32, (5, 6, 3), elements=finite))
@settings(max_examples=100)
def test_signed_color_mirrors_with_the_sign(array):
    there, blank = signed_color(array)
    back, _ = signed_color(-array)

    assert blank == (not array.any())
    # x and -x lie at the same distance from 128
    assert (there.astype(int) + back.astype(int) == 256).all()
    assert (there[array == 0] == 128).all()


# --- grayscale ----------------------------------------------------------------------------------


def test_grayscale_stretches_from_minimum_to_the_99th_percentile():
    values = np.arange(3, 1004, dtype=float)  # 1001 values: minimum 3, 99th percentile 993
    array = np.random.default_rng(3).permutation(values).reshape(7, 143)

    result, blank = grayscale(array)

    assert not blank
    expected = 255 * np.clip((array - 3) / 990, 0, 1)
    assert np.abs(result - expected).max() <= 0.51
    assert result[array == 3] == 0
    assert (result[array >= 993] == 255).all()
    assert result.shape == (7, 143)


@pytest.mark.parametrize("level", [0.0, 0.37, 1e-30])
def test_a_constant_map_is_black_and_blank(level):
    result, blank = grayscale(np.full((4, 6), level, np.float32))

    assert blank
    assert not result.any()


def test_few_bright_pixels_are_white():
    array = np.zeros((50, 50))
    array[1, 2] = 3e-8

    result, blank = grayscale(array)

    assert not blank
    assert result[1, 2] == 255
    assert result.sum() == 255


@given(hnp.arrays(np.float32, (5, 6), elements=st.floats(0, 1e6, width=32)))
@settings(max_examples=100)
def test_grayscale_keeps_the_order(array):
    result, _ = grayscale(array)

    order = np.argsort(array, axis=None)
    assert (np.diff(result.ravel()[order].astype(int)) >= 0).all()


# --- the colors alone ---------------------------------------------------------------------------


@pytest.mark.parametrize("colormap", ["jet", "viridis"])
def test_colors_alone_are_an_overlay_of_nothing_but_colors(colormap):
    rng = np.random.default_rng(7)
    cam = rng.random((30, 40))
    photo = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)

    assert (colorize(cam, colormap) == overlay(photo, cam, colormap, 1.0)).all()


def test_where_no_image_lies_beneath_the_unseen_is_dark_gray():
    seen = np.array([[True, False]])
    jet_half = colorize(np.array([[0.5]]))[0, 0].tolist()

    assert colorize(np.full((1, 2), 0.5), visible=seen)[0].tolist() == [jet_half, [64, 64, 64]]
    assert diverging(np.zeros((1, 2)), visible=seen)[0][0].tolist() == [[247] * 3, [64] * 3]
    assert class_map(np.zeros((1, 2), int), {0: (1, 2, 3)}, visible=seen)[0].tolist() == [
        [1, 2, 3],
        [64, 64, 64],
    ]


def test_what_was_seen_has_the_shape_of_the_map():
    for draw in (
        lambda seen: colorize(np.zeros((2, 3)), visible=seen),
        lambda seen: overlay(np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3)), visible=seen),
        lambda seen: diverging(np.zeros((2, 3)), visible=seen),
        lambda seen: class_map(np.zeros((2, 3), int), {}, visible=seen),
    ):
        with pytest.raises(MapError, match=r"\(2, 3\).*\(3, 2\)"):
            draw(np.ones((3, 2), np.bool_))


def test_colors_alone_say_what_is_wrong():
    with pytest.raises(UsageError, match="'rainbow'"):
        colorize(np.zeros((4, 5)), "rainbow")
    with pytest.raises(MapError, match="up to 7"):
        colorize(np.full((4, 5), 7.0))


# --- two colors ---------------------------------------------------------------------------------


def test_zero_is_white_against_is_blue_and_in_favor_is_red():
    array = np.array([[-1.0, -0.5, -0.125, 0.0, 0.125, 0.5, 1.0]])

    ((*row,),), blank = diverging(array, vmax=1.0)

    assert not blank
    assert [pixel.tolist() for pixel in row] == [
        [0, 79, 135],
        [85, 165, 244],  # the third of five colors from zero on
        [212, 228, 251],  # between (178, 209, 255) and (247, 247, 247): 212.5, to even, 228, 251
        [247, 247, 247],
        [251, 219, 214],  # between (255, 191, 180) and white: 251, 219, 213.5, to even
        [251, 121, 107],
        [153, 10, 23],
    ]


def test_what_lies_beyond_full_strength_is_full_strength():
    array = np.zeros((100, 100))
    array[0, :3] = (1.0, 1e300, -1e300)
    array[1:, :] = 1.0

    result, _ = diverging(array)  # the 99.5th percentile of the magnitudes is 1

    assert result[0, :4].tolist() == [[153, 10, 23], [153, 10, 23], [0, 79, 135], [247, 247, 247]]


def lightness(rgb):
    """L* of CIE 1976, from sRGB (IEC 61966-2-1)."""
    share = np.asarray(rgb) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    luminance = linear @ (0.2126, 0.7152, 0.0722)
    return np.where(luminance > (6 / 29) ** 3, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)


def test_equal_magnitudes_are_equally_dark_and_larger_ones_darker():
    scale = lightness(color_scale("diverging", 401))

    # One unit of lightness is about the least that the eye tells apart.
    assert np.abs(scale - scale[::-1]).max() < 1.0
    assert (np.diff(scale[200:]) < 0.05).all()
    assert scale[200] - scale[0] > 60


def test_the_two_signs_differ_for_the_color_blind_too():
    """Without red and green cones told apart, blue against yellow is what is left."""
    # Machado, Oliveira and Fernandes (2009), deuteranopia and protanopia at severity 1.
    for matrix in (
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.01182, 0.04294, 0.9689],
        ],
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.0039, -0.0481, 1.052],
        ],
    ):
        share = color_scale("diverging", 9) / 255
        linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
        red, green, blue = (linear @ np.array(matrix).T).T
        yellow_or_blue = blue - (red + green) / 2
        assert (yellow_or_blue[:4] > 0.1).all()  # against
        assert (yellow_or_blue[5:] < -0.01).all()  # in favor


@given(hnp.arrays(np.float32, (5, 6), elements=finite))
@settings(max_examples=100)
def test_two_colors_mirror_with_the_sign(array):
    """A scale's colors from one end are those of the mirrored map from the other, to the bit."""
    there, blank = diverging(array)
    back, _ = diverging(-array)
    steps = 2 * 4 * 512 + 1  # all that the table holds
    ordered = [tuple(rgb) for rgb in color_scale("diverging", steps).tolist()]
    opposite = {}
    for rgb, mirrored in zip(ordered, reversed(ordered), strict=True):
        opposite.setdefault(rgb, set()).add(mirrored)

    assert blank == (not array.any())
    assert (there[array == 0] == 247).all()
    for rgb, mirrored in zip(
        there.reshape(-1, 3).tolist(), back.reshape(-1, 3).tolist(), strict=True
    ):
        assert tuple(mirrored) in opposite[tuple(rgb)]


def test_two_colors_need_one_number_a_pixel():
    with pytest.raises(MapError, match=r"\(4, 5, 3\)"):
        diverging(np.zeros((4, 5, 3)))


# --- scales in common ----------------------------------------------------------------------------

DRAW = {
    "heat": lambda array, vmax=None: normalize_by_max(array, vmax),
    "signed": lambda array, vmax=None: signed_color(array, vmax=vmax),
    "diverging": lambda array, vmax=None: diverging(array, vmax=vmax),
    "magnitude": lambda array, vmax=None: grayscale(array, vmax=vmax),
}


def test_every_scale_has_its_reach():
    array = np.arange(1001.0).reshape(7, 143)  # percentiles fall on whole numbers

    assert {kind: scale_limit(kind, array) for kind in SCALED} == {
        "heat": 1000.0,
        "signed": 995.0,
        "diverging": 995.0,
        "magnitude": 990.0,
    }
    assert scale_limit("signed", -array) == 995.0
    assert scale_limit("heat", np.zeros((2, 2))) == 0.0
    with pytest.raises(UsageError, match="heat, signed, diverging, magnitude; got 'loud'"):
        scale_limit("loud", array)
    for kind in SCALED:
        with pytest.raises(MapError, match="NaN or infinity"):
            scale_limit(kind, np.array([[np.nan]]))
    for kind in ("heat", "magnitude"):
        with pytest.raises(MapError, match="negative"):
            scale_limit(kind, -array)


@pytest.mark.parametrize("kind", SCALED)
def test_its_own_reach_draws_a_map_as_it_is_drawn_alone(kind):
    array = np.random.default_rng(8).random((30, 40)).astype(np.float32)
    array[0, 0] = 0  # black is the minimum, or 0

    alone, _ = DRAW[kind](array)
    scaled, blank = DRAW[kind](array, scale_limit(kind, array))

    assert not blank
    assert (alone == scaled).all()


@pytest.mark.parametrize("kind", SCALED)
def test_on_a_common_scale_equal_values_look_equal(kind):
    """Two maps, one of the other's values and larger ones: where they agree they look the same."""
    rng = np.random.default_rng(9)
    weak = rng.random((20, 20))
    strong = weak.copy()
    strong[10:] = rng.random((10, 20)) * 50
    full = max(scale_limit(kind, weak), scale_limit(kind, strong))

    assert (DRAW[kind](weak, full)[0][:10] == DRAW[kind](strong, full)[0][:10]).all()
    assert (DRAW[kind](weak)[0][:10] != DRAW[kind](strong)[0][:10]).any()


def test_given_scales_by_hand():
    heat, blank = normalize_by_max(np.array([0.0, 0.25, 1.0, 7.0]), 1.0)
    assert (heat.tolist(), blank) == ([0.0, 0.25, 1.0, 1.0], False)

    signed, _ = signed_color(np.array([[-9.0, -1.0, 0.0, 1.0, 2.0]]), vmax=2.0)
    assert signed.tolist() == [[1, 64, 128, 192, 255]]  # 128 - 63.5 and 128 + 63.5, to even

    gray, _ = grayscale(np.array([[1.0, 2.0, 4.0, 9.0]]), vmax=4.0)
    assert gray.tolist() == [[64, 128, 255, 255]]  # 63.75 and 127.5, to even: black is 0


def test_the_same_value_everywhere_is_blank_but_seen_on_a_common_scale():
    gray, blank = grayscale(np.full((2, 3), 0.5), vmax=1.0)

    assert blank
    assert (gray == 128).all()


@pytest.mark.parametrize("kind", SCALED)
def test_a_scale_of_zero_belongs_to_maps_of_zeros(kind):
    """All maps of a run may be blank."""
    zeros = np.zeros((2, 3), np.float32)
    alone, _ = DRAW[kind](zeros)
    scaled, blank = DRAW[kind](zeros, 0.0)
    assert blank
    assert (alone == scaled).all()

    beyond, blank = DRAW[kind](zeros + 1, 0.0)
    full, _ = DRAW[kind](zeros + 1, 1.0)
    assert (beyond == full).all()
    assert blank == (kind == "magnitude")  # the same everywhere


@pytest.mark.parametrize("kind", SCALED)
@pytest.mark.parametrize("vmax", [-1.0, np.nan, np.inf])
def test_a_scale_ends_at_a_finite_number_above_zero(kind, vmax):
    with pytest.raises(UsageError, match=f"got {vmax}"):
        DRAW[kind](np.ones((2, 2)), vmax)
