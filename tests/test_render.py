"""Rendering against the formulas, worked by hand or in float64."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cnnviz.errors import PictureError, UsageError
from cnnviz.render import (
    COLORMAPS,
    colour_overlay,
    monochrome,
    normalise_by_max,
    signed_colour,
)

finite = st.floats(-1e6, 1e6, width=32)


# --- normalising ---------------------------------------------------------------------------------


def test_divides_by_the_maximum_and_subtracts_nothing():
    result, blank = normalise_by_max(np.array([[1.0, 2.0], [4.0, 0.5]], np.float32))

    assert not blank
    assert result.dtype == np.float32
    assert result.tolist() == [[0.25, 0.5], [1.0, 0.125]]


def test_a_map_of_zeros_stays_zero_and_is_blank():
    result, blank = normalise_by_max(np.zeros((3, 4), np.float32))

    assert blank
    assert result.shape == (3, 4)
    assert not result.any()


def test_the_smallest_map_is_still_a_map():
    tiny = np.array([[1e-45, 0.0]], np.float32)  # the smallest float32 above zero

    result, blank = normalise_by_max(tiny)

    assert not blank
    assert result.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "function",
    [
        normalise_by_max,
        monochrome,
        lambda array: signed_colour(np.repeat(array[:, :, None], 3, axis=2)),
        lambda array: colour_overlay(np.zeros((2, 2, 3), np.uint8), array),
    ],
)
def test_nan_and_infinity_are_refused(function, bad):
    with pytest.raises(PictureError, match="NaN or infinity"):
        function(np.array([[0.0, 0.5], [bad, 1.0]], np.float32))


@pytest.mark.parametrize(
    "function",
    [
        normalise_by_max,
        monochrome,
        lambda array: colour_overlay(np.zeros((1, 2, 3), np.uint8), array),
    ],
)
def test_negative_evidence_is_refused_where_none_can_be(function):
    with pytest.raises(PictureError, match=r"down to -0\.5"):
        function(np.array([[1.0, -0.5]]))


# --- drawn onto a picture ------------------------------------------------------------------------


def doubled(values):
    return values.repeat(2, axis=0).repeat(2, axis=1)


@pytest.mark.parametrize("draw", [signed_colour, monochrome])
def test_percentiles_are_the_maps_own_wherever_it_is_drawn(draw):
    """Half of a crop's picture may be outside: that must not change what is white."""
    rng = np.random.default_rng(5)
    array = np.abs(rng.standard_normal((20, 30, 3) if draw is signed_colour else (20, 30)))

    alone, _ = draw(array)
    larger, blank = draw(array, doubled)
    padded, _ = draw(array, lambda values: np.concatenate([values, np.zeros_like(values)]))

    assert not blank
    assert (larger == doubled(alone)).all()
    assert (padded[:20] == alone).all()
    assert (padded[20:] == (128 if draw is signed_colour else 0)).all()


@pytest.mark.parametrize("draw", [signed_colour, monochrome])
def test_a_blank_map_is_blank_on_the_picture_too(draw):
    result, blank = draw(np.zeros((2, 3), np.float32), doubled)

    assert blank
    assert result.shape == (4, 6)
    assert (result == (128 if draw is signed_colour else 0)).all()


# --- the overlay ---------------------------------------------------------------------------------


def test_overlay_is_the_convex_sum():
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)

    result = colour_overlay(picture, levels / 255, "viridis", 0.3)

    colours = cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[:, :, ::-1].astype(float)
    expected = np.rint(0.7 * picture + 0.3 * colours)
    assert np.abs(result - expected).max() <= 1  # a half either way


def test_jet_goes_from_blue_through_green_to_red():
    """By default jet, in RGB order; its middle is light green (127 or so, 255, 127 or so)."""
    cam = np.array([[0.0, 0.5, 1.0]], np.float32)

    (low, middle, high), *_ = colour_overlay(np.zeros((1, 3, 3), np.uint8), cam, alpha=1.0)

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
def test_alpha_zero_is_the_picture_and_one_the_colours(colormap):
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (8, 9, 3), dtype=np.uint8)
    cam = rng.random((8, 9))

    assert (colour_overlay(picture, cam, colormap, 0.0) == picture).all()
    alone = colour_overlay(picture, cam, colormap, 1.0)
    assert (alone == colour_overlay(255 - picture, cam, colormap, 1.0)).all()


@pytest.mark.parametrize("alpha", [0.0, 0.4, 0.9, 1.0])
def test_overlay_of_white_and_black_never_wraps_around(alpha):
    """A sum in uint8 would turn 255 + 1 into 0: a brighter picture must give a brighter result."""
    cam = np.linspace(0, 1, 64).reshape(8, 8)
    results = [
        colour_overlay(np.full((8, 8, 3), level, np.uint8), cam, alpha=alpha).astype(int)
        for level in (0, 127, 254, 255)
    ]
    for darker, brighter in zip(results, results[1:]):
        assert (brighter >= darker).all()
    assert (results[-1] >= np.rint((1 - alpha) * 255) - 1).all()


@pytest.mark.parametrize("colormap", COLORMAPS)
def test_between_two_colours_lies_their_mean(colormap):
    """Against linear interpolation in float64, at places that are no entries of any table."""
    cam = np.random.default_rng(6).random((40, 50))
    code = getattr(cv2, f"COLORMAP_{colormap.upper()}")
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], code)[:, 0, ::-1]

    result = colour_overlay(np.zeros((40, 50, 3), np.uint8), cam, colormap, 1.0)

    for channel in range(3):
        expected = np.interp(cam * 255, np.arange(256), table[:, channel].astype(float))
        # A half for rounding, and the steepest slope over a 32nd of an entry.
        slope = np.abs(np.diff(table[:, channel].astype(float))).max()
        assert np.abs(result[:, :, channel] - expected).max() <= 0.5 + slope / 32 + 1e-3


