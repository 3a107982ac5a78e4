"""Gradients, plain and averaged: against loops, hand arithmetic, limiting cases and captum."""

from __future__ import annotations

import numpy as np
import pytest

import cnnviz
from cnnviz.attribution import choose_methods
from cnnviz.attribution.path_gradients import gauss_legendre
from cnnviz.engines.base import RELU_RULES, GradientRequest
from cnnviz.errors import NetworkError, UsageError
from cnnviz.images.preprocessing import InputSpec
from tests.support.attribution import collect_one
from tests.support.gradients import differentiate
from tests.support.networks import (
    conv,
    conv_relu,
    flatten,
    global_avg_pool,
    linear,
    linear_relu,
    max_pool,
    relu,
    sequential,
)
from tests.support.seeded import REFERENCE
from tests.support.small_network import captum_network

SHAPE = (3, 12, 10)
RULES = ("standard", "guided", "deconvnet")


def drawn(bias=True):
    """Seeded weights of either sign, and biases large enough to matter, or none."""
    random = np.random.RandomState(3)

    def draw(name, shape):
        scale = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.3 * bias
        return (scale * random.standard_normal(shape)).astype(np.float32)

    return draw


def relu_network(bias=True, channels=3):
    """The first convolution has stride 2: MXNet's engine takes another way back through it."""
    return sequential(
        (channels, *SHAPE[1:]),
        conv_relu(6, 3, stride=2, padding=1),
        conv_relu(8, 3, padding=1),
        max_pool(),
        flatten(),
        linear_relu(12),
        linear(4),
        draw=drawn(bias),
    ).network()


def linear_network():
    """A network without ReLUs, and G (4, C, H, W): its logits are Σ G x + constant."""
    net = sequential(SHAPE, conv(5), flatten(), linear(4), draw=drawn())
    mixing = net.parameters["0.weight"][:, :, 0, 0]
    dense = net.parameters["2.weight"].reshape(4, 5, *SHAPE[1:])
    slopes = np.einsum("tkij,kc->tcij", dense.astype(np.float64), mixing.astype(np.float64))
    return net.network(), slopes


@pytest.fixture(scope="module")
def network():
    return relu_network()


@pytest.fixture(scope="module")
def batch():
    return np.random.RandomState(1).randn(3, *SHAPE).astype(np.float32)


def explain(network, batch, targets, name, spec=None, **options):
    (method,) = choose_methods([name], options)
    return method.explain(
        collect_one(network, batch, targets, network.default_layer, [method], spec)
    )


def attribute(network, batch, targets, name, spec=None, **options):
    key = "_".join([name.replace("-", "_"), *([options["relu"]] if "relu" in options else [])])
    return explain(network, batch, targets, name, spec, **options).maps[key]


def one_by_one(network, inputs, target, rule="standard"):
    """Gradients of inputs that go through the network alone: a list of (C, H, W) float64."""
    return [
        differentiate(network, one[None].astype(np.float32), [target], relu_rule=rule)
        .input_gradients[0]
        .astype(np.float64)
        for one in inputs
    ]


