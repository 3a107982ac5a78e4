"""Means over images and their intervals."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.metrics.statistics import Mean, is_better, mean_of


def test_the_mean_leaves_out_images_without_a_value():
    found = mean_of(np.array([1.0, np.nan, 3.0]))
    assert found.value == 2
    assert found.images == 2


def test_no_image_has_no_mean_and_one_has_no_interval():
    assert mean_of(np.array([np.nan])) == Mean(None, None, None, 0)
    assert mean_of(np.array([0.25])) == Mean(0.25, None, None, 1)


def test_the_interval_of_two_images_is_all_that_can_be_drawn():
    # Of two images both may be the first one, or the second: each with probability 1/4.
    found = mean_of(np.array([0.0, 1.0]))
    assert (found.value, found.low, found.high) == (0.5, 0, 1)


def test_the_interval_is_that_of_the_normal_distribution_for_many_images():
    values = np.random.default_rng(1).normal(5, 2, 2000)
    found = mean_of(values)
    reach = 1.96 * values.std(ddof=1) / np.sqrt(2000)
    # 2,000 resamples know the ends of an interval to some 5 % of its length.
    assert found.low == pytest.approx(values.mean() - reach, abs=0.1 * reach)
    assert found.high == pytest.approx(values.mean() + reach, abs=0.1 * reach)
    more = mean_of(np.tile(values, 6))
    assert more.images == 12_000
    assert more.high - more.low == pytest.approx(2 * reach / np.sqrt(6), rel=1e-3)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(200):
        found = mean_of(rng.random(40))
        held += found.low <= 0.5 <= found.high
    # The percentile interval of 40 images holds it in some 94 %; 200 trials: +- 3.4 %.
    assert 0.88 <= held / 200 <= 0.99


def test_the_mean_over_classes_counts_each_class_once():
    values = np.array([1.0, 1.0, 1.0, 0.0])
    groups = np.array([7, 7, 7, 2])
    assert mean_of(values).value == 0.75
    found = mean_of(values, groups)
    assert found.value == 0.5
    assert 0 <= found.low <= found.high <= 1


def test_better_means_that_the_whole_interval_is_on_the_good_side():
    clear, unclear = Mean(0.2, 0.1, 0.3, 10), Mean(0.2, -0.1, 0.5, 10)
    assert is_better(clear, "higher") is True
    assert is_better(clear, "lower") is False
    assert is_better(unclear, "higher") is False
    assert is_better(clear, None) is None
    assert is_better(Mean(0.2, None, None, 1), "higher") is None
