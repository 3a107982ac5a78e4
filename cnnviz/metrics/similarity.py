"""How alike two maps are: the order of their values, and their local structure.

Neither sees the scale of a map. Of a map that has the same value everywhere neither can be said:
there is no order, and no structure.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cnnviz.metrics.sums import inner, length
from cnnviz.types import Float32, Float64

#: Wang et al. 2004, section III-B: an 11×11 Gaussian window, and constants that keep quotients of
#: small numbers from swinging.
_WINDOW = 11
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03

#: Values that differ by no more than this part of the largest differ by their rounding alone.
_ROUNDING = 4 * float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Similarity:
    """How alike two maps are.

    Attributes:
        spearman: Spearman's rank correlation of their values, -1 to 1.
        absolute: of their values' magnitudes, for maps whose signs mean less than their places.
        ssim: :func:`structural_similarity`; None for maps that are smaller than its window.
    """

    spearman: float
    absolute: float
    ssim: float | None


def similarity(original: Float32, changed: Float32) -> Similarity | None:
    """How much of a map is left after something has changed.

    Args:
        original: (H, W), as it was.
        changed: (H, W), as it is now.

    Returns:
        None if the original has the same value everywhere: nothing of it can be lost. All zero if
        it has not, and now has: nothing is left.
    """
    if is_blank(original):
        return None
    spearman = rank_correlation(original, changed)
    if spearman is None:
        large = min(original.shape) >= _WINDOW
        return Similarity(0.0, 0.0, 0.0 if large else None)
    magnitudes = np.abs(original), np.abs(changed)
    if any(map(is_blank, magnitudes)):  # +a and -a: all that is told is in the signs
        absolute = float(all(map(is_blank, magnitudes)))
    else:
        absolute = rank_correlation(*magnitudes) or 0.0
    return Similarity(spearman, absolute, structural_similarity(original, changed))


def is_blank(values: Float32) -> bool:
    """Whether a map has the same value everywhere, but for rounding."""
    low, high = float(values.min()), float(values.max())
    return high - low <= _ROUNDING * max(-low, high)


def rank_correlation(a: Float32, b: Float32) -> float | None:
    """Spearman's ρ of two maps of one shape: Pearson's correlation of their values' ranks.

    Equal values share the mean of the ranks that they take up together. A map made by a ReLU has
    one rank for all its zeros, so that it does not matter in which order something sorts these.

    Returns:
        From -1 to 1; None if one of them has the same value everywhere.
    """
    left, right = direction_of_ranks(a), direction_of_ranks(b)
    return None if left is None or right is None else float(np.clip(inner(left, right), -1, 1))


def direction_of_ranks(values: Float32) -> Float64 | None:
    """The ranks of a map without their mean, (H·W,), of length 1.

    The inner product of two maps' is their rank correlation: who compares many ranks each once.

    Returns:
        None if the map has the same value everywhere.
    """
    if is_blank(values):
        return None
    ranks = average_ranks(values)
    ranks -= (ranks.size + 1) / 2  # the mean of all ranks, whatever is tied
    ranks /= length(ranks)
    return ranks


def average_ranks(values: Float32) -> Float64:
    """The rank of each value, from 1 for the lowest, (H·W,); equal ones share their mean."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Float64 = np.cumsum(counts) - (counts - 1) / 2
    found: Float64 = ranks[places.ravel()]
    return found


def structural_similarity(a: Float32, b: Float32) -> float | None:
    """The mean SSIM of two maps of one shape (Wang et al. 2004, equation 13), -1 to 1.

    Each map is scaled to [0, 1] by its own extremes, for this alone, as Adebayo et al. (2018) do:
    SSIM compares means and contrasts, which have no common scale in maps of two networks. Means,
    variances and the covariance are those under a Gaussian window of 11×11 with σ = 1.5, where that
    lies within the map; the range of values is 1.

    Returns:
        None if a side is shorter than the window, or one map has the same value everywhere.
    """
    if min(a.shape) < _WINDOW or is_blank(a) or is_blank(b):
        return None
    x, y = _stretched(a), _stretched(b)
    mean_x, mean_y = _windowed(x), _windowed(y)
    variance_x = _windowed(x * x) - mean_x**2
    variance_y = _windowed(y * y) - mean_y**2
    covariance = _windowed(x * y) - mean_x * mean_y
    c1, c2 = _K1**2, _K2**2
    found = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    found /= (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return float(found.mean())


def _stretched(values: Float32) -> Float64:
    """From 0 to 1."""
    wide = values.astype(np.float64)
    found: Float64 = (wide - wide.min()) / np.ptp(wide)
    return found


def _windowed(values: Float64) -> Float64:
    """The weighted mean in every window within the map."""
    edge = _WINDOW // 2
    blurred = cv2.GaussianBlur(values, (_WINDOW, _WINDOW), _SIGMA)
    found: Float64 = blurred[edge:-edge, edge:-edge]
    return found
