"""How well the network classifies the images of a run, as the page shows it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from cnnviz.metrics.classification import (
    Calibration,
    ClassCounts,
    ClassMeans,
    accuracy_over_confidence,
    calibration,
    class_counts,
    macro_mean,
    multi_label_counts,
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


def quality(images: Sequence[ImageRecord], classes: int) -> Quality | None:
    """Of the images of a run; None if no true class is known.

    Args:
        images: all of them.
        classes: how many the network has.
    """
    several = [one for one in images if one.ok and one.true_classes is not None]
    if several:
        return _several(several)
    known = [one for one in images if one.ok and one.ground_truth is not None]
    if not known:
        return None
    truths = [one.ground_truth.index for one in known if one.ground_truth is not None]
    counts = class_counts(truths, [one.prediction.index for one in known])
    found = [
        truth in [score.index for score in one.top5]
        for truth, one in zip(truths, known, strict=True)
    ]
    sure = [
        (one.prediction.probability, truth == one.prediction.index)
        for truth, one in zip(truths, known, strict=True)
        if one.prediction.probability is not None
    ]
    confidences, correct = [one for one, _ in sure], [right for _, right in sure]
    curve = calibration(confidences, correct)
    return Quality(
        len(known),
        _worst_first(counts),
        macro_mean(counts),
        weighted_mean(counts),
        sum(found) / len(found) if classes > TOP else None,
        curve,
        () if curve is None else _charts(curve, confidences, correct),
    )


def _several(images: Sequence[ImageRecord]) -> Quality:
    """Where an image may belong to several classes: those above the threshold are predicted."""
    counts = multi_label_counts(
        (
            [score.index for score in one.true_classes.positive],
            [score.index for score in one.predicted_classes or ()],
            one.true_classes.unknown,
        )
        for one in images
        if one.true_classes is not None
    )
    means = macro_mean(counts), weighted_mean(counts)
    return Quality(len(images), _worst_first(counts), *means, None, None, ())


def _worst_first(counts: Sequence[ClassCounts]) -> tuple[ClassCounts, ...]:
    return tuple(
        sorted(counts, key=lambda one: (one.f1 is None, one.f1 or 0, -one.support, one.index))
    )


def _charts(
    curve: Calibration, confidences: Sequence[float], correct: Sequence[bool]
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
