"""Whether one of two classifiers is better, by the images that only one of them has right."""

from __future__ import annotations

import math

_EXACT = 1000  # above as many the binomial coefficients are computed by their logarithms


def mcnemar(fixed: int, broken: int) -> float:
    """McNemar's test (1947) in its exact form, two-sided.

    Images that both have right, or both wrong, say nothing about which is better. If neither is,
    each of the others is as likely fixed as broken: their number follows the binomial distribution
    with p = 1/2, and twice its lower tail up to the smaller of the two is the probability of an
    imbalance like this one, or a larger one.

    Args:
        fixed: how many images only the second has right.
        broken: how many only the first has right.

    Returns:
        The p-value, above 0 up to 1; 1 if there is no such image.
    """
    total, smaller = fixed + broken, min(fixed, broken)
    if 2 * smaller >= total - 1:
        return 1.0
    if total <= _EXACT:
        tail = sum(math.comb(total, k) for k in range(smaller + 1))
        return float(2 * tail / 2**total)
    whole = math.lgamma(total + 1) - (total - 1) * math.log(2)
    return math.fsum(
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(total - k + 1))
        for k in range(smaller + 1)
    )
