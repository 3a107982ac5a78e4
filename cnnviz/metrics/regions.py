"""Does a map lie where the objects are? Boxes or masks have to say where that is.

All four measures take what speaks for the target, the map's positive part. Only what the network
saw counts, of the map and of the objects: with ``--resize crop`` an object may be cut off, and the
detail ``region_seen`` says how much of the objects is left. The detail ``input_share`` is the
objects' share of what the network saw. All four grow with it, and the baseline that is the same
everywhere shows how much: its energy inside is this share.

That a map lies on the object does not prove that the network decided by it; and of a network that
looks elsewhere a faithful map lies elsewhere.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cnnviz.attribution.options import option
from cnnviz.engines.target_functions import ClassLogit
from cnnviz.metrics.base import Case, Measurement, Metric, Subject
from cnnviz.metrics.seen_region import SeenRegion
from cnnviz.types import Float32, Float64, Mask

#: What IoU compares: all pixels, or the boxes around them.
OUTLINES = ("pixels", "box")

_TOO_SMALL = "its objects cover no half of any pixel of the network's input"


@dataclass(frozen=True)
class RegionMetric(Metric):
    """A metric that compares a map with the region of the target's objects."""

    group = "localization"
    direction = "higher"
    cheap = True
    needs_region = True

    def measure(self, case: Case, subject: Subject) -> Measurement:
        """Compare them, or say why there is nothing to compare with."""
        seen = case.seen_region
        if seen is None:
            return Measurement(None, "nobody knows where its objects are")
        if not seen.region.any():
            return Measurement(
                None, "no object of its class is marked in the image, or only difficult ones"
            )
        if not seen.region[seen.window].any():
            return Measurement(None, "its objects lie outside of what the network saw")
        return self.compare(case, subject, seen)

    @abstractmethod
    def compare(self, case: Case, subject: Subject, seen: SeenRegion) -> Measurement:
        """Compare a map with objects of which the network saw something."""


@dataclass(frozen=True)
class PointingGame(RegionMetric):
    """Whether the map's maximum lies on an object, or near it (Zhang et al. 2018).

    1, a hit, if the maximum is in the region or less than ``tolerance`` pixels from the nearest
    pixel of it, from center to center: pixels of the image in its file, not of the network's
    input. The maximum is the pixel of the image that holds the center of the highest pixel of the
    map. If k of n equal maxima hit, the value is k/n: what is expected if one of them is drawn. A
    map without positive values points nowhere and is a miss, 0. An image without an object of the
    class, or with difficult ones only, does not count. The mean is that of the classes' means.

    From 0 to 1. A map with its maximum in the middle wins where objects are in the middle, and any
    map wins where they fill the image.
    """

    name = "pointing-game"
    title = "pointing game"
    paper = "Zhang et al. 2018"
    formula = "[distance(argmax s, region) < tolerance]"
    mean_over_classes = True

    tolerance: float = option(
        15.0, "how far from the object still hits, in pixels of the image; 0: only in it", least=0
    )

    def compare(self, case: Case, subject: Subject, seen: SeenRegion) -> Measurement:
        """Hit or miss."""
        group = case.target.index if isinstance(case.target, ClassLogit) else None
        share, maxima = hits(subject.values, seen, self.tolerance)
        return Measurement(share, group=group, details=_details(seen, maxima=maxima))


@dataclass(frozen=True)
class EnergyInside(RegionMetric):
    """The share of the map that lies on the objects (Wang et al. 2020).

    Σ m max(s, 0) / Σ max(s, 0) over the pixels of the input, with m the part of a pixel that the
    objects cover. Negative values count as 0. There is none for a map without positive values.
    CLEVR-XAI (Arras et al. 2022) calls it relevance mass accuracy.

    From 0 to 1. A map that is narrow and on the object wins, however little of it is shown; one
    that is the same everywhere has the objects' share of the image.
    """

    name = "energy-inside"
    title = "energy inside"
    paper = "Wang et al. 2020; Arras et al. 2022"
    formula = "Σ m max(s, 0) / Σ max(s, 0)"

    def compare(self, case: Case, subject: Subject, seen: SeenRegion) -> Measurement:
        """The share."""
        positive = _positive(subject)
        total = positive.sum()
        if not total:
            return Measurement(None, "the map has no positive value", details=_details(seen))
        inside = float((positive * seen.coverage).sum() / total)
        return Measurement(min(1.0, inside), details=_details(seen))


