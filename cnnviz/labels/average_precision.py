"""How well a network ranks images by each of its classes, which do not exclude one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnviz.labels.label_sets import LabelSet
from cnnviz.types import Float32


def average_precision(
    scores: npt.NDArray[np.floating[Any]], positive: npt.NDArray[np.bool_]
) -> float | None:
    """The average precision of one class, Σ_n (R_n - R_{n-1}) · P_n, from 0 to 1.

    P_n and R_n are precision and recall when all images count that score at least the n-th highest
    of the different scores: images of equal scores come in together, and nothing is interpolated.

    Args:
        scores: (N,), higher for images that more likely belong to the class.
        positive: (N,), whether they do.

    Returns:
        None if no image belongs to the class.
    """
    total = int(positive.sum())
    if total == 0:
        return None
    order = np.argsort(-scores, kind="stable")
    ranked, found = scores[order], np.cumsum(positive[order])
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # of each different score
    precision, recall = found[last] / (last + 1), found[last] / total
    return float((np.diff(recall, prepend=0.0) * precision).sum())


@dataclass(frozen=True)
class ClassPrecision:
    """How well one class is ranked.

    Attributes:
        index: the class.
        images: how many images are known to belong to it or not.
        positives: how many of these do.
        average_precision: None if none does.
    """

    index: int
    images: int
    positives: int
    average_precision: float | None


@dataclass
class MultiLabelAccuracy:
    """Scores of images whose true classes are known, and how many were predicted exactly.

    Attributes:
        correct: how many images have exactly their true classes above the threshold.
        incorrect: how many have not.
    """

    correct: int = 0
    incorrect: int = 0
    _logits: list[Float32] = field(default_factory=list, repr=False)
    _truths: list[LabelSet] = field(default_factory=list, repr=False)

    def add(self, logits: Sequence[float] | Float32, truth: LabelSet, *, correct: bool) -> None:
        """Count an image: its logits (K,), whose order is that of the probabilities."""
        self.correct += correct
        self.incorrect += not correct
        self._logits.append(np.asarray(logits, np.float32))
        self._truths.append(truth)

    def by_class(self) -> list[ClassPrecision]:
        """All classes, in order; none before the first image."""
        if not self._logits:
            return []
        logits = np.stack(self._logits)
        positive, known = np.zeros(logits.shape, bool), np.ones(logits.shape, bool)
        for row, truth in enumerate(self._truths):
            positive[row, list(truth.positive)] = True
            known[row, list(truth.unknown)] = False
        return [
            ClassPrecision(
                index,
                int(asked.sum()),
                int(own[asked].sum()),
                average_precision(logits[asked, index], own[asked]),
            )
            for index, (asked, own) in enumerate(zip(known.T, positive.T, strict=True))
        ]

    def mean(self) -> float | None:
        """The mean average precision, over the classes that any image belongs to; None if none."""
        found = [
            one.average_precision for one in self.by_class() if one.average_precision is not None
        ]
        return float(np.mean(found)) if found else None
