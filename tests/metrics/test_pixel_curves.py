"""Deletion and insertion: by hand on linear networks, and as their authors define them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cnnviz.attribution import queries
from cnnviz.errors import UsageError
from cnnviz.images.input_spec import InputSpec
from cnnviz.metrics.fills import blurred
from cnnviz.metrics.imputation import impute
from cnnviz.metrics.pixel_curves import Deletion, Insertion
from tests.support.judged import SHAPE, case_for, linear_network, softmax, subject_of


def test_a_linear_network_by_hand():
    """Six pixels with contributions 3, -1, 4, 2, 0, 5, and a map that ranks them so.

    In three steps the logit falls from 13 by 5 + 4, 3 + 2, 0 - 1, and rises by the same from 0.
    """
    weights = np.array([[[3, -1, 4], [2, 0, 5]]])
    case = case_for(linear_network(weights), np.ones((1, 2, 3), np.float32))
    subject = subject_of(weights[0])
    deletion = Deletion(score="logit", steps=3).measure(case, subject)
    assert deletion.curve == pytest.approx((13, 4, -1, 0), abs=1e-5)
    assert deletion.value == pytest.approx((13 / 2 + 4 - 1 + 0) / 3, abs=1e-5)
    assert deletion.details["clean"] == pytest.approx(13, abs=1e-5)
    assert deletion.details["filled"] == pytest.approx(0, abs=1e-5)
    assert deletion.details["shares"] == pytest.approx([0, 1 / 3, 2 / 3, 1], abs=1e-12)
    insertion = Insertion(score="logit", steps=3, fill="mean").measure(case, subject)
    assert insertion.curve == pytest.approx((0, 9, 14, 13), abs=1e-5)
    assert insertion.value == pytest.approx((0 + 9 + 14 + 13 / 2) / 3, abs=1e-5)
    assert insertion.details["clean"] == pytest.approx(13, abs=1e-5)
    probability = Deletion(steps=3).measure(case, subject)
    expected = [1 / (1 + math.exp(-logit)) for logit in (13, 4, -1, 0)]
    assert probability.curve == pytest.approx(expected, abs=1e-6)


def test_each_step_has_its_own_width():
    """Seven equal pixels in three steps: 2, 3 and 2 of them go, and the line is straight."""
    case = case_for(linear_network(np.ones((1, 1, 7))), np.ones((1, 1, 7), np.float32))
    found = Deletion(score="logit", steps=3).measure(case, subject_of(np.arange(7)[None]))
    assert found.curve == pytest.approx((7, 5, 2, 0), abs=1e-5)
    assert found.details["shares"] == pytest.approx([0, 2 / 7, 5 / 7, 1], abs=1e-12)
    assert found.value == pytest.approx(3.5, abs=1e-5)


def test_there_are_no_more_steps_than_pixels():
    case = case_for(linear_network(np.ones((1, 1, 4))), np.ones((1, 1, 4), np.float32))
    found = Deletion(score="logit").measure(case, subject_of([[4, 3, 2, 1]]))
    assert found.curve == pytest.approx((4, 3, 2, 1, 0), abs=1e-5)


def test_one_step_needs_no_pass_between(network, image, heat):
    case = case_for(network, image, 2)
    found = Insertion(score="logit", steps=1, fill="mean").measure(case, subject_of(heat))
    ends = network.logits(np.stack([0 * image, image]))[:, 2]
    assert found.curve == pytest.approx(ends, abs=1e-5)
    assert found.value == pytest.approx(ends.mean(), abs=1e-5)


def authors_curve(network, image, heat, target, step, start, finish):
    """As RISE's evaluation does: pixels in order, all channels at once, `step` of them a time."""
    order = np.flip(np.argsort(heat.ravel()))
    current = start.copy().reshape(len(image), -1)
    finish = finish.reshape(len(image), -1)
    scores = []
    for number in range(heat.size // step + 1):
        scores.append(softmax(network.logits(current.reshape(1, *image.shape)))[0, target])
        places = order[step * number : step * (number + 1)]
        current[:, places] = finish[:, places]
    scores = np.array(scores)
    return scores, (scores.sum() - scores[0] / 2 - scores[-1] / 2) / (len(scores) - 1)


def test_both_are_the_authors(network, image, heat):
    """168 pixels in 28 steps of 6. The map has no ties."""
    case = case_for(network, image, 2)
    curve, area = authors_curve(network, image, heat, 2, 6, image, 0 * image)
    found = Deletion().measure(case, subject_of(heat))
    np.testing.assert_allclose(found.curve, curve, rtol=0, atol=1e-6)
    assert found.value == pytest.approx(area, abs=1e-6)
    curve, area = authors_curve(network, image, heat, 2, 6, blurred(image, 5), image)
    found = Insertion().measure(case, subject_of(heat))
    np.testing.assert_allclose(found.curve, curve, rtol=0, atol=1e-6)
    assert found.value == pytest.approx(area, abs=1e-6)


def test_only_the_order_counts(network, image, heat):
    """Signs and scale do not: the cube orders signed values as they are."""
    case = case_for(network, image, 1)
    subjects = [subject_of(values) for values in (heat, 100 * heat**3, heat - 10)]
    for metric in (Deletion(), Insertion()):
        first, *others = (metric.measure(case, subject) for subject in subjects)
        assert all(other == first for other in others)


def test_ties_fall_in_an_order_of_chance_that_all_maps_share(network, image):
    case = case_for(network, image)
    ones, zeros = (subject_of(np.full(SHAPE[1:], value)) for value in (1, 0))
    assert Deletion().measure(case, ones) == Deletion().measure(case, zeros)
    half = np.zeros(SHAPE[1:])
    half[:, :7] = 1
    order = subject_of(half).order
    assert set(order[:84] % 14) == set(range(7))
    assert list(order[:84]) == [place for place in ones.order if place % 14 < 7]
    # By chance, and not row by row: the first tenth of the pixels come from everywhere.
    first = ones.order[:17] // 14
    assert first.min() < 3
    assert first.max() > 8


def test_one_hot_maps_take_their_pixel_first():
    weights = np.zeros((1, 4, 5))
    weights[0, 2, 3] = 7
    case = case_for(linear_network(weights), np.ones((1, 4, 5), np.float32))
    metric = Deletion(score="logit", steps=20)
    found = metric.measure(case, subject_of(weights[0]))
    assert found.curve == pytest.approx((7,) + 20 * (0,), abs=1e-5)
    # The other way round it goes last.
    found = metric.measure(case, subject_of(-weights[0]))
    assert found.curve == pytest.approx(20 * (7,) + (0,), abs=1e-5)


SPEC = InputSpec(12, 14, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


@pytest.mark.parametrize("kind", [Deletion, Insertion])
@pytest.mark.parametrize("fill", ["mean", "black", "blur", "inpaint"])
def test_fills(network, image, heat, kind, fill):
    """84 pixels are gone, and 84 have come, halfway; black is by hand from the specification."""
    case = case_for(network, image, 3, SPEC)
    subject = subject_of(heat)
    found = kind(steps=2, score="logit", fill=fill, blur=2.0).measure(case, subject)
    highest = heat >= np.sort(heat.ravel())[84]
    gone = highest if kind is Deletion else ~highest
    plain = {
        "mean": 0 * image,
        "black": np.broadcast_to([[[-2.0]], [[-2.0]], [[-2.0]]], SHAPE),
        "blur": blurred(image, 2),
        "inpaint": impute(image, gone),
    }[fill]
    halfway = np.where(gone, plain, image)
    last = image.mean(axis=(1, 2), keepdims=True) + 0 * image if fill == "inpaint" else plain
    expected = network.logits(np.stack([image, halfway, last]).astype(np.float32))[:, 3]
    curve = found.curve if kind is Deletion else found.curve[::-1]
    assert curve == pytest.approx(expected, abs=1e-5)


def test_blur_keeps_borders_and_means():
    image = np.random.RandomState(0).rand(5, 40, 30).astype(np.float32)
    np.testing.assert_allclose(blurred(0 * image + 0.75, 6), 0.75, rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        blurred(image, 6).mean(axis=(1, 2)), image.mean(axis=(1, 2)), rtol=0, atol=1e-3
    )
    # A Gaussian of this standard deviation, by its formula, where no border is near.
    point = np.zeros((1, 41, 41), np.float32)
    point[0, 20, 20] = 1
    down, across = np.indices((41, 41)) - 20
    formula = np.exp(-(down**2 + across**2) / (2 * 3**2))
    np.testing.assert_allclose(blurred(point, 3)[0], formula / formula.sum(), rtol=0, atol=2e-5)


def test_the_size_of_batches_changes_nothing(network, image, heat, monkeypatch):
    metrics = (Deletion(), Insertion(fill="inpaint"))
    whole = [metric.measure(case_for(network, image, 1), subject_of(heat)) for metric in metrics]
    monkeypatch.setattr(queries, "_LARGEST_BATCH", 1)
    single = [metric.measure(case_for(network, image, 1), subject_of(heat)) for metric in metrics]
    for one, other in zip(whole, single, strict=True):
        np.testing.assert_allclose(one.curve, other.curve, rtol=0, atol=1e-6)


def test_options_are_checked():
    for wrong in ({"steps": 0}, {"fill": "white"}, {"score": "loss"}, {"blur": 0.0}):
        with pytest.raises(UsageError, match=f"option {next(iter(wrong))} of deletion"):
            Deletion(**wrong)
    assert (Deletion().fill, Insertion().fill) == ("mean", "blur")
