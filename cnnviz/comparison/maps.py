"""How alike two heatmaps of one image are, whatever the resolution and the network of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cnnviz.comparison.records import MapAgreementRecord
from cnnviz.images.placing import seen_part
from cnnviz.metrics.similarity import rank_correlation
from cnnviz.runs.image_records import LocationRecord
from cnnviz.runs.run_records import InputRecord
from cnnviz.types import Float32, Float64

STRONGEST = 0.2
"""The part of the image whose strongest evidence is compared."""

ELSEWHERE = 0.5
"""Two maps that have less of it in common than this look elsewhere."""

_Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Looked:
    """Where a network looked in an image.

    Attributes:
        location: the heatmap, and its shares.
        input: what the network is fed, which decides on the part of the image that it saw.
    """

    location: LocationRecord
    input: InputRecord

    def part(self, source: tuple[int, int]) -> _Box:
        """(y0, x0, y1, x1), the part of an image of (H, W) pixels that it saw."""
        return seen_part(source, self.input.spec).box


def agreement(
    a: Looked, b: Looked, source: tuple[int, int], *, same_target: bool
) -> MapAgreementRecord:
    """How alike two heatmaps are.

    Args:
        a: the one.
        b: the other.
        source: (H, W) of the image in pixels.
        same_target: whether both explain the same.
    """
    part_a, part_b = a.part(source), b.part(source)
    both = _shared(part_a, part_b)
    left, right = a.location.heatmap.values(), b.location.heatmap.values()
    if part_a != part_b or left.shape != right.shape:
        shape = (max(left.shape[0], right.shape[0]), max(left.shape[1], right.shape[1]))
        left, right = _seen(left, part_a, both, shape), _seen(right, part_b, both, shape)
    common = in_common(left, right)
    pairs = zip(a.location.corners, b.location.corners, strict=True)
    changes = [round(after - before, 6) for before, after in pairs]
    # Where one corner gained what another one lost, it is the gain that is told.
    _, most = max((abs(change), change) for change in changes)
    return MapAgreementRecord(
        same_target=same_target,
        spearman=_rounded(rank_correlation(left, right)),
        common=round(common, 6),
        peak_distance=round(_peak_distance(left, right, both, source), 6),
        border=round(b.location.border - a.location.border, 6),
        corner=most,
        elsewhere=common < ELSEWHERE,
    )


def in_common(a: Float32, b: Float32, part: float = STRONGEST) -> float:
    """The share of the strongest cells of two maps (h, w), at least 0, that they have in common.

    The strongest cells are a part of all; of equal ones at its end each counts in part. Cells
    without evidence do not count, so that a map may have fewer: the share is of the smaller set.

    Returns:
        From 0 to 1; 1 if one map has no evidence at all.
    """
    left, right = _strongest(a, part), _strongest(b, part)
    fewer = min(left.sum(), right.sum())
    return float(min(1.0, np.minimum(left, right).sum() / fewer)) if fewer else 1.0


def _strongest(values: Float32, part: float) -> Float64:
    """How far each cell belongs to the strongest part, (h·w,) from 0 to 1."""
    flat = values.ravel().astype(np.float64)
    count = part * flat.size
    last = np.sort(flat)[::-1][int(np.ceil(count)) - 1]
    above, equal = flat > last, flat == last
    belongs = above + equal * (count - above.sum()) / equal.sum()
    found: Float64 = np.where(flat > 0, belongs, 0.0)
    return found


def _shared(a: _Box, b: _Box) -> _Box:
    """What is in both: each is around the image's center."""
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def _seen(values: Float32, part: _Box, both: _Box, shape: tuple[int, int]) -> Float32:
    """A map of one part of an image on a grid over a part of that, as it is rendered: bilinear."""
    rows = _weights(values.shape[0], (part[0], part[2]), (both[0], both[2]), shape[0])
    columns = _weights(values.shape[1], (part[1], part[3]), (both[1], both[3]), shape[1])
    return np.asarray(rows @ values @ columns.T, np.float32)


def _weights(
    length: int, part: tuple[float, float], both: tuple[float, float], count: int
) -> Float64:
    """(count, length): each of ``count`` new cells between the ``length`` that there are."""
    centers = both[0] + (np.arange(count) + 0.5) * (both[1] - both[0]) / count
    places = (centers - part[0]) * length / (part[1] - part[0]) - 0.5
    places = np.clip(places, 0, length - 1)
    found: Float64 = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(length)))
    return found


def _peak_distance(a: Float32, b: Float32, both: _Box, source: tuple[int, int]) -> float:
    """Between two maps' maxima, as a part of the image's diagonal; of equal ones the first."""
    height, width = a.shape
    (row_a, column_a), (row_b, column_b) = (divmod(int(one.argmax()), width) for one in (a, b))
    down = (row_b - row_a) * (both[2] - both[0]) / height
    across = (column_b - column_a) * (both[3] - both[1]) / width
    return float(np.hypot(down, across) / np.hypot(*source))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
