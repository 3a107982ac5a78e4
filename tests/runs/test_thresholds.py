"""Thresholds, the figures that they are about, and the verdicts: by hand."""

from __future__ import annotations

import math

import pytest

from cnnviz.labels.predictions import Prediction
from cnnviz.labels.scores import Score
from cnnviz.runs.figures import ExplanationCollector, figures
from cnnviz.runs.image_records import (
    ExplanationRecord,
    HeatmapRecord,
    ImageRecord,
    LocationRecord,
)
from cnnviz.runs.request import CheckOptions
from cnnviz.runs.summary import RunReport, ScanReport
from cnnviz.runs.thresholds import FAIL_UNDER, MAX_SHARE, Figure, Threshold, judge, told
from cnnviz.text import ClassNames

NAMES = tuple("abcdefg")
HEATMAP = HeatmapRecord((1, 1), "AA==")


def image(predicted, truth=None, *, corners=None, border=0.5, target=None, loss=None, path="x"):
    """An image with the classes from the predicted one on as its five highest."""
    scores = [Score((predicted + i) % 7, NAMES[(predicted + i) % 7], 1.0, 0.5) for i in range(5)]
    location = None
    if corners is not None:
        location = LocationRecord(border, corners, (0, 0, 1, 1), HEATMAP)
    explained = scores[0] if target is None else Score(target, NAMES[target], 1.0, 0.5)
    return ImageRecord(
        *(path, path, path, None, (1, 1), "ok"),
        top5=tuple(scores),
        ground_truth=None if truth is None else Score(truth, NAMES[truth], 1.0, 0.5),
        loss=loss,
        explanations=(ExplanationRecord(explained, {}, (), {}, {}, location),),
    )


FAILED = ImageRecord("y", "y", "y", None, None, "failed", "empty")


def report_of(*images):
    report = RunReport(names=ClassNames(NAMES))
    for one in images:
        report.count(one, fresh=True)
    return report


def measured(report, looked=None):
    return {one.name: one for one in figures(report, looked)}


def test_predictions_of_images_whose_true_class_is_known():
    """Of four, one is predicted as it is, and two are among classes 0 to 4."""
    found = measured(
        report_of(image(0, 0), image(0, 4), image(0, 5), image(0, 6), image(1), FAILED)
    )
    assert (found["accuracy"].value, found["accuracy"].images) == (1 / 4, 4)
    assert (found["top5"].value, found["top5"].images) == (2 / 4, 4)
    assert found["map"].value is None


def test_classes_count_alike_in_balanced_accuracy_and_macro_f1():
    """Class 0: 3 of 4 found, 3 of 3 right. Class 1: 2 of 2 found, 2 of 3 right."""
    images = [image(0, 0)] * 3 + [image(1, 0)] + [image(1, 1)] * 2
    found = measured(report_of(*images))
    assert found["accuracy"].value == 5 / 6
    assert found["balanced-accuracy"].value == pytest.approx((3 / 4 + 1) / 2, rel=1e-12)
    assert found["macro-f1"].value == pytest.approx((6 / 7 + 4 / 5) / 2, rel=1e-12)
    assert found["macro-f1"].images == 6
    assert measured(report_of(image(0)))["macro-f1"].value is None


def test_all_images_looked_at_count_not_those_selected():
    looked = ScanReport.of(
        [
            Prediction(0, 0.9, 0.8, 0, 0.1, in_top5=True),
            Prediction(0, 0.9, 0.8, 3, 2.0, in_top5=True),
            Prediction(0, 0.9, 0.8, 6, 3.0, in_top5=False),
            None,
        ]
    )
    found = measured(report_of(image(0, 3)), looked)
    assert (found["accuracy"].value, found["accuracy"].images) == (1 / 3, 3)
    assert found["top5"].value == 2 / 3


