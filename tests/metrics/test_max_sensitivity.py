"""Max-sensitivity: by hand for maps that are linear in the image, and captum's."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cnnviz.engines.base import GradientRequest
from cnnviz.engines.target_functions import ClassLogit
from cnnviz.images.input_spec import InputSpec
from cnnviz.metrics.max_sensitivity import MaxSensitivity
from tests.support.judged import case_for, linear_network, subject_of
from tests.support.seeded import REFERENCE
from tests.support.small_network import captum_network

SHAPE = (3, 9, 8)
SPEC = InputSpec(9, 8, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


@pytest.fixture(scope="module")
def image():
    return np.random.RandomState(1).standard_normal(SHAPE).astype(np.float32)


def judged(case, make):
    """A map that is a function of the image."""
    subject = subject_of(make(case.input[None])[0])
    return dataclasses.replace(subject, attribute=lambda inputs, _target: make(inputs))


def test_a_map_of_the_image_itself(image):
    """S(x) = 7 Σ_c x_c, and the most that any d changes it by, relative to S."""
    case = case_for(linear_network(image), image, 0, SPEC)
    asked = []

    def make(inputs):
        asked.append(inputs)
        return 7 * inputs.sum(axis=1)

    found = MaxSensitivity(radius=0.05, samples=23).measure(case, judged(case, make))
    changes = np.concatenate(asked[1:]) - image
    assert changes.shape == (23, *SHAPE)
    for channel, std in enumerate((0.2, 0.25, 0.3)):
        own = changes[:, channel] * std
        assert np.abs(own).max() == pytest.approx(0.05, rel=1e-2)
        assert np.abs(own).max() < 0.05 + 1e-6
        assert own.std() == pytest.approx(0.05 / np.sqrt(3), rel=0.06)
    norms = np.linalg.norm(changes.sum(axis=1).reshape(23, -1), axis=1)
    expected = norms.max() / np.linalg.norm(image.sum(axis=0))
    assert found.value == pytest.approx(expected, rel=1e-5)


def test_maps_that_ignore_the_image_do_not_change(image):
    case = case_for(linear_network(image), image, 0, SPEC)
    assert MaxSensitivity().measure(case, subject_of(np.ones(SHAPE[1:]))).value == 0
    blank = MaxSensitivity().measure(case, subject_of(np.zeros(SHAPE[1:])))
    assert (blank.value, blank.reason) == (None, "the map is 0 everywhere")


def test_the_class_stays_and_its_loss_is_told():
    """Two logits, of which one is 0 and the other next to it: about half of the samples change."""
    image = np.zeros((1, 4, 4), np.float32)
    case = case_for(linear_network(np.ones((1, 4, 4))), image, 1)
    targets = []

    def attribute(inputs, target):
        targets.append(target)
        return np.ones((len(inputs), 4, 4), np.float32)

    subject = dataclasses.replace(subject_of(np.ones((4, 4))), attribute=attribute)
    found = MaxSensitivity(samples=40).measure(case, subject)
    assert set(targets) == {ClassLogit(1)}
    # The first of two equal logits counts as the highest: a sum above 0 keeps it.
    sums = [one.sum() for one in MaxSensitivity(samples=40)._changed(case)]
    assert found.details == {"class_changed": sum(one < 0 for one in sums), "samples": 40}
    assert 8 < found.details["class_changed"] < 32


def test_the_seed_decides(image):
    case = case_for(linear_network(image), image, 0, SPEC)
    first, again, other = (
        MaxSensitivity(seed=seed).measure(case, judged(case, lambda x: x.sum(axis=1))).value
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_a_network_that_takes_blue_first_sees_the_same(image):
    case = case_for(linear_network(image), image, 0, SPEC)
    turned = dataclasses.replace(SPEC, channels="bgr", mean=SPEC.mean[::-1], std=SPEC.std[::-1])
    flipped = np.ascontiguousarray(image[::-1])
    other = case_for(linear_network(flipped), flipped, 0, turned)
    for one, two in zip(
        MaxSensitivity()._changed(case), MaxSensitivity()._changed(other), strict=True
    ):
        np.testing.assert_array_equal(one, two[::-1])


def test_it_is_captums():
    """Its changes are drawn for ImageNet's pixels; the image is given as it is."""
    network, image, target = captum_network()
    spec = InputSpec(16, 12)
    case = case_for(network, image, target, spec)

    def attribute(inputs, wanted):
        assert wanted == ClassLogit(target)
        forward = network.run(inputs, record=True)
        (result,) = forward.gradients([wanted] * len(inputs), [GradientRequest()])
        return np.abs(result.input).sum(axis=1)

    values = attribute(image[None], ClassLogit(target))[0]
    subject = dataclasses.replace(subject_of(values), attribute=attribute)
    with np.load(REFERENCE / "metrics.npz") as file:
        expected = float(file["sensitivity"])
    assert MaxSensitivity().measure(case, subject).value == pytest.approx(expected, rel=1e-5)
