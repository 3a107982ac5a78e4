"""Infidelity: 0 for the exact map of a linear network, by hand for others, and captum's."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cnnviz.engines.base import GradientRequest
from cnnviz.images.input_spec import InputSpec
from cnnviz.metrics.infidelity import Infidelity
from tests.support.judged import case_for, linear_network, subject_of
from tests.support.seeded import REFERENCE
from tests.support.small_network import captum_network

SPEC = InputSpec(20, 24, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
SHAPE = (3, 20, 24)


def drawn(seed):
    return np.random.RandomState(seed).standard_normal(SHAPE).astype(np.float32)


@pytest.fixture(scope="module")
def weights():
    return drawn(0)


@pytest.fixture(scope="module")
def case(weights):
    return case_for(linear_network(weights), drawn(1), 0, SPEC)


def exact(case, weights, fill):
    """What each pixel adds to a linear network's logit over the fill: w · (x - fill)."""
    plain = {"mean": [0, 0, 0], "black": [-2, -2, -2]}[fill]
    return weights * (case.input - np.array(plain, np.float32)[:, None, None])


@pytest.mark.parametrize("perturbation", ["square", "noise"])
@pytest.mark.parametrize("fill", ["mean", "black"])
def test_the_exact_map_of_a_linear_network_has_none(case, weights, perturbation, fill):
    """The gradient, contributions of it, and, for squares, their sum over channels."""
    metric = Infidelity(perturbation=perturbation, fill=fill)
    shares = exact(case, weights, fill)
    plain = subject_of(shares.sum(axis=0))
    subjects = [
        dataclasses.replace(plain, gradient=weights, values=np.abs(weights).sum(axis=0)),
        dataclasses.replace(plain, contributions=shares),
    ]
    if perturbation == "square":
        subjects.append(plain)
    for subject in subjects:
        found = metric.measure(case, subject)
        # Rounding: of logits of about 50, squared.
        assert found.value == pytest.approx(0, abs=1e-7)
        assert found.details["scale"] == pytest.approx(1, abs=1e-4)
        assert found.details["explained"] == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("factor", [1000, -0.001])
def test_a_maps_scale_does_not_count(case, weights, factor):
    wrong = exact(case, weights, "mean").sum(axis=0) + 3
    one, other = (
        Infidelity().measure(case, subject_of(scaled)) for scaled in (wrong, factor * wrong)
    )
    assert other.value == pytest.approx(one.value, rel=1e-5)
    assert other.details["scale"] == pytest.approx(one.details["scale"] / factor, rel=1e-5)
    assert one.value > 0.01


def test_the_definition_written_out(case, weights):
    """A map of ones says of a square what its area is."""
    metric = Infidelity(samples=50, seed=7)
    corners, sides = metric._squares(20, 24)
    shares = exact(case, weights, "mean").sum(axis=0).astype(np.float64)
    changes = np.array(
        [
            shares[top : top + side, left : left + side].sum()
            for (top, left), side in zip(corners, sides, strict=True)
        ]
    )
    said = sides.astype(np.float64) ** 2
    beta = (changes * said).mean() / (said * said).mean()
    found = metric.measure(case, subject_of(np.ones(SHAPE[1:])))
    assert found.value == pytest.approx(((beta * said - changes) ** 2).mean(), rel=1e-5)
    assert found.details["scale"] == pytest.approx(beta, rel=1e-4)
    assert found.details["change"] == pytest.approx(changes.mean(), rel=1e-4)
    # A map of nothing predicts no change at all.
    blank = metric.measure(case, subject_of(np.zeros(SHAPE[1:])))
    assert blank.value == pytest.approx((changes**2).mean(), rel=1e-5)
    assert (blank.details["scale"], blank.details["explained"]) == (0, 0)


def test_squares_are_of_all_sizes_and_places():
    """Of 56 × 70 pixels: sides from 2 to 20, within the image, up to its edges."""
    corners, sides = Infidelity(samples=4000)._squares(56, 70)
    assert set(sides) == set(range(2, 21))
    ends = corners + sides[:, None]
    assert corners.min(axis=0).tolist() == [0, 0]
    assert ends.max(axis=0).tolist() == [56, 70]
    again, _ = Infidelity(samples=4000, seed=1)._squares(56, 70)
    assert (again != corners).any()


def test_maps_with_one_value_meet_noise_in_units_of_pixels(case):
    """Σ I S with I in pixels, S the same for all channels: exact for weights of S · std."""
    values = drawn(5)[0]
    weights = values * np.array([0.2, 0.25, 0.3], np.float32)[:, None, None]
    judged = case_for(linear_network(weights), case.input, 0, SPEC)
    found = Infidelity(perturbation="noise").measure(judged, subject_of(values))
    assert found.value == pytest.approx(0, abs=1e-7)
    assert found.details["scale"] == pytest.approx(1, abs=1e-4)


def test_noisy_images_are_images():
    """Around black, cut off where pixels end: half of them are black, none is below."""
    image = drawn(3)
    judged = case_for(linear_network(image), image, 0, SPEC)
    out = np.empty(SHAPE, np.float32)
    Infidelity(perturbation="noise", fill="black", samples=3)._with_noise(judged).write(1, out)
    pixels = out * np.array(SPEC.std)[:, None, None] + np.array(SPEC.mean)[:, None, None]
    assert pixels.min() == pytest.approx(0, abs=1e-6)
    assert (np.abs(pixels) < 1e-6).mean() == pytest.approx(0.5, abs=0.05)
    # Of the upper half of a normal distribution the mean square is that of the whole.
    positive = pixels[pixels > 1e-6]
    assert np.sqrt((positive**2).mean()) == pytest.approx(0.2, rel=0.1)


def test_both_are_captums():
    """captum's own float32 differs from its float64, which these numbers are, by about 1e-6."""
    network, image, target = captum_network()
    with np.load(REFERENCE / "metrics.npz") as file:
        numbers = {name: file[name] for name in file.files}
    case = case_for(network, image, target)
    (result,) = network.run(image[None], record=True).gradients([target], [GradientRequest()])
    gradient = result.input[0]
    np.testing.assert_allclose(gradient, numbers["gradient"], rtol=0, atol=1e-5)
    metric = Infidelity(samples=60)
    magnitude = subject_of(np.abs(gradient).sum(axis=0))
    signed = dataclasses.replace(magnitude, gradient=gradient)
    for subject, name in ((signed, "gradient"), (magnitude, "magnitude")):
        expected = float(numbers[f"infidelity_{name}"])
        assert metric.measure(case, subject).value == pytest.approx(expected, rel=1e-5)
