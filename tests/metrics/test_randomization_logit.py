"""The random-logit test: linear networks, whose maps of two classes are known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cnnviz.attribution.queries import PassCount
from cnnviz.engines.base import GradientRequest
from cnnviz.engines.target_functions import ClassLogit, CosineSimilarity
from cnnviz.metrics.baselines import baselines
from cnnviz.metrics.randomization_logit import RandomLogit
from cnnviz.metrics.similarity import rank_correlation, structural_similarity
from tests.support.judged import case_of, subject_of
from tests.support.networks import conv, flatten, linear, sequential

CASE = case_of((12, 14))


def of_image(seed: int):
    """The case of another image."""
    image = np.random.default_rng(seed).standard_normal(CASE.input.shape).astype(np.float32)
    return dataclasses.replace(CASE, prepared=dataclasses.replace(CASE.prepared, input=image))


def gradient_of(network, image, target):
    recorded = network.run(image, record=True)
    (found,) = recorded.gradients([target] * len(image), [GradientRequest()])
    return found.input[:, 0]


def test_a_linear_networks_gradients_are_its_weights():
    same = {"0.weight": np.eye(3)}
    built = sequential((3, 12, 14), conv(3, bias=False), flatten(), linear(10), values=same)
    network, weights = built.network(), built.parameters["2.weight"].reshape(10, 3, 12, 14)[:, 0]
    subject = dataclasses.replace(
        subject_of(weights[3]), attribute=lambda image, target: gradient_of(network, image, target)
    )
    found = RandomLogit().measure(CASE, subject)
    own, other = weights[3], weights[found.details["class"]]
    assert found.details["class"] != 3
    assert found.value == pytest.approx(rank_correlation(np.abs(own), np.abs(other)), abs=1e-12)
    assert found.details["spearman"] == pytest.approx(rank_correlation(own, other), abs=1e-12)
    assert found.details["ssim"] == pytest.approx(structural_similarity(own, other), abs=1e-12)


def test_what_is_not_class_specific_has_1():
    for subject in baselines(12, 14):
        found = RandomLogit().measure(CASE, subject)
        if subject.key == "ones":  # nothing to compare
            assert (found.value, found.reason) == (None, "the map is the same everywhere")
        else:
            assert found.value == pytest.approx(1)


def test_a_map_that_vanishes_for_the_other_class_has_0():
    drawn = np.arange(168, dtype=np.float32).reshape(12, 14)
    subject = dataclasses.replace(
        subject_of(drawn), attribute=lambda image, _target: np.zeros((1, 12, 14), np.float32)
    )
    found = RandomLogit().measure(CASE, subject)
    assert (found.value, found.details["spearman"], found.details["ssim"]) == (0, 0, 0)


def test_a_map_that_is_not_finite_is_not_compared():
    drawn = np.arange(168, dtype=np.float32).reshape(12, 14)
    subject = dataclasses.replace(
        subject_of(drawn), attribute=lambda image, _target: np.full((1, 12, 14), np.nan)
    )
    assert RandomLogit().measure(CASE, subject).reason == "the other class's map is not finite"


def drawn_class(case, seed=0):
    """The class that a subject is asked for."""
    asked = []

    def attribute(image, target):
        np.testing.assert_array_equal(image, case.input[None])
        asked.append(target)
        return np.ones((1, 12, 14), np.float32)

    subject = dataclasses.replace(subject_of(np.eye(12, 14, dtype=np.float32)), attribute=attribute)
    found = RandomLogit(seed=seed).measure(case, subject)
    assert asked == [ClassLogit(found.details["class"])]
    return found.details["class"]


def test_every_other_class_may_be_drawn_and_an_image_keeps_its_own():
    drawn = [drawn_class(of_image(seed)) for seed in range(200)]
    assert set(drawn) == set(range(10)) - {3}
    assert [drawn_class(of_image(seed)) for seed in range(200)] == drawn
    assert [drawn_class(of_image(seed), seed=1) for seed in range(200)] != drawn


def test_the_similarity_to_another_image_is_compared_with_any_class():
    case = dataclasses.replace(CASE, target=CosineSimilarity(np.arange(10, dtype=np.float32)))
    assert 0 <= drawn_class(case) < 10


def test_a_network_with_one_output_has_no_other():
    case = dataclasses.replace(CASE, logits=np.zeros(1, np.float32))
    found = RandomLogit().measure(case, subject_of(np.eye(12)))
    assert (found.value, found.reason) == (None, "the network has no other class")


def test_it_costs_one_more_map():
    cost = PassCount(forwards=3, backwards=2)
    assert list(RandomLogit().passes((3, 12, 14), cost).values()) == [cost]