def test_colours_are_not_quantised_before_mixing():
    """Between two entries of the table lies the value between: with 256 levels there were steps."""
    cam = np.linspace(0.40, 0.41, 50)[None]
    blues = colour_overlay(np.zeros((1, 50, 3), np.uint8), cam, "jet", 1.0)[0, :, 2].astype(int)

    assert np.abs(np.diff(blues)).max() <= 1


def test_what_the_network_did_not_see_is_grey_and_dark():
    picture = np.full((2, 2, 3), (200, 100, 50), np.uint8)
    seen = np.array([[True, False], [True, True]])

    result = colour_overlay(picture, np.ones((2, 2)), alpha=0.5, seen=seen)

    # luma 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2, half of it 62.1
    assert result[0, 1].tolist() == [62, 62, 62]
    # jet(1) is (128, 0, 0): half of it and half of the picture
    assert result[0, 0].tolist() == [164, 50, 25]


def test_overlay_says_what_is_wrong():
    picture = np.zeros((4, 5, 3), np.uint8)
    with pytest.raises(UsageError, match=r"'rainbow'.*jet, turbo"):
        colour_overlay(picture, np.zeros((4, 5)), "rainbow")
    with pytest.raises(UsageError, match=r"alpha.*1\.5"):
        colour_overlay(picture, np.zeros((4, 5)), alpha=1.5)
    with pytest.raises(PictureError, match=r"\(5, 4\).*\(4, 5\)"):
        colour_overlay(picture, np.zeros((5, 4)))
    with pytest.raises(PictureError, match="up to 7"):
        colour_overlay(picture, np.full((4, 5), 7.0))


# --- signed colour -------------------------------------------------------------------------------


def test_zero_is_mid_grey_exactly_and_signs_are_symmetric():
    array = np.zeros((2, 3, 3))
    array[0, 0] = (2.0, -2.0, 1.0)

    result, blank = signed_colour(array)

    # of 18 magnitudes the 99.5th percentile lies between the last two, which are both 2
    assert not blank
    assert result[0, 0].tolist() == [255, 1, round(128 + 63.5)]
    assert (result[1] == 128).all()


def test_scale_is_the_percentile_of_magnitudes():
    rng = np.random.default_rng(2)
    array = rng.standard_normal((100, 120, 3)).astype(np.float32)

    result, _ = signed_colour(array)

    full = np.sort(np.abs(array), axis=None)[round(0.995 * (array.size - 1))]
    expected = 128 + 127 * np.clip(array / full, -1, 1)
    assert np.abs(result - expected).max() <= 0.51
    clipped = (np.abs(array) > full).mean()
    assert clipped == pytest.approx(0.005, abs=1e-3)


def test_a_single_outlier_does_not_grey_out_the_rest():
    array = np.tile(np.array([0.5, -0.5, 0.25]), (50, 50, 1))
    array[0, 0, 0] = 1e9

    result, _ = signed_colour(array)

    assert result[10, 10].tolist() == [255, 1, 192]  # 128 + 63.5, to even


def test_a_few_pixels_among_zeros_are_seen():
    array = np.zeros((100, 100, 3))
    array[3, 4, 1] = 7.0

    result, blank = signed_colour(array)

    assert not blank
    assert result[3, 4].tolist() == [128, 255, 128]


def test_blank_is_all_grey():
    result, blank = signed_colour(np.zeros((4, 5, 3), np.float32))

    assert blank
    assert (result == 128).all()
    assert result.shape == (4, 5, 3)


@given(hnp.arrays(np.float32, (5, 6, 3), elements=finite))
@settings(max_examples=100, deadline=None)
def test_signed_colour_mirrors_with_the_sign(array):
    there, blank = signed_colour(array)
    back, _ = signed_colour(-array)

    assert blank == (not array.any())
    # x and -x lie at the same distance from 128
    assert (there.astype(int) + back.astype(int) == 256).all()
    assert (there[array == 0] == 128).all()


# --- monochrome ----------------------------------------------------------------------------------


def test_monochrome_stretches_from_minimum_to_the_99th_percentile():
    values = np.arange(3, 1004, dtype=float)  # 1001 values: minimum 3, 99th percentile 993
    array = np.random.default_rng(3).permutation(values).reshape(7, 143)

    result, blank = monochrome(array)

    assert not blank
    expected = 255 * np.clip((array - 3) / 990, 0, 1)
    assert np.abs(result - expected).max() <= 0.51
    assert result[array == 3] == 0
    assert (result[array >= 993] == 255).all()
    assert result.shape == (7, 143)


@pytest.mark.parametrize("level", [0.0, 0.37, 1e-30])
def test_a_constant_map_is_black_and_blank(level):
    result, blank = monochrome(np.full((4, 6), level, np.float32))

    assert blank
    assert not result.any()


def test_few_bright_pixels_are_white():
    array = np.zeros((50, 50))
    array[1, 2] = 3e-8

    result, blank = monochrome(array)

    assert not blank
    assert result[1, 2] == 255
    assert result.sum() == 255


@given(hnp.arrays(np.float32, (5, 6), elements=st.floats(0, 1e6, width=32)))
@settings(max_examples=100, deadline=None)
def test_monochrome_keeps_the_order(array):
    result, _ = monochrome(array)

    order = np.argsort(array, axis=None)
    assert (np.diff(result.ravel()[order].astype(int)) >= 0).all()
