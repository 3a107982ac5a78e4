"""Similarities of maps: SciPy's and scikit-image's numbers, and what is said of blank maps."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.metrics.similarity import (
    Similarity,
    average_ranks,
    is_blank,
    rank_correlation,
    similarity,
    structural_similarity,
)
from tests.support.seeded import REFERENCE

#: Made by tests/reference/make_similarity_fixtures.py.
KNOWN = np.load(REFERENCE / "similarity.npz")
MAPS = KNOWN["maps"]
#: The same sums in float64 in another order.
ROUNDING = 1e-12

RAMP = np.arange(16 * 12, dtype=np.float32).reshape(16, 12)
BLANK = np.full((16, 12), 0.1, np.float32)


@pytest.mark.parametrize("pair", range(len(MAPS)))
def test_numbers_are_those_of_scipy_and_scikit_image(pair):
    a, b = MAPS[pair]
    np.testing.assert_array_equal(average_ranks(a), KNOWN["ranks"][pair].ravel())
    assert rank_correlation(a, b) == pytest.approx(KNOWN["spearman"][pair], abs=ROUNDING)
    assert structural_similarity(a, b) == pytest.approx(KNOWN["ssim"][pair], abs=ROUNDING)
    found = similarity(a, b)
    assert found == Similarity(
        pytest.approx(KNOWN["spearman"][pair], abs=ROUNDING),
        pytest.approx(KNOWN["absolute"][pair], abs=ROUNDING),
        pytest.approx(KNOWN["ssim"][pair], abs=ROUNDING),
    )


def test_the_same_map_on_another_scale_is_the_same():
    assert similarity(RAMP, 5 * RAMP + 100) == Similarity(
        pytest.approx(1), pytest.approx(1), pytest.approx(1)
    )


def test_the_order_of_ties_does_not_matter():
    zeros = np.zeros((12, 16), np.float32)
    zeros[3, 4], zeros[5, 6] = 1, 2
    # By hand: 190 zeros share rank 95.5; the two others have 191 and 192, in a and in turned b.
    turned = zeros[::-1, ::-1]
    low, high = 95.5 - 96.5, np.array([191, 192]) - 96.5
    norm = 190 * low**2 + (high**2).sum()
    expected = (188 * low**2 + 2 * low * high.sum()) / norm
    assert rank_correlation(zeros, turned) == pytest.approx(expected, abs=ROUNDING)


def test_a_map_without_values_has_no_rank_correlation():
    assert is_blank(BLANK)
    assert is_blank(np.zeros((3, 3), np.float32))
    assert is_blank(BLANK * (1 + 1e-7 * (RAMP % 2)))  # one unit in the last place
    assert not is_blank(BLANK * (1 + 1e-5 * (RAMP % 2)))
    assert rank_correlation(RAMP, BLANK) is None
    assert rank_correlation(BLANK, RAMP) is None
    assert structural_similarity(RAMP, BLANK) is None


def test_of_a_blank_map_nothing_can_be_lost_and_what_becomes_blank_is_lost():
    assert similarity(BLANK, RAMP) is None
    assert similarity(BLANK, BLANK) is None
    assert similarity(RAMP, BLANK) == Similarity(0, 0, 0)


def test_signs_alone_are_compared_as_values_and_their_magnitudes_are_all_alike():
    signs = np.where(RAMP % 2 == 0, np.float32(1), np.float32(-1))
    found = similarity(signs, -signs)
    assert found is not None
    assert found.spearman == pytest.approx(-1)
    assert found.absolute == 1
    found = similarity(signs, RAMP)
    assert found is not None
    assert found.absolute == 0


def test_a_map_that_is_smaller_than_the_window_has_no_structure():
    small = RAMP[:10]
    assert structural_similarity(small, small) is None
    found = similarity(small, small)
    assert found is not None
    assert found.ssim is None
    assert found.spearman == pytest.approx(1)
    assert similarity(small, BLANK[:10]) == Similarity(0, 0, None)
