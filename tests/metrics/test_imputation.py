"""ROAD's imputation: against a dense solution in double precision, and what is known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.metrics.imputation import ACCURACY, impute

SIZE = (23, 18)


def dense(image, removed):
    """The paper's system, an equation for each removed pixel, solved as it stands."""
    places = {place: number for number, place in enumerate(zip(*np.nonzero(removed), strict=True))}
    matrix = np.zeros((len(places), len(places)))
    right = np.zeros((len(places), len(image)))
    height, width = removed.shape
    for (row, column), number in places.items():
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                place = row + down, column + across
                if place == (row, column) or not (0 <= place[0] < height and 0 <= place[1] < width):
                    continue
                weight = 1 / 12 if down and across else 1 / 6
                matrix[number, number] += weight
                if place in places:
                    matrix[number, places[place]] -= weight
                else:
                    right[number] += weight * image[(slice(None), *place)]
    found = image.astype(np.float64)
    found[:, removed] = np.linalg.solve(matrix, right).T
    return found


def masks():
    random = np.random.RandomState(0)
    rows, columns = np.indices(SIZE)
    scattered = random.rand(*SIZE)
    only_one = np.ones(SIZE, np.bool_)
    only_one[20, 3] = False
    return {
        "a tenth, scattered": scattered < 0.1,
        "nine tenths, scattered": scattered < 0.9,
        "a disc": np.hypot(rows - 11, columns - 8) < 7,
        "all but a disc": np.hypot(rows - 11, columns - 8) >= 4,
        "one half": columns >= 9,
        "stripes": rows % 3 > 0,
        "all but a pixel": only_one,
        "one pixel in a corner": (rows == 0) & (columns == 0),
    }


@pytest.mark.parametrize("name", masks())
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_the_solution_is_that_of_a_dense_solver(name, channels):
    removed = masks()[name]
    image = np.random.RandomState(1).rand(channels, *SIZE).astype(np.float32)
    expected = dense(image, removed)
    np.testing.assert_allclose(impute(image, removed, 1e-8), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(impute(image, removed), expected, rtol=0, atol=ACCURACY)


def large_regions():
    """Those in which most values hang on a few pixels far away, through several coarser grids."""
    rows, columns = np.indices((47, 38))
    random = np.random.RandomState(2)
    return {
        "all but a side": columns >= 2,
        "all but a disc": np.hypot(rows - 20, columns - 30) >= 5,
        "blobs and grain": (np.sin(rows / 7) * np.sin(columns / 6) > 0.1)
        | (random.rand(*rows.shape) < 0.4),
        "a box within": (abs(rows - 20) < 11) & (abs(columns - 22) < 14),
    }


@pytest.mark.parametrize("name", large_regions())
def test_large_regions_are_filled_as_accurately(name):
    removed = large_regions()[name]
    image = np.random.RandomState(3).rand(3, *removed.shape).astype(np.float32)
    expected = dense(image, removed)
    np.testing.assert_allclose(impute(image, removed), expected, rtol=0, atol=ACCURACY)


def test_the_accuracy_is_relative_to_the_range():
    removed = masks()["all but a disc"]
    image = np.random.RandomState(1).rand(3, *SIZE).astype(np.float32)
    far = np.float32(1000) * image + np.float32(5000)
    expected = dense(far, removed)
    np.testing.assert_allclose(impute(far, removed), expected, rtol=0, atol=1000 * ACCURACY)


def test_a_slope_goes_on_through_a_hole():
    """The mean of the eight neighbors of a pixel on a slope is its own value."""
    rows, columns = np.indices((40, 50)).astype(np.float32)
    image = np.stack([0.01 * rows, 0.5 - 0.02 * columns + 0.01 * rows])
    removed = (np.abs(rows - 20) < 12) & (np.abs(columns - 22) < 15)
    np.testing.assert_allclose(impute(image, removed), image, rtol=0, atol=ACCURACY)


def test_pixels_that_stay_are_kept_and_what_was_removed_is_forgotten():
    removed = masks()["nine tenths, scattered"]
    image = np.random.RandomState(1).rand(3, *SIZE).astype(np.float32)
    found = impute(image, removed)
    np.testing.assert_array_equal(found[:, ~removed], image[:, ~removed])
    other = np.where(removed, np.float32(np.nan), image)
    np.testing.assert_array_equal(impute(other, removed), found)


def test_nothing_and_everything():
    image = np.random.RandomState(1).rand(2, *SIZE).astype(np.float32)
    np.testing.assert_array_equal(impute(image, np.zeros(SIZE, np.bool_)), image)
    means = image.mean(axis=(1, 2), keepdims=True)
    np.testing.assert_array_equal(
        impute(image, np.ones(SIZE, np.bool_)), np.broadcast_to(means, image.shape)
    )


@pytest.mark.parametrize("size", [(1, 7), (7, 1), (2, 2), (3, 3), (5, 64)])
def test_small_and_thin_images(size):
    image = np.random.RandomState(3).rand(3, *size).astype(np.float32)
    removed = np.ones(size, np.bool_)
    removed[0, 0] = removed[-1, -1] = False
    expected = dense(image, removed)
    np.testing.assert_allclose(impute(image, removed, 1e-8), expected, rtol=0, atol=1e-6)
