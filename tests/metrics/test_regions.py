"""Pointing game, energies, ranks and IoU of drawn maps, by hand and pixel by pixel."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnviz.errors import UsageError
from cnnviz.metrics.baselines import baselines
from cnnviz.metrics.regions import EnergyInside, IoU, PointingGame, RankAccuracy
from cnnviz.metrics.registry import choose_metrics
from tests.support.judged import case_of, subject_of

ALL = (PointingGame(), EnergyInside(), RankAccuracy(), IoU())


def rectangle(shape, x0, y0, x1, y1):
    region = np.zeros(shape, np.bool_)
    region[y0:y1, x0:x1] = True
    return region


def peak(shape, row, column, value=1.0):
    values = np.zeros(shape)
    values[row, column] = value
    return values


def measured(metric, values, region, **case):
    return metric.measure(case_of(region.shape, region, **case), subject_of(values))


# --- pointing game -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "column", "tolerance", "hit"),
    [
        (20, 30, 0, 1),  # inside
        (20, 29, 0, 0),
        (20, 29, 1, 0),  # less than the tolerance
        (20, 29, 1.01, 1),
        (20, 16, 15, 1),  # 14 pixels from column 30
        (20, 15, 15, 0),  # 15
        (39, 39, 15, 1),  # the last row and column that are inside
        (48, 51, 15, 0),  # 9 down and 12 across
        (48, 50, 15, 1),
        (0, 0, 1e9, 1),
    ],
)
def test_a_hit_is_in_the_region_or_nearer_than_the_tolerance(row, column, tolerance, hit):
    region = rectangle((60, 70), 30, 20, 40, 40)
    found = measured(PointingGame(tolerance=tolerance), peak((60, 70), row, column), region)
    assert found.value == hit
    assert found.group == 3
    assert found.details["maxima"] == 1


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 1, 2, 3.7, 5, 15]))
def test_hits_are_those_of_the_disc_around_the_maximum(seed, tolerance):
    """As the game's reference code has it: the disc (Δy² + Δx²) < tolerance² meets the mask."""
    random = np.random.RandomState(seed)
    region = random.rand(40, 30) < 0.003
    region[random.randint(40), random.randint(30)] = True
    row, column = random.randint(40), random.randint(30)
    rows, columns = np.indices(region.shape)
    disc = (rows - row) ** 2 + (columns - column) ** 2 < tolerance**2
    found = measured(PointingGame(tolerance=tolerance), peak((40, 30), row, column), region)
    assert found.value == float((disc & region).any())


def test_the_tolerance_is_in_pixels_of_the_image():
    """An image of 448 for a network of 224: the input's column 40 is at 81 of the image."""
    region = rectangle((448, 448), 100, 0, 448, 448)
    for column, hit in ((42, 1), (41, 0)):  # 100 - 85 - 0.x, 100 - 83
        found = measured(
            PointingGame(tolerance=16), peak((224, 224), 5, column), region, network=(224, 224)
        )
        assert found.value == hit


def test_of_equal_maxima_the_share_that_hits():
    region = rectangle((20, 20), 0, 0, 5, 20)
    values = np.zeros((20, 20))
    values[3, [1, 4, 5, 19]] = 7
    found = measured(PointingGame(tolerance=0), values, region)
    assert found.value == 0.5
    assert found.details["maxima"] == 4
    assert measured(PointingGame(tolerance=2), values, region).value == 0.75
    ones = next(one for one in baselines(20, 20) if one.key == "ones")
    assert PointingGame(tolerance=0).measure(case_of((20, 20), region), ones).value == 0.25


# --- what all have in common ---------------------------------------------------------------------


@pytest.mark.parametrize("values", [np.zeros((8, 8)), -peak((8, 8), 2, 2)])
def test_a_map_without_positive_values_misses(values):
    region = rectangle((8, 8), 0, 0, 8, 4)
    for metric in ALL:
        found = measured(metric, values, region)
        if metric.name == "energy-inside":
            assert found.value is None
            assert found.reason == "the map has no positive value"
        else:
            assert found.value == 0


@pytest.mark.parametrize("metric", ALL)
def test_without_a_region_there_is_a_reason(metric):
    values = peak((8, 8), 2, 2)
    unknown = metric.measure(case_of((8, 8)), subject_of(values))
    assert (unknown.value, unknown.reason) == (None, "nobody knows where its objects are")
    empty = measured(metric, values, np.zeros((8, 8), np.bool_))
    assert empty.value is None
    assert "no object of its class is marked" in empty.reason
    # 100 × 300 for 8 × 8: scaled to 9 × 27, of which columns 9 to 17 are seen: from 100 on.
    cut = measured(
        metric, values, rectangle((100, 300), 0, 0, 100, 100), network=(8, 8), resize="crop"
    )
    assert cut.value is None
    assert cut.reason == "its objects lie outside of what the network saw"