def test_shares_are_those_of_all_images_while_no_class_has_five():
    found = measured(
        report_of(
            image(0, corners=(0.1, 0.0, 0.2, 0.0), border=0.3),
            image(1, corners=(0.3, 0.0, 0.5, 0.0), border=0.7),
            # Neither a blank map nor one of another class counts.
            image(1),
            image(1, corners=(1.0, 0.0, 0.0, 0.0), border=1.0, target=2),
            FAILED,
        )
    )
    corner, border = found["corner"], found["border"]
    assert corner.value == pytest.approx((0.2 + 0.5) / 2, rel=1e-12)
    assert corner.title == "evidence in the bottom-left corner"
    assert (corner.images, corner.where, corner.over) == (2, "", "2 images")
    assert border.value == pytest.approx((0.3 + 0.7) / 2, rel=1e-12)


def test_a_class_with_five_images_that_look_at_a_corner_is_not_averaged_away():
    marked = [image(2, corners=(0.0, 0.0, 0.0, 0.6))] * 5
    plain = [image(3, corners=(0.1, 0.0, 0.0, 0.0))] * 95
    few = [image(4, corners=(0.0, 0.9, 0.0, 0.0))] * 4
    corner = measured(report_of(*marked, *plain, *few))["corner"]
    assert corner.value == pytest.approx(0.6, rel=1e-12)
    assert corner.over == "5 images predicted as c"
    assert corner.title == "evidence in the bottom-right corner"
    fifth = measured(report_of(*marked, *plain, *few, few[0]))["corner"]
    assert fifth.value == pytest.approx(0.9, rel=1e-12)
    assert fifth.over == "5 images predicted as e"


@pytest.mark.parametrize(
    ("better", "value", "limit", "met"),
    [
        ("higher", 0.9, 0.9, True),
        ("higher", math.nextafter(0.9, 0), 0.9, False),
        ("lower", 0.3, 0.3, True),
        ("lower", math.nextafter(0.3, 1), 0.3, False),
        ("higher", None, 0.0, False),
        ("lower", None, 1.0, False),
        ("lower", math.nan, 1.0, False),
    ],
)
def test_a_figure_at_its_limit_meets_it_and_none_does_not(better, value, limit, met):
    figure = Figure("x", "x", value, 3, better)
    (verdict,) = judge([Threshold(FAIL_UNDER, "x", limit)], [figure])
    assert verdict.met is met


def test_a_verdict_says_what_was_measured_over_what_and_what_was_demanded():
    figures = [
        Figure("accuracy", "accuracy", 2 / 3, 6),
        Figure("corner", "evidence in one corner", 0.41, 16, "lower", "predicted as ring"),
        Figure("top5", "top-5 accuracy", None, 0, reason="no image has a true class"),
    ]
    thresholds = [
        Threshold(FAIL_UNDER, "accuracy", 0.9),
        Threshold(MAX_SHARE, "corner", 0.3),
        Threshold(FAIL_UNDER, "top5", 1.0),
    ]
    assert [one.sentence for one in judge(thresholds, figures)] == [
        "accuracy: 0.6667 over 6 images; at least 0.9 was demanded (--fail-under accuracy=0.9)",
        "evidence in one corner: 0.41 over 16 images predicted as ring; at most 0.3 was demanded "
        "(--max-share corner=0.3)",
        "top-5 accuracy: could not be measured, because no image has a true class; at least 1 was "
        "demanded (--fail-under top5=1)",
    ]


def test_a_number_is_told_from_its_limit():
    assert told(2 / 3) == "0.6667"
    assert told(0.9, 0.9) == "0.9"
    assert told(0.899996, 0.9) == "0.899996"
    assert float(told(math.nextafter(0.9, 0), 0.9)) < 0.9


def test_the_highest_losses_are_kept_among_many():
    collector = ExplanationCollector()
    losses = [(37 * number) % 101 for number in range(101)]  # each once
    for number, loss in enumerate(losses):
        collector.add_image(image(0, 1, loss=float(loss), path=f"{number}.png"))
    collector.add_image(FAILED)
    run = collector.conclude(CheckOptions(), report_of(), None, "net.")
    assert [one.loss for one in run.worst] == [float(loss) for loss in range(100, 90, -1)]
    assert run.worst[0].path == f"{losses.index(100)}.png"
    assert (run.worst[0].prediction, run.worst[0].truth) == ("a (0) 0.50", "b (1)")
    assert len(run.images) == 102
    assert [one.error for one in run.failed] == ["empty"]
