"""Figures of classification, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from cnnviz.metrics import classification as c

TRUTHS = [0, 0, 0, 0, 1, 1, 2, 2, 2, 3]
PREDICTED = [0, 0, 1, 2, 1, 0, 2, 2, 4, 2]


def test_precision_recall_and_f1_by_hand():
    found = {one.index: one for one in c.class_counts(TRUTHS, PREDICTED)}
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert [(one.support, one.predicted, one.correct) for one in found.values()] == [
        *((4, 3, 2), (2, 2, 1), (3, 4, 2), (1, 0, 0), (0, 1, 0)),
    ]
    assert found[0].precision == pytest.approx(2 / 3)
    assert found[0].recall == pytest.approx(2 / 4)
    assert found[0].f1 == pytest.approx(2 * (2 / 3 * 1 / 2) / (2 / 3 + 1 / 2))
    assert (found[3].precision, found[3].recall, found[3].f1) == (None, 0, 0)
    assert (found[4].precision, found[4].recall, found[4].f1) == (0, None, None)


def test_means_by_hand():
    """Over the classes with images; a precision that is not there is 0."""
    classes = c.class_counts(TRUTHS, PREDICTED)
    macro, weighted = c.macro_mean(classes), c.weighted_mean(classes)
    f1 = (4 / 7, 2 / 4, 4 / 7, 0)
    assert macro.precision == pytest.approx((2 / 3 + 1 / 2 + 2 / 4 + 0) / 4)
    assert macro.recall == pytest.approx((2 / 4 + 1 / 2 + 2 / 3 + 0) / 4)
    assert macro.f1 == pytest.approx(sum(f1) / 4)
    assert weighted.precision == pytest.approx((4 * 2 / 3 + 2 * 1 / 2 + 3 * 2 / 4 + 0) / 10)
    assert weighted.recall == pytest.approx(0.5)  # the accuracy
    assert weighted.f1 == pytest.approx((4 * f1[0] + 2 * f1[1] + 3 * f1[2]) / 10)


def test_no_images_no_means():
    assert c.class_counts([], []) == []
    assert c.macro_mean([]) is None
    assert c.weighted_mean([c.ClassCounts(1, 0, 3, 0)]) is None


def test_classes_that_do_not_exclude_others():
    """Of the third image nothing is known of class 1, whatever was predicted."""
    found = c.multi_label_counts(
        [((0, 1), (0,), ()), ((), (1,), ()), ((0,), (0, 1), (1,)), ((1,), (1,), ())]
    )
    assert [(one.index, one.support, one.predicted, one.correct) for one in found] == [
        *((0, 2, 2, 2), (1, 2, 2, 1)),
    ]


def test_calibration_by_hand():
    """Two bins of five: (0.2, 0.4] has 0.3 and 0.4, (0.8, 1] has the rest."""
    found = c.calibration([0.3, 0.4, 0.9, 1.0, 0.95], [True, False, True, True, False], bins=5)
    assert [one.images for one in found.bins] == [0, 2, 0, 0, 3]
    assert (found.bins[1].low, found.bins[1].high) == (0.2, 0.4)
    assert found.bins[1].confidence == pytest.approx(0.35)
    assert found.bins[1].accuracy == pytest.approx(0.5)
    assert found.bins[4].confidence == pytest.approx(0.95)
    assert found.bins[0].accuracy is None
    assert found.error == pytest.approx(2 / 5 * abs(0.5 - 0.35) + 3 / 5 * abs(2 / 3 - 0.95))


@pytest.mark.parametrize("number", range(1, c.BINS + 1))
def test_an_edge_belongs_to_the_bin_below_it(number):
    found = c.calibration([number / c.BINS], [True])
    assert [one.images for one in found.bins].index(1) == number - 1


def test_confidences_that_keep_their_word_have_no_error():
    found = c.calibration([0.5] * 4 + [1.0] * 3, [1, 0, 1, 0, 1, 1, 1])
    assert found.error == pytest.approx(0, abs=1e-15)
    assert c.calibration([], []) is None
    assert c.calibration([0.0], [False]).bins[0].images == 1


def test_accuracy_over_confidence_by_hand():
    found = c.accuracy_over_confidence([0.3, 0.5, 0.6, 0.9], [False, False, True, True], steps=4)
    assert [(one.threshold, one.share, one.accuracy) for one in found] == [
        *((0, 1, 0.5), (0.25, 1, 0.5), (0.5, 0.5, 1), (0.75, 0.25, 1)),
    ]
    assert c.accuracy_over_confidence([0.2], [True], steps=2) == [c.Kept(0, 1, 1)]