@pytest.mark.parametrize("metric", ALL)
def test_negative_values_do_not_count(metric):
    region = rectangle((8, 8), 0, 0, 4, 8)
    values = np.random.RandomState(3).rand(8, 8).astype(np.float32)
    negative = values.copy()
    negative[:, 6:] = 0
    signed = negative - 5.0 * (negative == 0)
    # Ranks 0 and -5 alike: neither is among the 32 highest of 48 positive values.
    assert measured(metric, signed, region).value == measured(metric, negative, region).value


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale_does_not_count(metric, scale):
    region = rectangle((8, 8), 0, 0, 4, 8)
    values = np.random.RandomState(3).rand(8, 8).astype(np.float32)
    found = measured(metric, values * np.float32(scale), region)
    assert found.value == pytest.approx(measured(metric, values, region).value, rel=1e-6)


@pytest.mark.parametrize("metric", ALL)
def test_the_share_of_the_objects_stands_beside_each_value(metric):
    found = measured(metric, peak((8, 8), 2, 2), rectangle((8, 8), 0, 0, 4, 6))
    assert found.details["input_share"] == 24 / 64
    assert found.details["region_seen"] == 1


def test_of_a_crop_only_what_was_seen_counts():
    """64 × 128 for 7 × 7: scaled to 8 × 16, of which rows 0 to 7 and columns 4 to 11 are seen.

    That is rows 0 to 56 and columns 32 to 88 of the image, 8 for each of the input's.
    """
    region = rectangle((64, 128), 0, 0, 68, 24)
    case = {"network": (7, 7), "resize": "crop"}
    found = measured(EnergyInside(), np.ones((7, 7)), region, **case)
    assert found.value == pytest.approx(24 * 36 / 56**2, abs=1e-12)
    assert found.details["input_share"] == pytest.approx(24 * 36 / 56**2, abs=1e-12)
    assert found.details["region_seen"] == pytest.approx(24 * 36 / (24 * 68), abs=1e-12)
    # Three rows of the input's pixels, four columns and a half, which counts.
    assert measured(IoU(), np.ones((7, 7)), region, **case).value == 15 / 49
    # What was not seen is no target, although it begins 5 pixels left of the maximum.
    unseen = rectangle((64, 128), 0, 0, 32, 64)
    unseen[:, 85] = True
    assert measured(PointingGame(tolerance=20), peak((7, 7), 3, 0), unseen, **case).value == 0
    # The last column of the input is 80 to 88, with its center in 84.
    for tolerance, hit in ((1, 0), (1.5, 1)):
        game = PointingGame(tolerance=tolerance)
        assert measured(game, peak((7, 7), 3, 6), unseen, **case).value == hit


def test_of_all_of_the_short_side_every_row_counts():
    """64 × 128 for 8 × 8, scaled to 8 × 16: columns 4 to 11 are seen, 32 to 96 of the image."""
    region = rectangle((64, 128), 0, 0, 128, 8)
    way = {"resize": "crop", "crop_fraction": 1.0, "interpolation": "bilinear"}
    found = measured(EnergyInside(), np.ones((8, 8)), region, network=(8, 8), **way)
    assert found.value == pytest.approx(1 / 8, abs=1e-12)
    assert found.details["region_seen"] == pytest.approx(1 / 2, abs=1e-12)


def overlaps(edges, length):
    """How much of each pixel of an axis lies between each two edges."""
    return np.array(
        [
            [max(0, min(high, pixel + 1) - max(low, pixel)) for pixel in range(length)]
            for low, high in itertools.pairwise(edges)
        ]
    )


@pytest.mark.parametrize(
    ("source", "network", "way"),
    [
        ((6, 9), (4, 6), {}),
        ((5, 4), (8, 9), {}),
        ((30, 47), (7, 7), {"resize": "crop"}),
        ((30, 47), (7, 7), {"resize": "crop", "crop_fraction": 1.0, "interpolation": "bicubic"}),
        ((47, 30), (8, 6), {"resize": "crop", "crop_fraction": 0.6, "interpolation": "bilinear"}),
        ((30, 47), (7, 9), {"crop_fraction": 0.6}),
    ],
)
def test_coverage_is_that_of_areas(source, network, way):
    region = np.random.RandomState(1).rand(*source) < 0.4
    case = case_of(source, region, network=network, **way)
    y0, x0, y1, x1 = case.prepared.geometry.box
    down = overlaps(np.linspace(y0, y1, network[0] + 1), source[0])
    across = overlaps(np.linspace(x0, x1, network[1] + 1), source[1])
    expected = down @ region @ across.T / np.outer(down.sum(axis=1), across.sum(axis=1))
    np.testing.assert_allclose(case.seen_region.coverage, expected, rtol=0, atol=1e-12)


