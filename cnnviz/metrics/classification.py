"""How well a network classifies: per class, and whether its probabilities can be believed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cnnviz.types import Float64

BINS = 15
"""Of a calibration curve, as in the tables of Guo et al. 2017."""


@dataclass(frozen=True)
class ClassCounts:
    """How often one class was there, was predicted, and both.

    Attributes:
        index: the class.
        support: how many images belong to it.
        predicted: for how many it was predicted.
        correct: for how many of those rightly.
    """

    index: int
    support: int
    predicted: int
    correct: int

    @property
    def precision(self) -> float | None:
        """The share of its predictions that are correct; None if it was never predicted."""
        return self.correct / self.predicted if self.predicted else None

    @property
    def recall(self) -> float | None:
        """The share of its images that were found; None if it has none."""
        return self.correct / self.support if self.support else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of the two, 2 TP / (2 TP + FP + FN); None if it has no image."""
        return 2 * self.correct / (self.support + self.predicted) if self.support else None


@dataclass(frozen=True)
class ClassMeans:
    """Means over classes of precision, recall and F1, each from 0 to 1."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Bin:
    """Images whose confidence lies between two values.

    Attributes:
        low: exclusive.
        high: inclusive.
        images: how many.
        confidence: their mean confidence; None if there is none.
        accuracy: the share of correct predictions among them; None if there is none.
    """

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """How far confidences are the shares of correct predictions that they claim to be.

    Attributes:
        bins: of equal width, from 0 to 1.
        error: the expected calibration error, from 0 to 1.
    """

    bins: tuple[Bin, ...]
    error: float


@dataclass(frozen=True)
class Kept:
    """What is left if only images above a confidence count.

    Attributes:
        threshold: the confidence, exclusive.
        share: the share of the images, from 0 to 1.
        accuracy: the share of correct predictions among them.
    """

    threshold: float
    share: float
    accuracy: float


def class_counts(truths: Sequence[int], predictions: Sequence[int]) -> list[ClassCounts]:
    """All classes that are true of an image or predicted for one, in order.

    Args:
        truths: the true class of each image.
        predictions: its predicted class.
    """
    return multi_label_counts(
        ({truth}, {one}, ()) for truth, one in zip(truths, predictions, strict=True)
    )


def multi_label_counts(
    images: Iterable[tuple[Iterable[int], Iterable[int], Iterable[int]]],
) -> list[ClassCounts]:
    """The same where an image may belong to several classes.

    Args:
        images: of each its true classes, those predicted, and those of which it is not known
            whether it belongs to them: for these the image does not count.
    """
    tally = ClassTally()
    for true, predicted, unknown in images:
        tally.add(true, predicted, unknown)
    return tally.counts()


class ClassTally:
    """The same of images that come one by one."""

    def __init__(self) -> None:
        self._counts: dict[int, list[int]] = {}

    def add(
        self, true: Iterable[int], predicted: Iterable[int], unknown: Iterable[int] = ()
    ) -> None:
        """Count an image; for the arguments see :func:`multi_label_counts`."""
        left_out = set(unknown)
        true, predicted = set(true) - left_out, set(predicted) - left_out
        for place, classes in enumerate((true, predicted, true & predicted)):
            for index in classes:
                self._counts.setdefault(index, [0, 0, 0])[place] += 1

    def counts(self) -> list[ClassCounts]:
        """All classes so far, in order."""
        return [ClassCounts(index, *self._counts[index]) for index in sorted(self._counts)]


def macro_mean(classes: Iterable[ClassCounts]) -> ClassMeans | None:
    """The plain mean over the classes that have images, or None if none has.

    The precision of a class that was never predicted counts as 0.
    """
    found = [one for one in classes if one.support]
    return _mean(found, np.ones(len(found))) if found else None


def weighted_mean(classes: Iterable[ClassCounts]) -> ClassMeans | None:
    """The same with each class weighted by its images."""
    found = [one for one in classes if one.support]
    return _mean(found, np.array([one.support for one in found], np.float64)) if found else None


def _mean(classes: Sequence[ClassCounts], weights: Float64) -> ClassMeans:
    values = np.array([(one.precision or 0, one.recall or 0, one.f1 or 0) for one in classes])
    precision, recall, f1 = (weights @ values / weights.sum()).tolist()
    return ClassMeans(precision, recall, f1)


def calibration(
    confidences: npt.ArrayLike, correct: npt.ArrayLike, bins: int = BINS
) -> Calibration | None:
    """The calibration curve (Guo et al. 2017), with the expected calibration error (eq. 3).

    Bin m of M holds the confidences in ((m - 1)/M, m/M]; the error is Σ |B_m|/n |acc(B_m) -
    conf(B_m)|, over all bins that hold any.

    Args:
        confidences: (N,), of each image the probability of the predicted class, from 0 to 1.
        correct: (N,), whether that is the true one.
        bins: how many.

    Returns:
        None for no image.
    """
    sure, right = _arrays(confidences, correct)
    if not len(sure):
        return None
    edges = np.arange(bins + 1) / bins
    # The bin of an edge ends there; 0 itself, which no bin holds, goes to the first.
    at = np.maximum(np.searchsorted(edges, sure, side="left") - 1, 0)
    found, error = [], 0.0
    for number in range(bins):
        inside = at == number
        count = int(inside.sum())
        confidence = float(sure[inside].mean()) if count else None
        accuracy = float(right[inside].mean()) if count else None
        found.append(
            Bin(float(edges[number]), float(edges[number + 1]), count, confidence, accuracy)
        )
        if confidence is not None and accuracy is not None:
            error += count / len(sure) * abs(accuracy - confidence)
    return Calibration(tuple(found), error)


def accuracy_over_confidence(
    confidences: npt.ArrayLike, correct: npt.ArrayLike, steps: int = 100
) -> list[Kept]:
    """Accuracy and share of images if only those above a confidence count.

    Args:
        confidences: (N,), of each image the probability of the predicted class, from 0 to 1.
        correct: (N,), whether that is the true one.
        steps: confidences are tried at equal steps from 0, as many as these, below 1.

    Returns:
        One for each confidence that any image exceeds.
    """
    sure, right = _arrays(confidences, correct)
    found = []
    for threshold in (np.arange(steps) / steps).tolist():
        above = sure > threshold
        if above.any():
            found.append(Kept(threshold, float(above.mean()), float(right[above].mean())))
    return found


def _arrays(confidences: npt.ArrayLike, correct: npt.ArrayLike) -> tuple[Float64, Float64]:
    return np.asarray(confidences, np.float64), np.asarray(correct, np.float64)
