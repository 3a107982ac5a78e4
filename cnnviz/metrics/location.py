"""How much of a heatmap lies at the border and in the corners, and where its peak is.

A network that learned a watermark, a date stamp or a frame instead of the object gives itself away
by heatmaps that lie where objects seldom are. One image proves little; the mean over all images
that were mistaken for the same class shows it (:func:`mean_map`).

Shares are areas of the image as the network was fed it, in fractions of its sides, so that they
mean the same for every network. The map is taken as it is rendered: bilinear between the centers of
its cells and constant beyond the outermost ones (:func:`cnnviz.images.preprocessing.to_image`).
That surface is integrated exactly; its total is that of the cells. A square for each cell would
make the share jump where the ring's edge crosses it, and 14 cells are no finer than the ring.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from cnnviz.errors import MapError
from cnnviz.images.preprocessing import Prepared
from cnnviz.types import Float32, Float64

RING = 0.1
"""Width of the border ring, as a part of the image's height and of its width."""

CORNER = 0.2
"""Side of a corner's square, likewise."""

BORDER_AREA = 0.36
"""The border ring's part of the image, 1 - 0.8²: what an even map's share would be."""

CORNER_AREA = 0.04
"""One corner's part of the image, 0.2²."""

CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")
"""What the corners are called, in the order of :attr:`Location.corners`."""

MEAN_IMAGES = 5
"""How many heatmaps a mean has at least that says more than its images do one by one."""

LARGEST_MAP = 64
"""Cells a side of the maps that are kept; larger ones are averaged down to this."""


@dataclass(frozen=True)
class Location:
    """Where one heatmap lies.

    Attributes:
        border: share of the map in the border ring, from 0 to 1; :data:`BORDER_AREA` if even.
        corners: shares in the four corners (top left, top right, bottom left, bottom right), each
            from 0 to 1; :data:`CORNER_AREA` if even. What lies in a corner may lie in the ring too.
        box: (x0, y0, x1, y1) in pixels of the original image, right and bottom exclusive: around
            the region above half of the maximum that holds the maximum. Every pixel is in it that
            the region touches.
        map: float32 (h, w), the map divided by its maximum, no side longer than
            :data:`LARGEST_MAP`.
    """

    border: float
    corners: tuple[float, float, float, float]
    box: tuple[int, int, int, int]
    map: Float32 = field(repr=False, compare=False)


def measure_location(cam: Float32, prepared: Prepared) -> Location | None:
    """Measure one map; None if it is zero everywhere.

    The region of the box is a connected part of the bilinear surface itself, which is not sampled.
    The first of several equal maxima counts.

    Args:
        cam: float (h, w), at least 0, over all that the network saw, at any resolution and scale.
        prepared: the image as the network was fed it; only the geometry is read.

    Raises:
        MapError: the map has no two sides, or a value that is negative or not finite.
    """
    if cam.ndim != 2 or 0 in cam.shape:
        raise MapError(f"A map has shape (h, w) and no empty side; got {cam.shape}.")
    values = cam.astype(np.float64)
    highest = float(values.max())
    if not (math.isfinite(highest) and values.min() >= 0):
        raise MapError("The map has values that are negative or not finite.")
    if highest == 0:
        return None
    values /= highest

    height, width = values.shape
    rows, columns = _bands(height, RING), _bands(width, RING)
    total = values.sum() / values.size
    # Both terms are sums of what is not negative, so that nothing is lost to cancellation.
    beside = rows[1] @ values @ (columns[0] + columns[2])
    border = (rows[0] + rows[2]) @ values @ columns.sum(axis=0) + beside
    rows, columns = _bands(height, CORNER), _bands(width, CORNER)
    top_left, top_right, bottom_left, bottom_right = (
        min(1.0, float(rows[row] @ values @ columns[column] / total))
        for row in (0, 2)
        for column in (0, 2)
    )
    return Location(
        border=min(1.0, float(border / total)),
        corners=(top_left, top_right, bottom_left, bottom_right),
        box=_box(values, prepared),
        map=_reduced(values),
    )


def mean_map(maps: Iterable[Float32]) -> Float32:
    """The mean of several maps, float32 (h, w), from 0 to 1.

    Args:
        maps: of one layer, each (h, w) with its maximum at 1 (:attr:`Location.map`), so that every
            one counts alike, whatever its logit was. The mean's maximum is below 1 where they
            differ; how far below tells how much they agree.

    Raises:
        MapError: there is none, or they differ in shape.
    """
    mean = MeanMap()
    for one in maps:
        mean.add(one)
    return mean.value()


class MeanMap:
    """The same of maps that come one by one."""

    def __init__(self) -> None:
        self._total: Float64 | None = None
        self._count = 0

    def add(self, one: Float32) -> None:
        """Take one more.

        Raises:
            MapError: it differs from those before in shape.
        """
        if self._total is None:
            self._total = np.zeros(one.shape, np.float64)
        if one.shape != self._total.shape:
            raise MapError(
                f"Maps of one layer have one shape; got {self._total.shape} and {one.shape}."
            )
        self._total += one
        self._count += 1

    def value(self) -> Float32:
        """The mean of those so far, float32 (h, w).

        Raises:
            MapError: there is none.
        """
        if self._total is None:
            raise MapError("There is no map to take the mean of.")
        return np.asarray(self._total / self._count, np.float32)