def distance(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


# --- one gradient -----------------------------------------------------------------------------


def test_three_columns_for_grad_cam_and_for_the_gradient(network, batch):
    """Each of two methods under the three rules, in one pass, is what each is alone."""
    methods = choose_methods(["gradcam", "gradient"], relu=RULES)
    assert [method.key for method in methods] == [
        "gradcam",
        "gradcam_guided",
        "gradcam_deconvnet",
        "gradient",
        "gradient_guided",
        "gradient_deconvnet",
    ]
    together = collect_one(network, batch, [0, 1, 2], network.default_layer, methods)
    maps = {method.key: method.attribute(together) for method in methods}
    for rule, key in zip(RULES, ("gradient", "gradient_guided", "gradient_deconvnet"), strict=True):
        alone = differentiate(network, batch, [0, 1, 2], relu_rule=rule).input_gradients
        np.testing.assert_array_equal(maps[key], alone)
    assert distance(maps["gradient_guided"], maps["gradient"]) > 0.1
    assert distance(maps["gradient_deconvnet"], maps["gradient_guided"]) > 0.1


@pytest.mark.parametrize(("name", "rule"), [("guided-backprop", "guided"), ("deconvnet",) * 2])
def test_named_methods_are_the_gradient_under_their_rule(network, batch, name, rule):
    named = attribute(network, batch, [0, 1, 2], name)
    general = attribute(network, batch, [0, 1, 2], "gradient", relu=rule)
    assert named.tobytes() == general.tobytes()


@pytest.mark.parametrize("images", [1, 3])
def test_requests_do_not_overwrite_each_others_input_gradients(network, batch, images):
    """The recorded gradient array of the first operator is one for all requests."""
    targets = np.arange(images)
    requests = [GradientRequest(RELU_RULES[rule]) for rule in RULES]
    together = network.run(batch[:images], record=True).gradients(
        targets, requests, retain_graph=False
    )
    for request, found in zip(requests, together, strict=True):
        (alone,) = network.run(batch[:images], record=True).gradients(
            targets, [request], retain_graph=False
        )
        np.testing.assert_array_equal(found.input, alone.input)


def test_gradient_of_a_linear_network_is_its_slopes(batch):
    network, slopes = linear_network()
    found = attribute(network, batch, [0, 1, 2], "gradient")
    np.testing.assert_allclose(found, slopes[:3], rtol=1e-5, atol=1e-6)  # float32, five terms


def test_gradient_and_deconvnet_by_hand():
    """y = 2 relu(x) - 3 relu(-x) + 5 relu(x + 1), each pixel of one row; y_1 = -y_0."""
    values = {
        "0.weight": [1, -1, 1],
        "0.bias": [0, 0, 1],
        "2.weight": [[2, -3, 5], [-2, 3, -5]],
        "2.bias": [0, 0],
    }
    layers = (conv(3), relu(), conv(2), global_avg_pool(), flatten())
    network = sequential((1, 1, 4), *layers, values=values).network()
    image = np.array([[[[2, -0.5, -2, 0.25]]]], np.float32)

    def quarters(name, target):  # the mean over four pixels divides all by four
        return (4 * attribute(network, image, [target], name)).ravel().tolist()

    # On at 2 and 0.25: first and third; at -0.5: second and third; at -2: second.
    assert quarters("gradient", 0) == [2 + 5, 3 + 5, 3, 2 + 5]
    # The rule lets 2 and 5 pass everywhere, -3 nowhere; for the other class only 3, through -1.
    assert quarters("deconvnet", 0) == [2 + 5] * 4
    assert quarters("deconvnet", 1) == [-3] * 4
    assert quarters("guided-backprop", 0) == [2 + 5, 5, 0, 2 + 5]
    assert quarters("input-x-gradient", 0) == [14, -4, -6, 1.75]


def test_input_x_gradient_sums_to_the_logit_without_biases(batch):
    """Euler: the logit of such a network is homogeneous of degree 1. With biases it is not."""
    network = relu_network(bias=False)
    targets = np.array([0, 1, 2])
    logits = network.logits(batch)[np.arange(3), targets]
    sums = attribute(network, batch, targets, "input-x-gradient").sum((1, 2, 3), np.float64)
    np.testing.assert_allclose(sums, logits, rtol=1e-5)
    biased = relu_network()
    sums = attribute(biased, batch, targets, "input-x-gradient").sum((1, 2, 3), np.float64)
    assert (np.abs(sums - biased.logits(batch)[np.arange(3), targets]) > 0.01).all()


@pytest.mark.parametrize("rule", RULES)
def test_input_x_gradient_is_the_product(network, batch, rule):
    options = {} if rule == "standard" else {"relu": rule}
    found = attribute(network, batch, [0, 1, 2], "input-x-gradient", **options)
    gradients = differentiate(network, batch, [0, 1, 2], relu_rule=rule).input_gradients
    np.testing.assert_allclose(found, batch.astype(np.float64) * gradients, rtol=1e-6)


# --- SmoothGrad ---------------------------------------------------------------------------------


def noise_of(image, part):
    """σ for each channel as the network sees it: alike in pixels, a part of the widest range."""
    std = InputSpec().std
    ranges = [(own.max() - own.min()) * scale for own, scale in zip(image, std, strict=True)]
    return part * max(ranges) / np.array(std)[:, None, None]


@pytest.mark.parametrize("rule", RULES)
def test_smoothgrad_is_the_papers_formula(network, batch, rule):
    """Section 2.2 in a loop: 1/n Σ M(x + N(0, σ²)), σ a part of the pixels' range."""
    options = {} if rule == "standard" else {"relu": rule}
    found = attribute(
        network, batch, [2, 0, 1], "smoothgrad", samples=7, noise=0.2, seed=5, **options
    )
    for image, target, map_ in zip(batch, [2, 0, 1], found, strict=True):
        random = np.random.RandomState(5)
        deviation = noise_of(image, 0.2)
        total = np.zeros(SHAPE)
        for _ in range(7):
            noisy = image + random.normal(0, deviation, SHAPE)
            (gradient,) = one_by_one(network, [noisy], target, rule)
            total += gradient
        # The mean of float32 gradients, each computed alone here and by sevens there.
        np.testing.assert_allclose(map_, total / 7, rtol=1e-5, atol=1e-6)


def test_smoothgrad_of_one_sample_without_noise_is_the_gradient(network, batch):
    found = attribute(network, batch, [0, 1, 2], "smoothgrad", samples=1, noise=0)
    expected = attribute(network, batch, [0, 1, 2], "gradient")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)  # batches of 1 and of 3


