"""Average drop, increase and gain: by hand on linear networks, and for maps that show nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cnnviz.engines.target_functions import CosineSimilarity
from cnnviz.images.input_spec import InputSpec
from cnnviz.metrics.fills import blurred
from cnnviz.metrics.masked_confidence import AverageDrop, AverageGain, Increase
from tests.support.judged import case_for, linear_network, subject_of

#: Contributions 2, -1, 3 and 0 of an image of ones: the logit is 4.
WEIGHTS = np.array([[[2, -1], [3, 0]]])
ONES = np.ones((1, 2, 2), np.float32)


def sigmoid(logit):
    return 1 / (1 + np.exp(-logit))


def measured(values, weights=WEIGHTS, image=ONES, spec=None, **options):
    case = case_for(linear_network(weights), image, 0, spec)
    subject = subject_of(values)
    return [kind(**options).measure(case, subject) for kind in (AverageDrop, Increase, AverageGain)]


@pytest.mark.parametrize("scale", [1, 1000, 1e-30])
def test_a_lower_probability_by_hand(scale):
    """The map hides the 3, half of the 2, and, where it is negative, the 0: 2/2 - 1 = 0 is seen."""
    drop, increase, gain = measured(scale * np.array([[0.5, 1], [0, -4]]))
    clean, seen = sigmoid(4), 0.5
    assert drop.value == pytest.approx((clean - seen) / clean, abs=1e-6)
    assert increase.value == 0
    assert gain.value == 0
    for one in (drop, increase, gain):
        assert one.details == {"clean": pytest.approx(clean), "seen": pytest.approx(seen)}


def test_a_higher_probability_by_hand():
    """Without the -1 the logit is 5."""
    drop, increase, gain = measured([[1, 0], [1, 1]])
    clean, seen = sigmoid(4), sigmoid(5)
    assert drop.value == 0
    assert increase.value == 1
    assert gain.value == pytest.approx((seen - clean) / (1 - clean), abs=1e-5)


@pytest.mark.parametrize("values", [0, -3])
def test_of_a_map_that_is_nowhere_positive_nothing_is_seen(values):
    drop, increase, gain = measured(np.full((2, 2), values))
    assert drop.details["seen"] == pytest.approx(0.5, abs=1e-6)
    assert drop.value == pytest.approx(1 - 0.5 / sigmoid(4), abs=1e-6)
    assert (increase.value, gain.value) == (0, 0)


@pytest.mark.parametrize("constant", [1, 0.01, 300])
def test_a_map_that_is_the_same_everywhere_neither_drops_nor_gains(constant):
    """Whatever rounding does to the logits of another batch: here, a little more than nothing."""
    network = linear_network(WEIGHTS)
    case = case_for(network, ONES)
    for off in (-4e-6, 4e-6):
        other = dataclasses.replace(case, logits=case.logits + np.float32(off))
        for kind in (AverageDrop, Increase, AverageGain):
            assert kind().measure(other, subject_of(np.full((2, 2), constant))).value == 0


def test_one_hot_maps_show_one_pixel():
    drop, _, _ = measured([[0, 0], [7, 0]])
    assert drop.details["seen"] == pytest.approx(sigmoid(3), abs=1e-6)


def test_what_is_not_seen_is_the_fill():
    spec = InputSpec(2, 2, (0.4,), (0.2,))
    for fill, unseen in (("mean", 0.0), ("black", -2.0), ("blur", None)):
        image = np.array([[[1, 0.5], [0.25, -1]]], np.float32)
        found, *_ = measured([[1, 0.5], [0, 0]], image=image, spec=spec, fill=fill, blur=1.0)
        other = blurred(image, 1)[0] if unseen is None else np.full((2, 2), unseen)
        shown = np.array([[1, 0.5], [0, 0]])
        seen = shown * image[0] + (1 - shown) * other
        expected = sigmoid((WEIGHTS[0] * seen).sum())
        assert found.details["seen"] == pytest.approx(expected, abs=1e-6)


def test_where_nothing_can_drop_or_rise():
    drop, increase, gain = measured([[0, 1], [0, 0]], weights=-400 * WEIGHTS)
    assert (drop.value, increase.value, gain.value) == (None, 1, pytest.approx(1, abs=1e-6))
    assert "0, and cannot drop" in drop.reason
    drop, increase, gain = measured(np.eye(2), weights=400 * WEIGHTS)
    assert (increase.value, gain.value) == (0, None)
    assert "1, and cannot rise" in gain.reason


def test_targets_without_a_probability():
    case = case_for(linear_network(WEIGHTS), ONES, CosineSimilarity(np.ones(2, np.float32)))
    for kind in (AverageDrop, Increase, AverageGain):
        found = kind().measure(case, subject_of(np.eye(2)))
        assert (found.value, found.reason) == (None, "the target has no probability")
