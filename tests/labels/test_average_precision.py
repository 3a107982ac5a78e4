"""Average precision: by hand, and as scikit-learn has it."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz.labels.average_precision import (
    ClassPrecision,
    MultiLabelAccuracy,
    average_precision,
)
from cnnviz.labels.label_sets import LabelSet


@pytest.mark.parametrize(
    ("scores", "positive", "expected"),
    [
        # scikit-learn's own example: precision 1 at recall 1/2, 2/3 at recall 1.
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 1 / 2 + 2 / 3 / 2),
        ([3, 2, 1], [1, 1, 0], 1),
        ([3, 2, 1], [0, 0, 1], 1 / 3),
        # Ties come in together: at the second score there are two of three, then all three of four.
        ([5, 5, 5, 1], [1, 0, 1, 1], 2 / 3 * 2 / 3 + 3 / 4 / 3),
        # All are equal: the share of positives, whatever the order.
        ([0, 0, 0, 0, 0], [0, 1, 0, 0, 1], 2 / 5),
        ([-np.inf, 2.0], [1, 1], 1),
        ([1, 2], [0, 0], None),
        ([], [], None),
    ],
)
def test_by_hand(scores, positive, expected):
    found = average_precision(np.array(scores, np.float32), np.array(positive, bool))
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-12))


#: What scikit-learn 1.9.1 gives for the scores of the test.
SCIKIT_LEARN = [
    *(0.016569310483490814, 0.07394621634130358, 0.36910145719235077),
    *(0.40532713642021345, 0.6561595287269812, 0.9515278756109484),
]


def test_against_scikit_learn():
    """``average_precision_score(positive, scores)`` on scores of 16 values, so with many ties."""
    random = np.random.RandomState(0)
    scores = (random.randint(0, 16, (6, 200)) / 4).astype(np.float32)
    positive = random.uniform(size=(6, 200)) < np.array(
        [[0.02], [0.1], [0.3], [0.5], [0.7], [0.95]]
    )
    found = [average_precision(*one) for one in zip(scores, positive, strict=True)]
    assert found == pytest.approx(SCIKIT_LEARN, rel=1e-12)


def test_the_mean_counts_classes_with_images_and_images_whose_class_is_known():
    accuracy = MultiLabelAccuracy()
    assert (accuracy.mean(), accuracy.by_class()) == (None, [])
    accuracy.add([3, 1, 0], LabelSet((0,)), correct=True)
    accuracy.add([2, 2, 0], LabelSet((), unknown=(1,)), correct=False)
    accuracy.add([1, 3, 0], LabelSet((0,)), correct=False)
    accuracy.add([0, 0, 0], LabelSet((1,)), correct=False)
    assert accuracy.by_class() == [
        ClassPrecision(0, 4, 2, pytest.approx((1 + 2 / 3) / 2)),
        ClassPrecision(1, 3, 1, pytest.approx(1 / 3)),  # without the second image
        ClassPrecision(2, 4, 0, None),
    ]
    assert accuracy.mean() == pytest.approx((5 / 6 + 1 / 3) / 2)
    assert (accuracy.correct, accuracy.incorrect) == (1, 3)
