"""Verdicts by hand, and what is chosen by them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cnnviz.errors import UsageError
from cnnviz.labels.predictions import UNCERTAIN, Verdict, choose, judge


def logits(*probabilities):
    return np.log(np.array(probabilities)).astype(np.float32)


def test_a_verdict_by_hand():
    verdict = judge(logits(0.2, 0.5, 0.3), truth=2)
    assert (verdict.predicted, verdict.truth, verdict.right) == (1, 2, False)
    assert verdict.confidence == pytest.approx(0.5, rel=1e-6)
    assert verdict.margin == pytest.approx(0.2, rel=1e-6)
    assert verdict.loss == pytest.approx(-math.log(0.3), rel=1e-6)
    assert judge(logits(0.2, 0.5, 0.3), truth=1).right is True
    unknown = judge(logits(0.2, 0.5, 0.3))
    assert (unknown.right, unknown.loss) == (None, None)


def test_verdicts_at_the_limits():
    even = judge(np.zeros(4, np.float32), truth=3)
    assert (even.predicted, even.confidence, even.margin) == (0, 0.25, 0.0)
    assert even.loss == pytest.approx(math.log(4), rel=1e-12)
    # Logits whose powers overflow, and a truth whose probability is 0 in float64.
    sure = judge(np.array([2000, 0], np.float32), truth=1)
    assert (sure.confidence, sure.margin, sure.loss) == (1.0, 1.0, 2000.0)
    alone = judge(np.array([-3], np.float32), truth=0)
    assert (alone.confidence, alone.margin, alone.loss) == (1.0, 1.0, 0.0)


#            predicted, confidence, margin, truth, loss
VERDICTS = [
    Verdict(0, 0.90, 0.80, 0, 0.11),  # right
    Verdict(1, 0.60, 0.25, 0, 1.20),  # wrong
    None,  # failed
    Verdict(1, 0.45, 0.05, 1, 0.80),  # right, but uncertain
    Verdict(2, 0.99, 0.98, 0, 5.00),  # wrong and sure of it
    Verdict(2, 0.30, 0.10),  # no truth known
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
def test_choosing(choice, expected):
    assert choose(VERDICTS, **choice) == expected


def test_uncertain_is_below_the_bound_not_at_it():
    at = [Verdict(0, UNCERTAIN, 0.1), Verdict(0, float(np.nextafter(UNCERTAIN, 0)), 0.1)]
    assert choose(at, only="uncertain") == [1]


def test_equal_images_keep_their_order():
    same = [Verdict(0, 0.5, 0.2, 1, 0.7)] * 4
    for sort in ("loss", "confidence", "margin"):
        assert choose(same, sort=sort) == [0, 1, 2, 3]


@pytest.mark.parametrize("wrong", [{"only": "blank"}, {"sort": "name"}])
def test_refuses_what_there_is_not(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong.values()))):
        choose(VERDICTS, **wrong)