@dataclass(frozen=True)
class RankAccuracy(RegionMetric):
    """How many of the highest pixels are the object's (Arras et al. 2022, CLEVR-XAI).

    |TopK ∩ M| / |M|: M are the pixels of the input of which the objects cover half or more, and
    TopK the K = |M| highest pixels of the map. Equal values stand in an order that chance made once
    for all maps: where a map is 0, it hits as often as chance does. A map without positive values
    ranks nothing, and has 0.

    From 0 to 1. How much higher a pixel is does not count. A map that covers the object evenly
    wins; a narrow one on the object does not.
    """

    name = "rank-accuracy"
    title = "rank accuracy"
    paper = "Arras et al. 2022"
    formula = "|TopK ∩ M| / |M|, K = |M|"

    def compare(self, case: Case, subject: Subject, seen: SeenRegion) -> Measurement:
        """The share of the highest pixels."""
        inside = seen.inside.ravel()
        count = int(inside.sum())
        if not count:
            return Measurement(None, _TOO_SMALL, details=_details(seen))
        if not subject.values.max() > 0:
            return Measurement(0.0, details=_details(seen))
        hits = int(inside[subject.order[:count]].sum())
        return Measurement(hits / count, details=_details(seen))


@dataclass(frozen=True)
class IoU(RegionMetric):
    """Intersection over union of the objects and of what is high in the map (Zhou et al. 2016).

    High is what is positive and at least ``threshold`` times the map's maximum. With
    ``outline=pixels`` it is compared with the pixels of the input of which the objects cover half
    or more. With ``outline=box``, as weakly supervised localization is measured, the box around the
    largest connected part of it is compared with the box around these; that suits images with one
    object and boxes around it. A map without positive values has 0.

    From 0 to 1. A map wins whose extent at this threshold is the object's, so the threshold decides
    among methods: a gradient has few pixels above any.
    """

    name = "iou"
    title = "IoU"
    paper = "Zhou et al. 2016"
    formula = "|{s ≥ t max s} ∩ M| / |{s ≥ t max s} ∪ M|"

    threshold: float = option(0.2, "what counts as high, in parts of the maximum", least=0, most=1)
    outline: str = option("pixels", "what is compared", choices=OUTLINES)

    def compare(self, case: Case, subject: Subject, seen: SeenRegion) -> Measurement:
        """The intersection over the union."""
        inside = seen.inside
        if not inside.any():
            return Measurement(None, _TOO_SMALL, details=_details(seen))
        positive = _positive(subject)
        high = (positive > 0) & (positive >= self.threshold * positive.max())
        if self.outline == "box" and high.any():
            high, inside = _box(_largest_part(high)), _box(inside)
        union = int((high | inside).sum())
        return Measurement(int((high & inside).sum()) / union, details=_details(seen))


def _details(seen: SeenRegion, **more: Any) -> dict[str, Any]:
    return {"input_share": seen.share, "region_seen": seen.seen, **more}


def _positive(subject: Subject) -> Float64:
    """The map's positive part, (H, W): in float64, where no sum of float32 overflows."""
    return np.maximum(subject.values.astype(np.float64), 0)


def hits(values: Float32, seen: SeenRegion, tolerance: float) -> tuple[float, int]:
    """The share of a map's maxima that hit, as in :class:`PointingGame`, and how many there are.

    Args:
        values: (H, W), of the size of the network's input.
        seen: the objects, of which the network saw something.
        tolerance: in pixels of the image.

    Returns:
        0 and 0 if no value is positive.
    """
    highest = values.max()
    if not highest > 0:
        return 0.0, 0
    maxima = np.argwhere(values == highest)
    return float(_near(seen, maxima, tolerance).mean()), len(maxima)


def _near(seen: SeenRegion, cells: npt.NDArray[np.int64], tolerance: float) -> Mask:
    """Which of some pixels of the input, (n, 2), are in the region or nearer than a distance."""
    region = seen.region[seen.window]
    y0, x0, y1, x1 = seen.geometry.box
    corner = (seen.window[0].start, seen.window[1].start)
    per_cell = np.array([y1 - y0, x1 - x0]) / seen.geometry.network
    centers = np.array([y0, x0]) + (cells + 0.5) * per_cell - corner
    margin = 1e-9 * max(seen.geometry.source)  # one on an edge must not depend on its rounding
    places = np.clip(np.floor(centers + margin).astype(np.int64), 0, np.array(region.shape) - 1)
    # What is farther than the tolerance from all of them does not matter.
    reach = math.ceil(min(tolerance, sum(region.shape)))
    first = np.maximum(places.min(axis=0) - reach, 0)
    last = places.max(axis=0) + reach + 1
    near = np.ascontiguousarray(region[first[0] : last[0], first[1] : last[1]])
    if not near.any():
        return np.zeros(len(cells), np.bool_)
    distance = cv2.distanceTransform((~near).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    found = distance[tuple((places - first).T)]
    return np.asarray((found == 0) | (found < tolerance))


def _largest_part(mask: Mask) -> Mask:
    """The largest of its parts that hang together by sides; of equal ones the first."""
    _, parts, statistics, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    areas = statistics[1:, cv2.CC_STAT_AREA]
    return np.asarray(parts == 1 + int(areas.argmax()))


def _box(mask: Mask) -> Mask:
    """The pixels of the box around a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = np.zeros_like(mask)
    box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return box
