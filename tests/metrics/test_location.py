"""Shares, boxes and mean maps against hand arithmetic, an integral by sums, and limiting cases."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cnnviz.errors import MapError
from cnnviz.images.preprocessing import Geometry, InputSpec, Prepared, prepare, to_image
from cnnviz.metrics.location import (
    BORDER_AREA,
    CORNER_AREA,
    LARGEST_MAP,
    mean_map,
    measure_location,
)


def seen_whole(source=(300, 400), network=(224, 224)):
    """An image squeezed to the network's size."""
    box = (0.0, 0.0, float(source[0]), float(source[1]))
    empty = np.zeros((3, *network), np.float32)
    return Prepared(empty, np.zeros((*network, 3), np.uint8), Geometry(source, box, network))


def single(shape, row, column, value=1.0):
    cam = np.zeros(shape, np.float32)
    cam[row, column] = value
    return cam


@pytest.mark.parametrize("shape", [(14, 14), (7, 7), (1, 1), (1, 9), (13, 2), (224, 224)])
def test_an_even_map_has_the_areas(shape):
    found = measure_location(np.full(shape, 3.5, np.float32), seen_whole())
    # Sums of some hundred terms in double precision.
    assert found.border == pytest.approx(BORDER_AREA, abs=1e-12)
    assert found.corners == pytest.approx([CORNER_AREA] * 4, abs=1e-12)
    assert found.box == (0, 0, 400, 300)


def test_all_in_one_corner_cell_by_hand():
    """Of 14 cells a ring covers 1.4 and a corner 2.8.

    The last cell's part along an axis is 1 over its outer half and falls to 0 in the cell from
    there: 1 in all. 1.4 cells from the edge hold 1 - 0.1²/2 = 0.995 of it, and 2.8 all. What is not
    in the ring is inside along both axes: 0.005².
    """
    for which, (row, column) in enumerate([(0, 0), (0, 13), (13, 0), (13, 13)]):
        found = measure_location(single((14, 14), row, column, 7.0), seen_whole())
        assert found.border == pytest.approx(1 - 0.005**2, abs=1e-12)
        assert found.corners == pytest.approx(np.eye(4)[which], abs=1e-12)
    # The last one's box is that cell: a 14th of 400 and of 300, every pixel that it touches.
    assert found.box == (371, 278, 400, 300)


def test_all_in_a_cell_near_the_corner_by_hand():
    """The second of 10 cells: the ring is one cell wide, a corner two.

    Its hat reaches from 0.5 to 2.5 cells from the edge with its top at 1.5. The ring's cell holds
    0.5²/2 of it, the corner all but as much.
    """
    found = measure_location(single((10, 10), 1, 1), seen_whole())
    assert found.border == pytest.approx(1 - 0.875**2, abs=1e-12)
    assert found.corners == pytest.approx([0.875**2, 0, 0, 0], abs=1e-12)
    # Above half is half a cell to either side: the cell itself. 40 and 30 pixels a cell.
    assert found.box == (40, 30, 80, 60)


def test_one_row_is_constant_down():
    """1 × 4, all in the first cell: down the parts are the areas'; across, 0.4 cells hold 0.4."""
    found = measure_location(single((1, 4), 0, 0), seen_whole())
    assert found.border == pytest.approx(1 - 0.8 * 0.6, abs=1e-12)
    # 0.8 cells: 0.5, and from the top 0.3 of the hat: 0.3 - 0.3²/2.
    assert found.corners == pytest.approx([0.2 * 0.755, 0, 0.2 * 0.755, 0], abs=1e-12)
    assert found.box == (0, 0, 100, 300)


def test_shares_are_those_of_the_surface_that_is_drawn():
    """The bilinear enlargement that the images are drawn with, to 2000 × 2000, summed."""
    cam = np.random.RandomState(2).rand(7, 9).astype(np.float32) ** 3
    prepared = seen_whole((2000, 2000))
    drawn = to_image(cam, prepared.geometry, (2000, 2000))[0].astype(np.float64)
    shares = drawn / drawn.sum()
    found = measure_location(cam, prepared)
    # float32 and the coordinates' 11 bits in OpenCV's resize.
    assert found.border == pytest.approx(1 - shares[200:1800, 200:1800].sum(), abs=1e-5)
    low, high = slice(0, 400), slice(1600, 2000)
    expected = [shares[rows, columns].sum() for rows in (low, high) for columns in (low, high)]
    assert found.corners == pytest.approx(expected, abs=1e-5)


