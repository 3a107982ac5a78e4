"""What became of a run: counts by hand."""

from __future__ import annotations

import pytest

from cnnviz.errors import ExitCode
from cnnviz.labels.predictions import Prediction
from cnnviz.labels.scores import Score
from cnnviz.runs.image_records import ExplanationRecord, ImageRecord
from cnnviz.runs.records import ConfusionRecord, ScannedRecord
from cnnviz.runs.summary import Accuracy, RunReport, ScanReport
from cnnviz.text import ClassNames

NAMES = ("drake", "crane", "crane")


def image(predicted, truth=None, blank=()):
    """An image that was explained."""
    score, true = (
        None if index is None else Score(index, NAMES[index], 1.0, 0.5)
        for index in (predicted, truth)
    )
    explained = ExplanationRecord(score, {}, blank, {}, {}, None)
    return ImageRecord(
        *("x", "x", "x", None, (1, 1), "ok"),
        top5=(score,),
        ground_truth=true,
        correct=None if truth is None else truth == predicted,
        explanations=(explained,),
    )


FAILED = ImageRecord("y", "y", "y", None, None, "failed", "empty")
IMAGES = [
    *(image(0, 0), image(0, 0), image(1, 1)),
    *(image(1, 0), image(2, 1), image(2, 1), image(1, 2)),
    *(image(0), image(1, blank=("gradcam",)), FAILED),
]


def test_accuracy_by_hand():
    """Three of seven with a known class are correct; ties go by the classes' indices."""
    accuracy = Accuracy.of(IMAGES)
    assert (accuracy.correct, accuracy.incorrect) == (3, 4)
    assert accuracy.share == 3 / 7
    assert accuracy.confusions == [(1, 2, 2), (0, 1, 1), (2, 1, 1)]


@pytest.mark.parametrize("images", [[], [FAILED], [image(0)]])
def test_no_accuracy_without_ground_truth(images):
    accuracy = Accuracy.of(images)
    assert accuracy.share is None
    assert accuracy.confusions == []


def test_a_summary_by_hand():
    report = RunReport(names=ClassNames(NAMES))
    assert report.exit_code == ExitCode.OK
    for number, one in enumerate(IMAGES):
        report.count(one, fresh=number > 1)
    assert (report.done, report.failed, report.resumed, report.blank) == (9, 1, 2, 1)
    assert report.exit_code == ExitCode.SOME_FAILED
    looked = ScannedRecord(20, 0, 1, 1, 0.5)
    record = report.record(looked, 3, ["old.png"])
    assert (record.images, record.ok, record.failed, record.blank) == (10, 9, 1, 1)
    assert (record.correct, record.incorrect, record.accuracy) == (3, 4, 3 / 7)
    # Two classes have one name: their indices tell them apart.
    assert record.confusions == (
        ConfusionRecord("crane (1)", "crane (2)", 1, 2, 2),
        ConfusionRecord("drake", "crane (1)", 0, 1, 1),
        ConfusionRecord("crane (2)", "crane (1)", 2, 1, 1),
    )
    assert (record.scanned, record.skipped_own) == (looked, 3)
    assert record.left_behind == ("old.png",)


def test_what_was_looked_at_by_hand():
    looked = [
        Prediction(0, 0.9, 0.5, 0, 0.1),
        Prediction(1, 0.9, 0.5, 0, 2.0),
        Prediction(1, 0.9, 0.5, None, None),
        None,
    ]
    assert ScanReport.of(looked).record() == ScannedRecord(4, 1, 1, 1, 0.5)
    assert ScanReport.of([None]).record() == ScannedRecord(1, 1, 0, 0, None)
