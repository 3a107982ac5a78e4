"""Which classes were confused, and where the network looked when they were.

Pure functions on the records of a manifest. A pair is a true and a predicted class: (truth,
predicted), each an index; the truth is None where it is not known.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cnnviz.metrics.location import BORDER_AREA, CORNER_AREA, mean_map
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


def confusion_matrix(images: Iterable[ImageRecord]) -> ConfusionMatrix | None:
    """Count the pairs of the images whose true class is known; None if there is none."""
    accuracy = Accuracy.of(images)
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


def mean_locations(images: Iterable[ImageRecord]) -> list[PairLocation]:
    """Where the network looked for each pair, those first that look most like a shortcut.

    Of each image the heatmap of the predicted class counts, if that was explained.
    """
    found: defaultdict[Pair, list[LocationRecord]] = defaultdict(list)
    for image in images:
        pair = pair_of(image)
        if pair is None:
            continue
        location = predicted_location(image)
        if location is not None:
            found[pair].append(location)
    pairs = [_mean(pair, records) for pair, records in found.items()]
    return sorted(
        pairs,
        key=lambda one: (
            not one.suspicious,
            one.pair[0] == one.pair[1],
            -one.score,
            -1 if one.pair[0] is None else one.pair[0],
            one.pair[1],
        ),
    )


def _mean(pair: Pair, locations: Sequence[LocationRecord]) -> PairLocation:
    images = len(locations)
    border = sum(one.border for one in locations) / images
    top_left, top_right, bottom_left, bottom_right = (
        sum(shares) / images for shares in zip(*(one.corners for one in locations), strict=True)
    )
    each = (top_left, top_right, bottom_left, bottom_right)
    # One even image more: what a single image shows may be chance.
    drawn_border = (border * images + BORDER_AREA) / (images + 1)
    drawn_corner = (max(each) * images + CORNER_AREA) / (images + 1)
    return PairLocation(
        pair=pair,
        images=images,
        border=border,
        corners=each,
        mean=mean_map(one.heatmap.values() for one in locations),
        score=max(
            (drawn_border - BORDER_AREA) / (1 - BORDER_AREA),
            (drawn_corner - CORNER_AREA) / (1 - CORNER_AREA),
        ),
        suspicious=images >= SUSPICIOUS_IMAGES
        and (drawn_border >= SUSPICIOUS_BORDER or drawn_corner >= SUSPICIOUS_CORNER),
    )