def _integrals(length: int, edges: Float64) -> Float64:
    """Weights (edges - 1, length): the integral of each cell's part between neighboring edges.

    Edges go from 0 to 1 along the axis. A cell's part of the bilinear surface is a hat, one at its
    own center and zero at its neighbors'; the first and the last stay one to the axis's end. Each
    integrates to 1/length over the whole axis.
    """
    positions = edges * length - 0.5  # in cells, from the first one's center
    inside = np.clip(positions, 0, length - 1)
    cells = np.arange(length)
    distance = np.clip(inside[:, None] - cells, -1, 1)
    # A hat's integral from -1: (1 + d)²/2 up to its top, 1 - (1 - d)²/2 after it.
    reached = 0.5 + distance - 0.5 * distance * np.abs(distance)
    beyond = positions - inside
    reached[:, 0] += np.minimum(beyond, 0)
    reached[:, -1] += np.maximum(beyond, 0)
    return np.asarray(np.diff(reached, axis=0) / length, np.float64)


def _bands(length: int, part: float) -> Float64:
    """Weights (3, length) of the axis's first part, its middle, and its last part."""
    return _integrals(length, np.array([0, part, 1 - part, 1], np.float64))


def _reduced(values: Float64) -> Float32:
    """A map with its maximum at 1, averaged down so that no side is above :data:`LARGEST_MAP`."""
    for axis in (0, 1):
        if values.shape[axis] > LARGEST_MAP:
            weights = _integrals(values.shape[axis], np.linspace(0, 1, LARGEST_MAP + 1))
            values = np.moveaxis(np.tensordot(weights, values, (1, axis)), 0, axis)
    return np.asarray(values / values.max(), np.float32)


def _box(values: Float64, prepared: Prepared) -> tuple[int, int, int, int]:
    """The box of :class:`Location`, of a map whose maximum is 1."""
    geometry = prepared.geometry
    region = _region(values)
    y0, y1 = _span(values.T, region.T, geometry.box[0::2], geometry.source[0])
    x0, x1 = _span(values, region, geometry.box[1::2], geometry.source[1])
    return x0, y0, x1, y1


#: Above half is more than that: where a map lies at half it must not come and go with rounding.
_HALF = 0.5 + 1e-9


def _region(values: Float64) -> npt.NDArray[np.bool_]:
    """The cells whose centers are in the region of :class:`Location`.

    Between four centers the surface is linear along each axis. So whatever is above half there
    leads straight to a line between two centers, and along that to a center: the region hangs
    together as these centers do. Neighbors above half are joined; so are two across a corner if
    the saddle between them is above half.
    """
    above = values > _HALF
    height, width = values.shape
    fine = np.zeros((2 * height - 1, 2 * width - 1), np.uint8)
    fine[::2, ::2] = above
    fine[1::2, ::2] = above[1:] & above[:-1]
    fine[::2, 1::2] = above[:, 1:] & above[:, :-1]
    top_left, top_right = values[:-1, :-1], values[:-1, 1:]
    bottom_left, bottom_right = values[1:, :-1], values[1:, 1:]
    fine[1::2, 1::2] = _joined(top_left, bottom_right, top_right, bottom_left)
    fine[1::2, 1::2] |= _joined(top_right, bottom_left, top_left, bottom_right)
    row, column = divmod(int(values.argmax()), width)
    _, regions = cv2.connectedComponents(fine, connectivity=8)
    return np.asarray(regions[::2, ::2] == regions[2 * row, 2 * column])


def _joined(a: Float64, b: Float64, c: Float64, d: Float64) -> npt.NDArray[np.bool_]:
    """Whether a and b, above half, are joined between c and d, which are not: by their saddle."""
    across = (np.minimum(a, b) > _HALF) & (np.maximum(c, d) <= _HALF)
    saddle = (a * b - c * d) / np.where(across, a + b - c - d, 1)
    return np.asarray(across & (saddle > _HALF))


def _span(
    values: Float64, region: npt.NDArray[np.bool_], box: tuple[float, ...], source: int
) -> tuple[int, int]:
    """First and one past the last pixel of the source that the region touches along the columns.

    How far it reaches is seen on the lines along which centers lie, where the surface is linear
    from one to the next: between these lines it is nowhere higher than on both.
    """
    length = values.shape[1]
    reach = []
    for step in (-1, 1):
        neighbors = np.roll(values, -step, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            beyond = np.clip((values - 0.5) / (values - neighbors), 0, 1)
        beyond[neighbors > _HALF] = 0  # of the same region: it reaches farther
        beyond[:, -1 if step > 0 else 0] = 0.5  # constant as far as the edge
        ends = np.arange(length) + step * beyond
        reach.append(ends[region])
    per_cell = (box[1] - box[0]) / length
    start = box[0] + (reach[0].min() + 0.5) * per_cell
    stop = box[0] + (reach[1].max() + 0.5) * per_cell
    # The edges come out of a division; one on a whole pixel must not depend on its rounding.
    margin = 1e-9 * source
    return max(0, math.floor(start + margin)), min(source, math.ceil(stop - margin))