def test_smoothgrad_of_a_linear_network_is_the_gradient(batch):
    network, slopes = linear_network()
    found = attribute(network, batch, [0, 1, 2], "smoothgrad", noise=1.0)
    np.testing.assert_allclose(found, slopes[:3], rtol=1e-5, atol=1e-6)


def test_smoothgrad_shows_signs_and_magnitudes(network, batch):
    (method,) = choose_methods(["smoothgrad"], {"samples": 3}, relu=["guided"])
    assert method.map_kinds == {
        "smoothgrad_guided": "signed",
        "smoothgrad_guided_magnitude": "magnitude",
    }
    maps = explain(network, batch, [0, 1, 2], "smoothgrad", samples=3, relu="guided").maps
    signed = maps["smoothgrad_guided"]
    expected = np.abs(signed[:, 0]) + np.abs(signed[:, 1]) + np.abs(signed[:, 2])
    np.testing.assert_allclose(maps["smoothgrad_guided_magnitude"], expected, rtol=1e-6)


def test_smoothgrad_says_how_the_logit_fares(network, batch):
    found = explain(network, batch, [0, 1, 2], "smoothgrad", samples=5, noise=0.5)
    logits = network.logits(batch)
    for index, image in enumerate(batch):
        random = np.random.RandomState(0)
        deviation = noise_of(image, 0.5)
        noisy = [image + random.normal(0, deviation, SHAPE) for _ in range(5)]
        under_noise = network.logits(np.array(noisy, np.float32))[:, index].mean()
        assert found.diagnostics["logit"][index] == pytest.approx(logits[index, index], rel=1e-5)
        assert found.diagnostics["noisy_logit"][index] == pytest.approx(under_noise, rel=1e-5)
        assert abs(under_noise - logits[index, index]) > 0.01


def test_smoothgrad_of_an_image_of_one_color_is_the_gradient(network):
    """Whatever color: normalized channels differ even in a gray image, by mean and std."""
    spec = InputSpec()
    for color in ((0.5, 0.5, 0.5), (1.0, 0.0, 0.25)):
        normalized = (np.array(color) - spec.mean) / spec.std
        flat = np.broadcast_to(normalized[:, None, None], SHAPE)[None].astype(np.float32)
        # One sample: in larger batches rounding may choose another of a flat image's maxima.
        found = attribute(network, flat, [1], "smoothgrad", samples=1)
        expected = attribute(network, flat, [1], "gradient")
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_smoothgrad_depends_on_its_seed_and_not_on_the_company(network, batch):
    options = {"samples": 4}
    company = attribute(network, batch, [1, 1, 1], "smoothgrad", **options)
    alone = attribute(network, batch[2:], [1], "smoothgrad", **options)
    assert company[2].tobytes() == alone[0].tobytes()
    other = attribute(network, batch[2:], [1], "smoothgrad", seed=1, **options)
    assert distance(other, alone) > 0.01