# --- energy, ranks, IoU --------------------------------------------------------------------------


def test_energy_by_hand():
    """Three pixels for two: the middle one is half of each."""
    region = np.array([[True, False, False]])
    found = measured(EnergyInside(), [[3, 1]], region, network=(1, 2))
    # The left pixel of the input is covered by 1 of 1.5.
    assert found.value == pytest.approx(3 * (1 / 1.5) / 4, abs=1e-12)
    region[0, 1] = True
    found = measured(EnergyInside(), [[3, 1]], region, network=(1, 2))
    assert found.value == pytest.approx((3 + 1 / 3) / 4, abs=1e-12)
    assert found.details["input_share"] == pytest.approx(2 / 3, abs=1e-12)


def test_ranks_by_hand():
    region = rectangle((4, 4), 0, 0, 2, 2)
    values = np.arange(16.0).reshape(4, 4)
    assert measured(RankAccuracy(), values, region).value == 0
    assert measured(RankAccuracy(), -values + 16, region).value == 0.5  # the first row
    values[0, :2] = values[1, 1] = 99
    assert measured(RankAccuracy(), values, region).value == 0.75


def test_equal_ranks_hit_as_chance_does():
    """Of a map that is the same everywhere; the standard deviation is 0.015 for 896 draws."""
    region = rectangle((56, 64), 16, 14, 48, 42)
    ones = next(one for one in baselines(56, 64) if one.key == "ones")
    found = RankAccuracy().measure(case_of((56, 64), region), ones)
    assert found.value == pytest.approx(found.details["input_share"], abs=0.05)
    assert found.details["input_share"] == 0.25
    # The order is the map's own, which other metrics go by as well.
    expected = np.isin(ones.order[:896], np.flatnonzero(region)).mean()
    assert found.value == expected


def test_iou_by_hand():
    region = rectangle((6, 6), 1, 1, 4, 4)
    values = np.zeros((6, 6))
    values[2:5, 2:5] = 1.0
    values[3, 3] = 5.0
    assert measured(IoU(), values, region).value == 4 / 14  # 1 is 0.2 of 5, and counts
    assert measured(IoU(threshold=0.21), values, region).value == 1 / 9
    assert measured(IoU(threshold=0), values, region).value == 4 / 14  # 0 is never high
    assert measured(IoU(threshold=1), values, region).value == 1 / 9


def test_iou_of_boxes_takes_the_largest_part():
    region = rectangle((8, 8), 1, 1, 5, 5)
    region[1, 4] = region[4, 1] = False  # the box around it is the same
    values = np.zeros((8, 8))
    values[1:5, 3] = values[2, 1:4] = 1  # a cross, 4 × 3
    values[6, 6:] = values[7, 6] = 1
    assert measured(IoU(outline="box"), values, region).value == 12 / 16
    assert measured(IoU(), values, region).value == 6 / 17


def test_objects_smaller_than_the_networks_pixels_are_not_measured():
    region = rectangle((64, 64), 0, 0, 3, 3)
    for metric in (RankAccuracy(), IoU()):
        found = measured(metric, np.ones((8, 8)), region, network=(8, 8))
        assert found.value is None
        assert found.reason == "its objects cover no half of any pixel of the network's input"
    found = measured(EnergyInside(), peak((8, 8), 0, 0), region, network=(8, 8))
    assert found.value == pytest.approx(9 / 64, abs=1e-12)


def test_they_need_regions_and_have_options():
    names = {metric.name for metric in choose_metrics(regions=True) if metric.needs_region}
    assert names == {"pointing-game", "energy-inside", "rank-accuracy", "iou"}
    assert not any(metric.needs_region for metric in choose_metrics())
    chosen = choose_metrics(["iou,pointing-game"], {"threshold": "0.5"}, regions=True)
    assert chosen == (IoU(threshold=0.5), PointingGame(tolerance=15))
    with pytest.raises(UsageError, match="give --boxes or --masks"):
        choose_metrics(["iou"])
    for name, value in (("iou.threshold", 1.1), ("iou.outline", "hull"), ("tolerance", -1)):
        with pytest.raises(UsageError, match=r"at most 1|one of pixels, box|at least 0"):
            choose_metrics(["iou,pointing-game"], {name: value}, regions=True)
