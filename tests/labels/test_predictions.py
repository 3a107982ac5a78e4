"""Predictions by hand, and which images are selected by them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cnnviz.errors import UsageError
from cnnviz.graph.ends import Activation
from cnnviz.labels.label_sets import LabelSet
from cnnviz.labels.predictions import (
    UNCERTAIN,
    Prediction,
    assess,
    assess_multi_label,
    select_images,
)


def logits(*probabilities):
    return np.log(np.array(probabilities)).astype(np.float32)


def test_a_prediction_by_hand():
    prediction = assess(logits(0.2, 0.5, 0.3), truth=2)
    assert (prediction.predicted, prediction.truth, prediction.correct) == (1, 2, False)
    assert prediction.confidence == pytest.approx(0.5, rel=1e-6)
    assert prediction.margin == pytest.approx(0.2, rel=1e-6)
    assert prediction.loss == pytest.approx(-math.log(0.3), rel=1e-6)
    assert assess(logits(0.2, 0.5, 0.3), truth=1).correct is True
    unknown = assess(logits(0.2, 0.5, 0.3))
    assert (unknown.correct, unknown.loss) == (None, None)


def test_predictions_at_the_limits():
    even = assess(np.zeros(4, np.float32), truth=3)
    assert (even.predicted, even.confidence, even.margin) == (0, 0.25, 0.0)
    assert even.loss == pytest.approx(math.log(4), rel=1e-12)
    # Logits whose powers overflow, and a truth whose probability is 0 in float64.
    sure = assess(np.array([2000, 0], np.float32), truth=1)
    assert (sure.confidence, sure.margin, sure.loss) == (1.0, 1.0, 2000.0)
    alone = assess(np.array([-3], np.float32), truth=0)
    assert (alone.confidence, alone.margin, alone.loss) == (1.0, 1.0, 0.0)


def test_a_prediction_of_several_classes_by_hand():
    """Logits 2, -1, 1, 3 under a sigmoid: classes 3, 0 and 2 are above 0.5."""
    values, sigmoid = np.array([2, -1, 1, 3], np.float32), Activation(("sigmoid",))
    found = assess_multi_label(values, LabelSet((0, 1), unknown=(2,)), sigmoid)
    assert (found.predicted, found.assigned, found.correct) == (3, (3, 0, 2), False)
    # 0 and 1 are true, 3 is not, nothing is known of 2.
    losses = [math.log1p(math.exp(-2)), math.log1p(math.exp(1)), math.log1p(math.exp(3))]
    assert found.loss == pytest.approx(sum(losses) / 3, rel=1e-12)
    assert assess_multi_label(values, LabelSet((0, 3), unknown=(2,)), sigmoid).correct is True
    assert assess_multi_label(values, LabelSet((0, 3)), sigmoid).correct is False
    assert assess_multi_label(-values, LabelSet((1,)), sigmoid).correct is True
    nothing = assess_multi_label(values, LabelSet((), unknown=(0, 1, 2, 3)), sigmoid)
    assert (nothing.loss, nothing.correct) == (None, True)
    unknown = assess_multi_label(values, None, sigmoid)
    assert (unknown.loss, unknown.correct) == (None, None)
    # Where the sigmoid rounds to 1, the loss is exact all the same.
    sure = assess_multi_label(np.array([800, 0], np.float32), LabelSet(()), sigmoid)
    assert sure.loss == pytest.approx((800 + math.log(2)) / 2, rel=1e-12)


#            predicted, confidence, margin, truth, loss
PREDICTIONS = [
    Prediction(0, 0.90, 0.80, 0, 0.11),  # right
    Prediction(1, 0.60, 0.25, 0, 1.20),  # wrong
    None,  # failed
    Prediction(1, 0.45, 0.05, 1, 0.80),  # right, but uncertain
    Prediction(2, 0.99, 0.98, 0, 5.00),  # wrong and sure of it
    Prediction(2, 0.30, 0.10),  # no truth known
]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({}, [0, 1, 3, 4, 5, 2]),
        ({"only": "wrong"}, [1, 4, 2]),
        ({"only": "right"}, [0, 3, 2]),
        ({"only": "uncertain"}, [3, 5, 2]),
        ({"sort": "loss"}, [4, 1, 3, 0, 5, 2]),
        ({"sort": "confidence"}, [4, 0, 1, 3, 5, 2]),
        ({"sort": "margin"}, [3, 5, 1, 0, 4, 2]),
        ({"only": "wrong", "sort": "loss", "limit": 1}, [4, 2]),
        ({"limit": 2}, [0, 1, 2]),
        ({"limit": 100}, [0, 1, 3, 4, 5, 2]),
    ],
)
def test_selecting(choice, expected):
    assert select_images(PREDICTIONS, **choice) == expected


def test_uncertain_is_below_the_bound_not_at_it():
    at = [Prediction(0, UNCERTAIN, 0.1), Prediction(0, float(np.nextafter(UNCERTAIN, 0)), 0.1)]
    assert select_images(at, only="uncertain") == [1]


def test_equal_images_keep_their_order():
    same = [Prediction(0, 0.5, 0.2, 1, 0.7)] * 4
    for sort in ("loss", "confidence", "margin"):
        assert select_images(same, sort=sort) == [0, 1, 2, 3]


@pytest.mark.parametrize("wrong", [{"only": "blank"}, {"sort": "name"}])
def test_refuses_what_there_is_not(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong.values()))):
        select_images(PREDICTIONS, **wrong)
