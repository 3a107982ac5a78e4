"""How well the network classifies the images of a run, as the page shows it."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cnnviz.metrics.classification import (
    Calibration,
    ClassCounts,
    ClassMeans,
    ClassTally,
    accuracy_over_confidence,
    calibration,
    macro_mean,
    weighted_mean,
)
from cnnviz.report.charts import Bar, Chart, Line
from cnnviz.runs.image_records import ImageRecord

TOP = 5
"""How many classes the records of images hold."""


@dataclass(frozen=True)
class Quality:
    """What is known of a network's predictions, where true classes are known.

    Attributes:
        images: how many these are.
        classes: each, the one with the lowest F1 first; those without images last.
        macro: their plain mean; None if no class has an image.
        weighted: their mean, weighted by the images.
        top5: the share of images whose true class is among the five highest; None if there are no
            more classes, or if an image may belong to several.
        calibration: None where there are no probabilities of classes that exclude one another.
        charts: of the calibration, and of accuracy over confidence.
    """

    images: int
    classes: tuple[ClassCounts, ...]
    macro: ClassMeans | None
    weighted: ClassMeans | None
    top5: float | None
    calibration: Calibration | None
    charts: tuple[Chart, ...]


class Predictions:
    """What the quality of a run's predictions follows from; images come one by one.

    Nine bytes are kept of an image: its confidence, and whether it is correct.
    """

    def __init__(self) -> None:
        self._known = self._in_top5 = self._several = 0
        self._classes, self._multi_label = ClassTally(), ClassTally()
        self._confidences = array("d")
        self._correct = array("b")

    def add_image(self, image: ImageRecord) -> None:
        """Count an image if it was explained and what it belongs to is known."""
        if not image.ok:
            return
        truth = image.ground_truth
        if image.true_classes is not None:
            self._several += 1
            self._multi_label.add(
                [score.index for score in image.true_classes.positive],
                [score.index for score in image.predicted_classes or ()],
                image.true_classes.unknown,
            )
        elif truth is not None:
            predicted = image.prediction
            self._known += 1
            self._classes.add([truth.index], [predicted.index])
            self._in_top5 += any(score.index == truth.index for score in image.top5)
            if predicted.probability is not None:
                self._confidences.append(predicted.probability)
                self._correct.append(truth.index == predicted.index)

    def quality(self, classes: int) -> Quality | None:
        """Of the images so far; None if no true class is known.

        Args:
            classes: how many the network has.
        """
        if self._several:  # those above the threshold are predicted
            counts = self._multi_label.counts()
            means = macro_mean(counts), weighted_mean(counts)
            return Quality(self._several, _worst_first(counts), *means, None, None, ())
        if not self._known:
            return None
        counts = self._classes.counts()
        confidences, correct = np.asarray(self._confidences), np.asarray(self._correct, np.bool_)
        curve = calibration(confidences, correct)
        return Quality(
            self._known,
            _worst_first(counts),
            macro_mean(counts),
            weighted_mean(counts),
            self._in_top5 / self._known if classes > TOP else None,
            curve,
            () if curve is None else _charts(curve, confidences, correct),
        )


def _worst_first(counts: Sequence[ClassCounts]) -> tuple[ClassCounts, ...]:
    return tuple(
        sorted(counts, key=lambda one: (one.f1 is None, one.f1 or 0, -one.support, one.index))
    )


def _charts(
    curve: Calibration, confidences: npt.ArrayLike, correct: npt.ArrayLike
) -> tuple[Chart, ...]:
    kept = accuracy_over_confidence(confidences, correct)
    most = math.ceil(max(one.images for one in curve.bins) / 4) * 4  # whole numbers at the ticks
    ranges = [f"{one.low:.2f} to {one.high:.2f}" for one in curve.bins]
    return (
        Chart(
            "Calibration",
            f"Accuracy over confidence in {len(curve.bins)} bins; the table below has the numbers.",
            "confidence",
            "accuracy",
            lines=(Line("perfectly calibrated", "ideal", ((0.0, 0.0), (1.0, 1.0))),),
            bars=tuple(
                Bar(f"{span}: accuracy {one.accuracy:.1%}", one.low, one.high, one.accuracy)
                for span, one in zip(ranges, curve.bins, strict=True)
                if one.accuracy is not None
            ),
            percents=True,
        ),
        Chart(
            "Images per bin",
            "How many images have which confidence; the table below has the numbers.",
            "confidence",
            "images",
            bars=tuple(
                Bar(f"{span}: {one.images}", one.low, one.high, one.images)
                for span, one in zip(ranges, curve.bins, strict=True)
                if one.images
            ),
            y=(0.0, most),
        ),
        Chart(
            "If only images above a confidence count",
            f"Accuracy is {kept[0].accuracy:.1%} for all images, and {kept[-1].accuracy:.1%} for "
            f"the {kept[-1].share:.1%} of them above {kept[-1].threshold:.2f}."
            if kept
            else "No image.",
            "confidence above",
            "share",
            lines=(
                Line("accuracy", "c0", tuple((one.threshold, one.accuracy) for one in kept)),
                Line("images kept", "c1 d1", tuple((one.threshold, one.share) for one in kept)),
            ),
            percents=True,
        ),
    )
