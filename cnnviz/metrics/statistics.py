"""Means over images, with intervals: what a metric says of a method, and how far to trust it.

An interval is the bootstrap's (Efron 1979): the images are drawn again, with replacement, as many
as there are, :data:`RESAMPLES` times, and the middle 95 % of the means that come out are the
interval. It says what other images of the same kind would have given; that the images are of the
kind that matters, nobody can compute. Two maps are compared on the same images, by the difference
of each (a paired comparison): much of what makes images differ cancels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cnnviz.metrics.base import Direction
from cnnviz.types import Float64

RESAMPLES = 2000
LEVEL = 0.95
_SEED = 19_790_107
#: Above as many images the bootstrap's means are normal to all that is printed of them.
_LARGEST = 10_000
_NORMAL = 1.959964  # the normal distribution's 97.5 % point
_DRAWN_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Mean:
    """A mean over images.

    Attributes:
        value: the mean; None if there is no image to take it of.
        low: the lower end of the 95 % interval; None for fewer than two images.
        high: the upper end.
        images: how many images it is the mean of.
    """

    value: float | None
    low: float | None
    high: float | None
    images: int


def mean_of(values: Float64, groups: npt.NDArray[np.int64] | None = None) -> Mean:
    """The mean over images, with its interval.

    Args:
        values: (n,) float64, one an image; NaN where there is none.
        groups: (n,), each image's class, if the mean is that of the classes' means; a class that a
            resample does not have is left out of its mean.
    """
    there = np.isfinite(values)
    values = values[there]
    groups = None if groups is None else groups[there]
    if not values.size:
        return Mean(None, None, None, 0)
    everything = np.ones((1, values.size))
    value = float(_means(everything, values, groups)[0])
    if values.size < 2:
        return Mean(value, None, None, 1)
    if values.size > _LARGEST and groups is None:
        reach = _NORMAL * float(values.std(ddof=1)) / np.sqrt(values.size)
        return Mean(value, value - reach, value + reach, values.size)
    rng = np.random.default_rng(_SEED)
    rows = max(1, _DRAWN_AT_ONCE // values.size)
    parts = []
    for start in range(0, RESAMPLES, rows):
        count = min(rows, RESAMPLES - start)
        drawn = rng.multinomial(values.size, np.full(values.size, 1 / values.size), size=count)
        parts.append(_means(drawn.astype(np.float64), values, groups))
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(np.concatenate(parts), [tail, 100 - tail])
    return Mean(value, float(low), float(high), values.size)


def _means(counts: Float64, values: Float64, groups: npt.NDArray[np.int64] | None) -> Float64:
    """The mean in each of R samples, (R,); ``counts`` (R, n) says how often each image is in it."""
    if groups is None:
        return np.asarray(counts @ values / counts.sum(axis=1))
    classes = np.unique(groups)
    member = (groups[:, None] == classes).astype(np.float64)
    sizes, sums = counts @ member, counts @ (member * values[:, None])
    there = sizes > 0
    means = np.divide(sums, sizes, out=np.zeros_like(sums), where=there)
    return np.asarray(means.sum(axis=1) / there.sum(axis=1))


def is_better(difference: Mean, direction: Direction | None) -> bool | None:
    """Whether a map is better than another one, by the mean of the images' differences.

    Args:
        difference: of the map's values minus the other one's.
        direction: which values are good.

    Returns:
        True if the whole interval is on the good side; None if that cannot be said: fewer than two
        images, or a metric that says nothing about good and bad.
    """
    if direction is None or difference.low is None or difference.high is None:
        return None
    return difference.low > 0 if direction == "higher" else difference.high < 0