def drawn_region(cam, prepared, shape):
    """(x0, y0, x1, y1) of the pixels of an enlargement that the region of the maximum holds."""
    drawn = to_image(cam, prepared.geometry, shape)[0]
    above = drawn > cam.max() / 2
    _, regions = cv2.connectedComponents(above.view(np.uint8), connectivity=4)
    region = regions == regions[np.unravel_index(drawn.argmax(), shape)]
    assert 0 < region.sum() < above.sum()  # there is another region, which must not count
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("shape", [(90, 120), (45, 31)])
def test_the_box_is_that_of_the_drawn_region(seed, shape):
    """Every pixel that it touches: found by drawing each pixel as 8 × 8."""
    cam = np.random.RandomState(seed).rand(6, 8).astype(np.float32) ** 2
    prepared = seen_whole(shape, (90, 120))
    found = drawn_region(cam, prepared, (8 * shape[0], 8 * shape[1])) / 8
    box = np.array(measure_location(cam, prepared).box)
    # It goes on for less than one of these samples.
    assert (np.floor(found[:2] - 1 / 8) <= box[:2]).all()
    assert (box[:2] <= np.floor(found[:2])).all()
    assert (np.ceil(found[2:]) <= box[2:]).all()
    assert (box[2:] <= np.ceil(found[2:] + 1 / 8)).all()


def test_no_pixel_of_a_large_image_is_left_out():
    """3000 × 4000, where a sample of the network's input is 13 by 18 pixels."""
    shape = (3000, 4000)
    cam = np.random.RandomState(0).rand(7, 7).astype(np.float32) ** 2
    off = measure_location(cam, seen_whole(shape)).box - drawn_region(cam, seen_whole(shape), shape)
    # A pixel that is touched, but not as far as its center, is not among those drawn.
    assert set(off[:2]) <= {-1, 0}
    assert set(off[2:]) <= {0, 1}


def test_across_a_corner_the_saddle_joins():
    """Between 1 and 0.9, with 0.4 and 0.3 beside, it is (0.9 - 0.12) / 1.2 = 0.65."""
    cam = single((14, 14), 4, 4)
    cam[5, 5], cam[4, 5], cam[5, 4] = 0.9, 0.4, 0.3
    assert measure_location(cam, seen_whole((140, 140))).box == (40, 40, 60, 60)
    cam[4, 5] = cam[5, 4] = 0.04  # now it is (0.9 - 0.0016) / 1.82 = 0.494
    assert measure_location(cam, seen_whole((140, 140))).box == (40, 40, 51, 51)


def test_only_the_region_of_the_maximum_counts_and_corners_do_not_join():
    cam = single((14, 14), 3, 3)
    cam[3, 4] = 0.9
    cam[4, 5] = 0.9  # touches at a corner, where the surface is 0.45
    cam[10, 10] = 0.95
    assert measure_location(cam, seen_whole((140, 140))).box[:2] == (30, 30)
    x1, y1 = measure_location(cam, seen_whole((140, 140))).box[2:]
    # 0.9 falls to 0.5 within 4/9 of a cell beyond the right one's center at 45.
    assert (x1, y1) == (50, 40)


def test_cells_that_touch_at_a_corner_are_two_regions():
    """A map as fine as the network's input, which is not enlarged."""
    cam = single((224, 224), 100, 50)
    cam[101, 51] = 1
    assert measure_location(cam, seen_whole((224, 224))).box == (50, 100, 51, 101)
    cam[100, 51] = 0.6
    assert measure_location(cam, seen_whole((224, 224))).box == (50, 100, 52, 102)


def test_crop_puts_the_box_where_the_network_looked():
    """300 × 800 for a square network: the center is seen, 300 · 224/256 = 262.5 pixels a side."""
    rgb = np.zeros((300, 800, 3), np.uint8)
    prepared = prepare(rgb, InputSpec(resize="crop"))
    y0, x0, y1, x1 = prepared.geometry.box
    found = measure_location(single((7, 7), 6, 0), prepared)
    assert found.box == (
        int(np.floor(x0)),
        int(np.floor(y1 - (y1 - y0) / 7 + 1e-6)),
        int(np.ceil(x0 + (x1 - x0) / 7)),
        int(np.ceil(y1)),
    )
    # The corner is the network's, not the image's.
    assert found.corners[2] == pytest.approx(
        measure_location(single((7, 7), 6, 0), seen_whole()).corners[2]
    )
    even = measure_location(np.ones((7, 7), np.float32), prepared).box
    assert even == (int(x0), int(y0), int(np.ceil(x1)), int(np.ceil(y1)))
    assert 0 < even[0] < even[2] < 800


def test_an_image_of_one_pixel():
    assert measure_location(single((14, 14), 5, 5), seen_whole((1, 1))).box == (0, 0, 1, 1)


