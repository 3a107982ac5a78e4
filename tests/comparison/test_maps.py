"""How alike two heatmaps are, against plain NumPy, and against what the two must have in common."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from cnnviz.comparison.maps import Looked, _seen, agreement, in_common
from cnnviz.images.input_spec import InputSpec
from cnnviz.images.placing import seen_part
from cnnviz.images.preprocessing import prepare, to_image
from cnnviz.metrics.location import measure_location
from cnnviz.runs.image_files import location_record
from cnnviz.runs.run_records import InputRecord

RNG = np.random.default_rng(7)
SOURCE = (90, 160)


def looked(values, size=(64, 64), resize="stretch", source=SOURCE):
    """A heatmap of a network with an input of that size."""
    spec = InputSpec(*size, resize=resize)
    image = np.zeros((*source, 3), np.uint8)
    location = measure_location(values.astype(np.float32), prepare(image, spec))
    fed = InputRecord(*size, (0.0,) * 3, (1.0,) * 3, "rgb", resize)
    return Looked(location_record(location), fed)


def blob(shape, row, column, width=0.15):
    """A smooth peak; places and width are parts of the sides."""
    rows, columns = ((np.arange(length) + 0.5) / length for length in shape)
    distance = (rows[:, None] - row) ** 2 + (columns[None] - column) ** 2
    return np.exp(-distance / (2 * width**2))


def test_a_map_agrees_with_itself():
    for values in (RNG.uniform(size=(7, 7)), np.maximum(0, RNG.normal(size=(14, 9)) - 1)):
        one = looked(values)
        found = agreement(one, one, SOURCE, same_target=True)
        assert (found.spearman, found.common, found.peak_distance) == (1, 1, 0)
        assert (found.border, found.corner, found.elsewhere) == (0, 0, False)


def test_the_scale_of_a_map_does_not_count():
    values = RNG.uniform(size=(6, 8))
    found = agreement(looked(values), looked(1000 * values), SOURCE, same_target=True)
    assert (found.spearman, found.common, found.peak_distance) == (1, 1, 0)


def test_opposite_corners():
    a, b = blob((10, 10), 0.05, 0.05), blob((10, 10), 0.95, 0.95)
    found = agreement(looked(a), looked(b), SOURCE, same_target=True)
    assert found.peak_distance == pytest.approx(0.9, abs=1e-6)  # centers of cells of a tenth
    assert found.common == 0
    assert found.elsewhere
    assert found.spearman < 0
    before, after = looked(a).location, looked(b).location
    assert found.corner == pytest.approx(after.corners[3] - before.corners[3], abs=1e-6)
    assert abs(found.corner) > 0.5
    assert found.border == pytest.approx(after.border - before.border, abs=1e-6)


def test_the_strongest_fifth_by_counting():
    """Without ties it is a matter of two sets of cells."""
    a, b = RNG.permutation(100).reshape(10, 10) + 1.0, RNG.permutation(100).reshape(10, 10) + 1.0
    strongest = [set(np.flatnonzero(one.ravel() > 80)) for one in (a, b)]
    assert in_common(a, b) == len(strongest[0] & strongest[1]) / 20


def test_random_maps_have_a_fifth_of_it_in_common():
    found = [in_common(RNG.uniform(size=(14, 14)), RNG.uniform(size=(14, 14))) for _ in range(400)]
    # The share has a standard deviation of about 0.06 in one pair, so 0.003 in their mean.
    assert np.mean(found) == pytest.approx(0.2, abs=0.015)


def test_equal_values_share_the_last_places():
    """Of 25 cells 5 are the strongest: of a constant map each belongs to them by a fifth."""
    a, b = np.ones((5, 5)), np.zeros((5, 5))
    b[0] = 1  # the five cells of one row
    assert in_common(a, a) == 1
    assert in_common(a, b) == pytest.approx(0.2)


def test_cells_without_evidence_do_not_count():
    a, b = np.zeros((10, 10)), np.zeros((10, 10))
    a[0, 0] = 1
    b[0, :3] = 1, 2, 3
    assert in_common(a, b) == 1  # all that A marks, B marks
    assert in_common(a, np.roll(b, 5, axis=0)) == 0


def test_maps_of_two_resolutions():
    """The same smooth peak in 7x7 and in 28x28 cells is much the same map."""
    a, b = blob((7, 7), 0.3, 0.6, 0.25), blob((28, 28), 0.3, 0.6, 0.25)
    found = agreement(looked(a), looked(b), SOURCE, same_target=True)
    assert found.spearman > 0.99
    assert found.common > 0.9
    assert found.peak_distance < 1 / 14  # half a cell of the coarse map


def test_crop_and_stretch_are_compared_where_both_looked():
    """A peak at one place of the image is at another one of each map."""
    source = (120, 240)
    place = (60, 100)
    pixels = np.zeros((*source, 3), np.uint8)
    rows, columns = np.mgrid[: source[0], : source[1]]
    whole = np.exp(-((rows - place[0]) ** 2 + (columns - place[1]) ** 2) / (2 * 20.0**2))
    maps = {}
    for resize in ("stretch", "crop"):
        y0, x0, y1, x1 = prepare(pixels, InputSpec(64, 64, resize=resize)).geometry.box
        part = whole[round(y0) : round(y1), round(x0) : round(x1)]
        maps[resize] = cv2.resize(part, (16, 16), interpolation=cv2.INTER_AREA)
    one, other = (looked(maps[name], resize=name, source=source) for name in maps)
    found = agreement(one, other, source, same_target=True)
    assert found.spearman > 0.99
    assert found.common > 0.9
    assert found.peak_distance < 0.04
    # Compared cell by cell, as if both had seen the whole image, they would seem to differ.
    assert in_common(maps["stretch"], maps["crop"]) < 0.8


@pytest.mark.parametrize("fraction", [0.6, 1.0])
def test_crops_of_any_fraction_are_compared_where_both_looked(fraction):
    source, way = (130, 190), {"resize": "crop", "interpolation": "bilinear"}
    rows, columns = np.mgrid[: source[0], : source[1]]
    whole = np.exp(-((rows - 40) ** 2 + (columns - 70) ** 2) / (2 * 20.0**2))
    both = []
    for kept in (fraction, 0.875):
        y0, x0, y1, x1 = seen_part(source, InputSpec(64, 64, crop_fraction=kept, **way)).box
        part = whole[round(y0) : round(y1), round(x0) : round(x1)]
        values = cv2.resize(part, (16, 16), interpolation=cv2.INTER_AREA)
        one = looked(values, resize="crop", source=source)
        fed = replace(one.input, crop_fraction=kept, interpolation="bilinear")
        both.append(replace(one, input=fed))
    found = agreement(*both, source, same_target=True)
    assert found.common > 0.98
    assert found.peak_distance == 0
    # As if both had seen as much of the image.
    same = [replace(one, input=both[1].input) for one in both]
    wrong = agreement(*same, source, same_target=True)
    assert wrong.common < 0.95
    assert wrong.peak_distance > 0.03


def test_the_common_grid_is_the_rendered_surface():
    """The grid over the part that both saw has the values that the image is drawn with."""
    source, spec = (64, 128), InputSpec(height=64, width=64)
    values = RNG.uniform(size=(8, 8)).astype(np.float32)
    values /= values.max()
    pixels = np.zeros((*source, 3), np.uint8)
    prepared = prepare(pixels, spec)
    drawn, _ = to_image(values, prepared.geometry, source)
    box, both = prepared.geometry.box, (8.0, 16.0, 40.0, 80.0)
    grid = _seen(values, box, both, (32, 64))  # one cell a pixel
    np.testing.assert_allclose(grid, drawn[8:40, 16:80], atol=1e-5)


def test_a_constant_map_has_no_order():
    found = agreement(
        looked(np.ones((4, 4))), looked(RNG.uniform(size=(4, 4))), SOURCE, same_target=False
    )
    assert found.spearman is None
    assert not found.same_target
