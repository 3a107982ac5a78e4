"""The objects of an image as far as the network saw them, in its own pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cnnviz.images.placing import Geometry
from cnnviz.types import Float64, Mask

#: A pixel of the input is the object's if it covers this much of it.
_HALF = 0.5 - 1e-9  # cells' edges come out of divisions


@dataclass(frozen=True)
class SeenRegion:
    """Where the target's objects are in what the network saw.

    Attributes:
        region: bool (H, W), of the whole image.
        geometry: where in it the network's input lies.
    """

    region: Mask
    geometry: Geometry

    @cached_property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the image whose pixels' centers the network saw."""
        y0, x0, y1, x1 = self.geometry.box
        rows, columns = (
            # A center exactly on an edge must not depend on the edge's rounding.
            slice(math.ceil(low - 0.5 - 1e-9 * side), math.ceil(high - 0.5 - 1e-9 * side))
            for low, high, side in zip((y0, x0), (y1, x1), self.geometry.source, strict=True)
        )
        return rows, columns

    @cached_property
    def coverage(self) -> Float64:
        """How much of each pixel of the input the objects cover, 0..1, (h, w).

        Exact: an input pixel is a rectangle of the image, whose edges need not fall on its pixels.
        """
        y0, x0, y1, x1 = self.geometry.box
        height, width = self.geometry.network
        # Sums over all that is above and left of each pixel's corner; linear across a pixel.
        sums = cv2.integral(self.region.view(np.uint8))
        down = _between(sums, np.linspace(y0, y1, height + 1))
        cells = _between(down.T, np.linspace(x0, x1, width + 1)).T
        area = (y1 - y0) / height * (x1 - x0) / width
        return np.clip(cells / area, 0, 1)

    @cached_property
    def inside(self) -> Mask:
        """The pixels of the input of which the objects cover half or more, (h, w)."""
        return np.asarray(self.coverage >= _HALF)

    @property
    def share(self) -> float:
        """The objects' share of what the network saw, 0..1."""
        return float(self.coverage.mean())

    @cached_property
    def seen(self) -> float:
        """The share of the objects that the network saw, 0..1; 0 if there is none."""
        y0, x0, y1, x1 = self.geometry.box
        total = int(np.count_nonzero(self.region))
        return min(1.0, self.share * (y1 - y0) * (x1 - x0) / total) if total else 0.0


def _between(sums: npt.NDArray[Any], edges: Float64) -> Float64:
    """How much sums along the rows grow from each edge to the next, linearly between rows."""
    last = len(sums) - 1
    edges = np.clip(edges, 0, last)
    whole = np.minimum(edges.astype(np.int64), last - 1)
    part = (edges - whole)[:, None]
    return np.diff(sums[whole] * (1 - part) + sums[whole + 1] * part, axis=0)