def test_smoothgrad_follows_no_rule_where_there_is_no_relu(batch):
    network, _ = linear_network()
    with pytest.raises(NetworkError, match="0 of 0 ReLUs"):
        attribute(network, batch, [0, 1, 2], "smoothgrad", relu="guided")


# --- integrated gradients -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def captum():
    """The network of ``make_gradient_fixtures.py``, its image (1, 3, 16, 12), the numbers."""
    network, image, _ = captum_network()
    with np.load(REFERENCE / "gradient_family.npz") as file:
        numbers = {name: file[name] for name in file.files}
    return network, image[None], numbers


@pytest.mark.parametrize("baseline", ["black", "mean", "white"])
def test_integrated_gradients_are_captums(captum, baseline):
    network, image, numbers = captum
    target = int(numbers["target"])
    found = explain(
        network,
        image,
        [target],
        "integrated-gradients",
        steps=int(numbers["steps"]),
        baseline=baseline,
    )
    # captum's own float32 is 1.2e-7 away from its float64, which these numbers are.
    assert distance(found.maps["integrated_gradients"][0], numbers[f"ig_{baseline}"]) < 1e-6
    facts = {name: values[0] for name, values in found.diagnostics.items()}
    assert facts["completeness_gap"] == pytest.approx(float(numbers[f"gap_{baseline}"]), abs=1e-5)
    assert facts["logit"] == pytest.approx(float(numbers["logits"][target]), rel=1e-5)


def test_input_x_gradient_is_captums(captum):
    network, image, numbers = captum
    found = attribute(network, image, [int(numbers["target"])], "input-x-gradient")
    assert distance(found[0], numbers["input_x_gradient"]) < 1e-6


