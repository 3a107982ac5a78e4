"""Which classes were confused, and where the network looked when they were.

A pair is a true and a predicted class: (truth, predicted), each an index; the truth is None where
it is not known. Images come one by one, and what is kept grows with the pairs, not with the images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cnnviz.metrics.location import BORDER_AREA, CORNER_AREA, MeanMap
from cnnviz.runs.image_records import ImageRecord, LocationRecord
from cnnviz.runs.summary import Accuracy, predicted_location

Pair = tuple[int | None, int]

MATRIX_WHOLE = 20
"""Largest number of classes that a matrix shows in full; of more it shows the most confused."""

MATRIX_PART = 12
"""How many those are."""

SUSPICIOUS_BORDER = 0.68
SUSPICIOUS_CORNER = 0.28
"""Mean shares, drawn toward what is even by one image, from which a pair is called suspicious:
a border that holds half of what it could beyond its area, a corner that holds a quarter."""

SUSPICIOUS_IMAGES = 3
"""How many images a pair has at least that is called suspicious: one or two prove nothing."""


@dataclass(frozen=True)
class ConfusionMatrix:
    """How often each class was predicted for each.

    Attributes:
        classes: indices of the rows (true classes) and columns (predictions).
        counts: of the images, one row for each true class.
        whole: whether these are all classes; else those that most errors belong to.
        errors: (truth, predicted, count) of all confused pairs, the most frequent first.
        images_of: how many images each true class has, also beyond those rows and columns.
    """

    classes: tuple[int, ...]
    counts: tuple[tuple[int, ...], ...]
    whole: bool
    errors: tuple[tuple[int, int, int], ...]
    images_of: Mapping[int, int]


@dataclass(frozen=True)
class PairLocation:
    """Where the network looked, on average over the images of one pair.

    Attributes:
        pair: true and predicted class.
        images: how many have a heatmap of the predicted class that is not blank.
        border: mean share of the map in the border ring.
        corners: mean shares in the corners: top left, top right, bottom left, bottom right.
        mean: float32 (h, w), mean of the maps, each of which has its maximum at 1.
        score: by how much border or corners exceed their areas, from below 0 to 1; what exceeds
            by chance in few images counts less.
        suspicious: whether that is far.
    """

    pair: Pair
    images: int
    border: float
    corners: tuple[float, float, float, float]
    mean: npt.NDArray[np.float32]
    score: float
    suspicious: bool


def pair_of(image: ImageRecord) -> Pair | None:
    """The pair that an image belongs to; None if it failed."""
    if not image.ok:
        return None
    truth = image.ground_truth
    return (None if truth is None else truth.index, image.prediction.index)


def confusion_matrix(accuracy: Accuracy) -> ConfusionMatrix | None:
    """The pairs of the images whose true class is known; None if there is none."""
    if not accuracy.counts:
        return None
    images_of: Counter[int] = Counter()
    for (truth, _), count in accuracy.counts.items():
        images_of[truth] += count
    classes = sorted({index for pair in accuracy.counts for index in pair})
    whole = len(classes) <= MATRIX_WHOLE
    if not whole:
        involved: Counter[int] = Counter()
        for truth, predicted, count in accuracy.confusions:
            involved[truth] += count
            involved[predicted] += count
        most = sorted(involved, key=lambda index: (-involved[index], index))[:MATRIX_PART]
        classes = sorted(most)
    return ConfusionMatrix(
        classes=tuple(classes),
        counts=tuple(
            tuple(accuracy.counts[truth, predicted] for predicted in classes) for truth in classes
        ),
        whole=whole,
        errors=tuple(accuracy.confusions),
        images_of=images_of,
    )


@dataclass
class PairLocations:
    """Where the network looked for each pair.

    Of each image the heatmap of the predicted class counts, if that was explained.

    Attributes:
        images: of each pair how many there are, with a heatmap or without.
    """

    images: Counter[Pair] = field(default_factory=Counter)
    _sums: dict[Pair, _Sums] = field(default_factory=dict)

    def add_image(self, image: ImageRecord) -> None:
        """Count an image if it was explained.

        Raises:
            MapError: its heatmap differs in shape from those of its pair.
        """
        pair = pair_of(image)
        if pair is None:
            return
        self.images[pair] += 1
        location = predicted_location(image)
        if location is not None:
            self._sums.setdefault(pair, _Sums()).add(location)

    def means(self) -> list[PairLocation]:
        """Those with a heatmap, first those that look most like a shortcut."""
        return sorted(
            (sums.mean(pair) for pair, sums in self._sums.items()),
            key=lambda one: (
                not one.suspicious,
                one.pair[0] == one.pair[1],
                -one.score,
                -1 if one.pair[0] is None else one.pair[0],
                one.pair[1],
            ),
        )


class _Sums:
    """Of the locations of one pair."""

    def __init__(self) -> None:
        self._images = 0
        self._border = 0.0
        self._corners = (0.0, 0.0, 0.0, 0.0)
        self._map = MeanMap()

    def add(self, location: LocationRecord) -> None:
        self._images += 1
        self._border += location.border
        a, b, c, d = self._corners
        top_left, top_right, bottom_left, bottom_right = location.corners
        self._corners = (a + top_left, b + top_right, c + bottom_left, d + bottom_right)
        self._map.add(location.heatmap.values())

    def mean(self, pair: Pair) -> PairLocation:
        images = self._images
        border = self._border / images
        top_left, top_right, bottom_left, bottom_right = (one / images for one in self._corners)
        each = (top_left, top_right, bottom_left, bottom_right)
        # One even image more: what a single image shows may be chance.
        drawn_border = (border * images + BORDER_AREA) / (images + 1)
        drawn_corner = (max(each) * images + CORNER_AREA) / (images + 1)
        return PairLocation(
            pair=pair,
            images=images,
            border=border,
            corners=each,
            mean=self._map.value(),
            score=max(
                (drawn_border - BORDER_AREA) / (1 - BORDER_AREA),
                (drawn_corner - CORNER_AREA) / (1 - CORNER_AREA),
            ),
            suspicious=images >= SUSPICIOUS_IMAGES
            and (drawn_border >= SUSPICIOUS_BORDER or drawn_corner >= SUSPICIOUS_CORNER),
        )