def test_first_of_equal_maxima_and_a_plateau_at_half():
    cam = single((14, 14), 2, 11)
    cam[9, 3] = 1
    assert measure_location(cam, seen_whole((140, 140))).box == (110, 20, 120, 30)
    # Exactly half is not above half, whatever the interpolation's rounding.
    cam = np.full((14, 14), 0.5, np.float32)
    cam[6, 6] = 1
    x0, y0, x1, y1 = measure_location(cam * 3, seen_whole((140, 140))).box
    assert (x0, y0, x1, y1) == (55, 55, 75, 75)  # to the neighbors' centers


def test_blank_maps_have_no_location_and_wrong_ones_are_refused():
    assert measure_location(np.zeros((14, 14), np.float32), seen_whole()) is None
    for wrong in (np.zeros((3, 14, 14)), np.zeros((0, 4)), np.zeros(5)):
        with pytest.raises(MapError, match="shape"):
            measure_location(wrong.astype(np.float32), seen_whole())
    for value in (np.nan, np.inf, -np.inf, -1e-3):
        with pytest.raises(MapError, match="negative or not finite"):
            measure_location(single((3, 3), 1, 1, value), seen_whole())


def test_large_maps_are_averaged_down():
    cam = np.zeros((2 * LARGEST_MAP, 2 * LARGEST_MAP), np.float32)
    cam[10:12, 20:22] = 2.0
    cam[90, 90] = 1.0
    found = measure_location(cam, seen_whole())
    assert found.map.shape == (LARGEST_MAP, LARGEST_MAP)
    assert np.unravel_index(found.map.argmax(), found.map.shape) == (5, 10)
    assert found.map.max() == 1
    # Area-true: the sums of the parts keep their ratio of 8 to 1.
    assert found.map[40:50, 40:50].sum() / found.map[:20, :20].sum() == pytest.approx(1 / 8)
    assert measure_location(cam[:, :30], seen_whole()).map.shape == (LARGEST_MAP, 30)


def test_mean_map_by_hand():
    one, two = (np.array(rows, np.float32) for rows in ([[1, 0], [0.5, 0]], [[0, 1], [1, 1]]))
    mean = mean_map(iter([one, two]))
    assert mean.dtype == np.float32
    np.testing.assert_array_equal(mean, [[0.5, 0.5], [0.75, 0.5]])
    np.testing.assert_array_equal(mean_map([one]), one)


def test_no_mean_of_nothing_or_of_different_shapes():
    with pytest.raises(MapError, match="no map"):
        mean_map([])
    with pytest.raises(MapError, match="one shape"):
        mean_map([np.ones((7, 7), np.float32), np.ones((14, 14), np.float32)])


maps = array_shapes(min_dims=2, max_dims=2, max_side=20).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.floats(0, 2**40, width=32))
)


@settings(max_examples=150)
@given(maps, st.tuples(st.integers(1, 500), st.integers(1, 500)))
def test_shares_and_boxes_are_within_their_bounds(cam, source):
    found = measure_location(cam, seen_whole(source))
    if not cam.any():
        assert found is None
        return
    assert 0 <= found.border <= 1
    assert all(0 <= share <= 1 for share in found.corners)
    assert sum(found.corners) <= 1 + 1e-9
    x0, y0, x1, y1 = found.box
    assert 0 <= x0 < x1 <= source[1]
    assert 0 <= y0 < y1 <= source[0]
    assert found.map.shape == cam.shape
    assert found.map.max() == 1


@settings(max_examples=100)
@given(maps, st.floats(2**-60, 2**60))
def test_scaling_changes_nothing_and_flipping_swaps_corners(cam, factor):
    found = measure_location(cam, seen_whole())
    if found is None:
        return
    one, two, three, four = found.corners
    across = measure_location(np.ascontiguousarray(cam[:, ::-1]), seen_whole())
    down = measure_location(np.ascontiguousarray(cam[::-1]), seen_whole())
    turned = measure_location(np.ascontiguousarray(cam.T), seen_whole())
    close = {"abs": 1e-9}
    assert across.corners == pytest.approx((two, one, four, three), **close)
    assert down.corners == pytest.approx((three, four, one, two), **close)
    assert turned.corners == pytest.approx((one, three, two, four), **close)
    scaled = measure_location(cam.astype(np.float64) * factor, seen_whole())
    assert scaled.border == pytest.approx(found.border, **close)
    for other in (across, down, turned):
        assert other.border == pytest.approx(found.border, **close)
    if (cam == cam.max()).sum() == 1:
        x0, y0, x1, y1 = found.box
        assert across.box == (400 - x1, y0, 400 - x0, y1)
        assert down.box == (x0, 300 - y1, x1, 300 - y0)
