"""What was taken for what, and where the network looked when it did.

Pure functions on the records of a manifest. A pair is a true and an answered class: (truth,
predicted), each an index; the truth is None where it is not known.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
import numpy.typing as npt

from cnnviz.evaluation.attention import BORDER_AREA, CORNER_AREA, mean_map

Pair = tuple[Optional[int], int]
Record = Mapping[str, Any]

MATRIX_WHOLE = 20
"""A matrix has all classes up to so many; of more it has the most confused ones."""

MATRIX_PART = 12
"""How many those are."""

SUSPICIOUS_BORDER = 0.68
SUSPICIOUS_CORNER = 0.28
"""Mean shares, drawn towards what is even by one picture, from which a pair is called suspicious:
a border that holds half of what it could beyond its area, a corner that holds a quarter."""

SUSPICIOUS_PICTURES = 3
"""How many pictures a pair has at least that is called suspicious: one or two prove nothing."""


@dataclass(frozen=True)
class Confusion:
    """How often each class was answered for each.

    Attributes:
        classes: indices of the rows (truth) and columns (answers).
        counts: of the pictures, one row for each true class.
        whole: whether these are all classes; else those that most errors belong to.
        errors: (truth, predicted, count) of all confused pairs, the most frequent first.
    """

    classes: tuple[int, ...]
    counts: tuple[tuple[int, ...], ...]
    whole: bool
    errors: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class PairAttention:
    """Where the network looked, on average over the pictures of one pair.

    Attributes:
        pair: true and answered class.
        pictures: how many have a map: of the answered class, and not blank.
        border: mean share of the map in the border ring.
        corners: mean shares in the corners: top left, top right, bottom left, bottom right.
        mean: float32 (h, w), mean of the maps, each of which has its maximum at 1.
        score: by how much border or corners exceed their areas, from below 0 to 1; what exceeds
            by chance in few pictures counts less.
        suspicious: whether that is far.
    """

    pair: Pair
    pictures: int
    border: float
    corners: tuple[float, float, float, float]
    mean: npt.NDArray[np.float32]
    score: float
    suspicious: bool


def pair_of(picture: Record) -> Pair | None:
    """The pair that a picture belongs to; None if it failed."""
    if picture["status"] != "ok":
        return None
    truth = picture.get("truth")
    return (None if truth is None else truth["index"], picture["top5"][0]["index"])


def confusion(pictures: Iterable[Record]) -> Confusion | None:
    """Count the pairs of the pictures whose truth is known; None if there is none."""
    counts: Counter[tuple[int, int]] = Counter()
    for picture in pictures:
        pair = pair_of(picture)
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


def attention(pictures: Iterable[Record]) -> list[PairAttention]:
    """Where the network looked for each pair, those first that look most like a shortcut.

    Of each picture the map of the class that was answered counts, if that was explained.
    """
    found: defaultdict[Pair, list[Record]] = defaultdict(list)
    for picture in pictures:
        pair = pair_of(picture)
        if pair is None:
            continue
        for explanation in picture["explanations"]:
            if explanation["target"]["index"] == pair[1]:
                if explanation.get("attention") is not None:
                    found[pair].append(explanation["attention"])
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


def _mean(pair: Pair, records: Sequence[Record]) -> PairAttention:
    pictures = len(records)
    borders = [float(record["border"]) for record in records]
    corners = [[float(share) for share in record["corners"]] for record in records]
    border = sum(borders) / pictures
    top_left, top_right, bottom_left, bottom_right = (sum(one) / pictures for one in zip(*corners))
    each = (top_left, top_right, bottom_left, bottom_right)
    # One even picture more: what a single picture shows may be chance.
    drawn_border = (border * pictures + BORDER_AREA) / (pictures + 1)
    drawn_corner = (max(each) * pictures + CORNER_AREA) / (pictures + 1)
    return PairAttention(
        pair=pair,
        pictures=pictures,
        border=border,
        corners=each,
        mean=mean_map(records),
        score=max(
            (drawn_border - BORDER_AREA) / (1 - BORDER_AREA),
            (drawn_corner - CORNER_AREA) / (1 - CORNER_AREA),
        ),
        suspicious=pictures >= SUSPICIOUS_PICTURES
        and (drawn_border >= SUSPICIOUS_BORDER or drawn_corner >= SUSPICIOUS_CORNER),
    )
