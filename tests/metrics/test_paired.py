"""McNemar's test, against the binomial distribution in fractions and against published tables."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from cnnviz.metrics.paired import mcnemar


def by_fractions(fixed, broken):
    """Both tails of the binomial distribution, outcome by outcome, as rational numbers."""
    total = fixed + broken
    seen = abs(fixed - broken)
    tails = sum(math.comb(total, k) for k in range(total + 1) if abs(total - 2 * k) >= seen)
    return float(Fraction(tails, 2**total))


def test_small_numbers():
    for fixed in range(12):
        for broken in range(12):
            assert mcnemar(fixed, broken) == pytest.approx(by_fractions(fixed, broken), rel=1e-14)


@pytest.mark.parametrize(("fixed", "broken"), [(0, 0), (1, 1), (500, 500), (700, 700)])
def test_equal_numbers_say_nothing(fixed, broken):
    assert mcnemar(fixed, broken) == 1


def test_no_image_broken():
    """All of n images fixed: twice (1/2)^n."""
    assert mcnemar(6, 0) == 2 / 64
    assert mcnemar(0, 5) == 2 / 32


@pytest.mark.parametrize(("fixed", "broken"), [(480, 521), (1100, 900), (600, 401)])
def test_large_numbers(fixed, broken):
    """Logarithms of Gamma at 2,000 are 13,000: ten digits are left."""
    assert mcnemar(fixed, broken) == pytest.approx(by_fractions(fixed, broken), rel=1e-10)


def test_an_enormous_difference_is_no_error():
    assert 0 <= mcnemar(100_000, 10) < 1e-300
