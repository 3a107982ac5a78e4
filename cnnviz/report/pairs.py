"""What was taken for what, and where the network looked when it did.

Pure functions on the records of a manifest. A pair is a true and an answered class: (truth,
predicted), each an index; the truth is None where it is not known.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnviz.metrics.location import BORDER_AREA, CORNER_AREA, mean_map

Pair = tuple[int | None, int]
Record = Mapping[str, Any]

MATRIX_WHOLE = 20
"""A matrix has all classes up to so many; of more it has the most confused ones."""

MATRIX_PART = 12
"""How many those are."""

SUSPICIOUS_BORDER = 0.68
SUSPICIOUS_CORNER = 0.28
"""Mean shares, drawn toward what is even by one image, from which a pair is called suspicious:
a border that holds half of what it could beyond its area, a corner that holds a quarter."""

SUSPICIOUS_IMAGES = 3
"""How many images a pair has at least that is called suspicious: one or two prove nothing."""


@dataclass(frozen=True)
class Confusion:
    """How often each class was answered for each.

    Attributes:
        classes: indices of the rows (truth) and columns (answers).
        counts: of the images, one row for each true class.
        whole: whether these are all classes; else those that most errors belong to.
        errors: (truth, predicted, count) of all confused pairs, the most frequent first.
    """

    classes: tuple[int, ...]
    counts: tuple[tuple[int, ...], ...]
    whole: bool
    errors: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class PairLocation:
    """Where the network looked, on average over the images of one pair.

    Attributes:
        pair: true and answered class.
        images: how many have a map: of the answered class, and not blank.
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


def pair_of(image: Record) -> Pair | None:
    """The pair that an image belongs to; None if it failed."""
    if image["status"] != "ok":
        return None
    truth = image.get("truth")
    return (None if truth is None else truth["index"], image["top5"][0]["index"])


def confusion(images: Iterable[Record]) -> Confusion | None:
    """Count the pairs of the images whose truth is known; None if there is none."""
    counts: Counter[tuple[int, int]] = Counter()
    for image in images:
        pair = pair_of(image)
        if pair is not None and pair[0] is not None:
            counts[pair[0], pair[1]] += 1
    if not counts:
        return None
    wrong = [(truth, answer, n) for (truth, answer), n in counts.items() if truth != answer]
    wrong.sort(key=lambda error: (-error[2], error[0], error[1]))
    classes = sorted({index for pair in counts for index in pair})
    whole = len(classes) <= MATRIX_WHOLE
    if not whole:
        involved: Counter[int] = Counter()
        for truth, answer, n in wrong:
            involved[truth] += n
            involved[answer] += n
        most = sorted(involved, key=lambda index: (-involved[index], index))[:MATRIX_PART]
        classes = sorted(most)
    table = tuple(tuple(counts[truth, answer] for answer in classes) for truth in classes)
    return Confusion(tuple(classes), table, whole, tuple(wrong))


def mean_locations(images: Iterable[Record]) -> list[PairLocation]:
    """Where the network looked for each pair, those first that look most like a shortcut.

    Of each image the map of the class that was answered counts, if that was explained.
    """
    found: defaultdict[Pair, list[Record]] = defaultdict(list)
    for image in images:
        pair = pair_of(image)
        if pair is None:
            continue
        for explanation in image["explanations"]:
            if explanation["target"]["index"] == pair[1]:
                if explanation.get("location") is not None:
                    found[pair].append(explanation["location"])
                break
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


def _mean(pair: Pair, records: Sequence[Record]) -> PairLocation:
    images = len(records)
    borders = [float(record["border"]) for record in records]
    corners = [[float(share) for share in record["corners"]] for record in records]
    border = sum(borders) / images
    top_left, top_right, bottom_left, bottom_right = (
        sum(one) / images for one in zip(*corners, strict=True)
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
        mean=mean_map(records),
        score=max(
            (drawn_border - BORDER_AREA) / (1 - BORDER_AREA),
            (drawn_corner - CORNER_AREA) / (1 - CORNER_AREA),
        ),
        suspicious=images >= SUSPICIOUS_IMAGES
        and (drawn_border >= SUSPICIOUS_BORDER or drawn_corner >= SUSPICIOUS_CORNER),
    )