def test_integrated_gradients_are_the_papers_formula(network, batch):
    """Eq. 1 in a loop, with the three points and weights that tables give for [-1, 1]."""
    found = attribute(network, batch, [2, 0, 1], "integrated-gradients", steps=3, baseline="mean")
    root = np.sqrt(3 / 5)
    for image, target, map_ in zip(batch, [2, 0, 1], found, strict=True):
        total = np.zeros(SHAPE)
        for point, weight in ((-root, 5 / 9), (0, 8 / 9), (root, 5 / 9)):
            (gradient,) = one_by_one(network, [image * (point + 1) / 2], target)
            total += image * gradient * weight / 2
        np.testing.assert_allclose(map_, total, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_integration_is_exact_for_polynomials(steps):
    """n points integrate x^p exactly up to p = 2n - 1, to 1 / (p + 1); and no further."""
    places, weights = gauss_legendre(steps)
    for power in range(2 * steps):
        assert weights @ places**power == pytest.approx(1 / (power + 1), rel=1e-12)
    assert weights @ places ** (2 * steps) != pytest.approx(1 / (2 * steps + 1), rel=1e-12)


@pytest.mark.parametrize(
    ("baseline", "start"),
    # (0 - mean) / std and (1 - mean) / std of the specification below, channel by channel.
    [("black", (-1, -2, -0.5)), ("mean", (0, 0, 0)), ("white", (1, 2, 1.5))],
)
def test_integrated_gradients_are_exact_for_linear_networks(batch, baseline, start):
    """(x - x') · slope, whatever the steps; so this says what each baseline is."""
    network, slopes = linear_network()
    spec = InputSpec(12, 10, mean=(0.5, 0.5, 0.25), std=(0.5, 0.25, 0.5))
    found = explain(
        network, batch, [0, 1, 2], "integrated-gradients", spec, steps=1, baseline=baseline
    )
    begin = np.array(start)[:, None, None]
    expected = (batch - begin) * slopes[:3]
    np.testing.assert_allclose(found.maps["integrated_gradients"], expected, rtol=1e-5, atol=1e-6)
    at_start = network.logits(np.broadcast_to(begin, (1, *SHAPE)).astype(np.float32))[0]
    for index in range(3):
        facts = {name: values[index] for name, values in found.diagnostics.items()}
        assert facts["baseline_logit"] == pytest.approx(at_start[index], rel=1e-6)
        assert facts["attribution_sum"] == pytest.approx(expected[index].sum(), rel=1e-5)
        assert abs(facts["completeness_gap"]) < 1e-5
        assert facts["relative_gap"] < 1e-5


def test_without_biases_integrated_gradients_from_zero_are_input_x_gradient(batch):
    """On the way from 0 to x such a network has one gradient: every ReLU stays as it is."""
    network = relu_network(bias=False)
    found = attribute(network, batch, [0, 1, 2], "integrated-gradients", steps=4, baseline="mean")
    expected = attribute(network, batch, [0, 1, 2], "input-x-gradient")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_gap_is_what_is_missing_and_closes(network, batch):
    gaps = []
    for steps in (2, 200):
        found = explain(network, batch, [0, 1, 2], "integrated-gradients", steps=steps)
        black = np.broadcast_to(
            (-np.array(InputSpec().mean) / np.array(InputSpec().std))[:, None, None], SHAPE
        )
        change = (network.logits(batch) - network.logits(black[None].astype(np.float32)))[
            np.arange(3), np.arange(3)
        ]
        sums = found.maps["integrated_gradients"].sum((1, 2, 3), np.float64)
        np.testing.assert_allclose(found.diagnostics["completeness_gap"], sums - change, atol=1e-5)
        relative = np.abs(found.diagnostics["completeness_gap"]) / np.abs(change)
        np.testing.assert_allclose(
            found.diagnostics["relative_gap"], relative, rtol=1e-3, atol=1e-6
        )
        gaps.append(np.abs(sums - change))
    # Kinks make the error fall with 1 / steps, but not steadily: over the images together.
    assert (gaps[0] > 0.01).all()
    assert np.sum(gaps[1]) < np.sum(gaps[0]) / 30


def test_baseline_itself_has_nothing_to_attribute(network):
    found = explain(
        network,
        np.zeros((1, *SHAPE), np.float32),
        [1],
        "integrated-gradients",
        steps=3,
        baseline="mean",
    )
    assert not found.maps["integrated_gradients"].any()
    assert found.diagnostics["completeness_gap"] == [0.0]
    assert found.diagnostics["relative_gap"] == [None]


# --- all of them --------------------------------------------------------------------------------

FAMILY = ("gradient", "deconvnet", "input-x-gradient", "smoothgrad", "integrated-gradients")


@pytest.mark.parametrize("name", FAMILY)
def test_gray_networks(name):
    network = relu_network(channels=1)
    spec = InputSpec(12, 10, mean=(0.4,), std=(0.2,))
    image = np.random.RandomState(2).randint(0, 256, (30, 20, 3), np.uint8)
    options = (
        {}
        if name not in ("smoothgrad", "integrated-gradients")
        else {{"smoothgrad": "samples"}.get(name, "steps"): 3}
    )
    explainer = cnnviz.Explainer(network, spec, methods=choose_methods([name], options))
    (explanation,) = explainer.explain([explainer.prepare(image)], 2)
    for key in explainer.methods[0].map_kinds:
        assert np.abs(explanation.maps[key]).max() > 0
        assert explanation.maps[key].shape in ((1, 12, 10), (12, 10))
    if name == "integrated-gradients":  # black is (0 - 0.4) / 0.2 = -2
        black = network.logits(np.full((1, 1, 12, 10), -2, np.float32))[0, 2]
        facts = explanation.diagnostics["integrated_gradients"]
        assert facts["baseline_logit"] == pytest.approx(black, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("smoothgrad", {"samples": 0}, "samples of smoothgrad is at least 1; got 0"),
        ("smoothgrad", {"noise": -0.1}, "noise of smoothgrad is at least 0; got -0.1"),
        ("smoothgrad", {"seed": 2**32}, "seed of smoothgrad is at most"),
        ("integrated-gradients", {"steps": 0}, "steps of integrated-gradients is at least 1"),
        ("integrated-gradients", {"baseline": "gray"}, "one of black, mean, white; got 'gray'"),
    ],
)
def test_impossible_options_are_refused(name, options, told):
    with pytest.raises(UsageError, match=told):
        choose_methods([name], options)
