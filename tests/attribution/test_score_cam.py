"""Score-CAM and Ablation-CAM: against their papers' formulas, written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cnnviz.graph.builder import Builder
from tests.support.cam import SHAPE, asked, build, linear_head
from tests.support.networks import (
    sequential,
)
from tests.support.seeded import seeded

#: The expected value is made of logits of other float32 passes.
PASSES = {"rtol": 2e-5, "atol": 1e-6}


@pytest.fixture(scope="module")
def network(block):
    return block.network()


def enlarged(channel, height, width):
    """Bilinear between pixel centers, constant beyond them, with loops."""
    rows, columns = channel.shape
    result = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            down = min(max((y + 0.5) * rows / height - 0.5, 0), rows - 1)
            right = min(max((x + 0.5) * columns / width - 0.5, 0), columns - 1)
            i, j = int(down), int(right)
            u, v = down - i, right - j
            below, beside = min(i + 1, rows - 1), min(j + 1, columns - 1)
            result[y, x] = (
                (1 - u) * (1 - v) * channel[i, j]
                + (1 - u) * v * channel[i, beside]
                + u * (1 - v) * channel[below, j]
                + u * v * channel[below, beside]
            )
    return result


@pytest.mark.parametrize("weights", ["softmax", "increase"])
def test_score_cam_is_the_papers_algorithm(network, truth, weights):
    """Algorithm 1 (and definition 3), step by step, with passes through the Gluon net itself."""
    batch, targets = truth["batch"], [0, 1, 2]
    found, context = asked("scorecam", network, batch, targets, "4", weights=weights)
    dead = 0
    for n, target in enumerate(targets):

        def score(pixels, target=target):
            return float(network.logits(pixels[None].astype(np.float32))[0, target])

        baseline = score(np.zeros(SHAPE))
        increases = []
        for channel in context.activations[n].astype(float):
            mask = enlarged(channel, 8, 10)
            low, high = mask.min(), mask.max()
            dead += low == high
            mask = (mask - low) / (high - low) if high > low else 0 * mask
            increases.append(score(batch[n] * mask) - baseline)
        if weights == "softmax":
            total = sum(math.exp(increase) for increase in increases)
            alphas = [math.exp(increase) / total for increase in increases]
        else:
            alphas = increases
        expected = np.zeros((4, 5))
        for alpha, channel in zip(alphas, context.activations[n].astype(float), strict=True):
            expected += alpha * channel
        np.testing.assert_allclose(found[n], np.maximum(expected, 0), **PASSES)


def test_score_cam_of_one_channel_is_that_channel():
    """Its softmax is 1 whatever it scores; its increase is its weight."""
    random = np.random.RandomState(3)
    weights = random.randn(2, 8 * 10) / 9
    network = linear_head(weights, np.zeros(2), kernels=1).network()
    batch = random.randn(1, *SHAPE).astype(np.float32)
    found, context = asked("scorecam", network, batch, [0], "1")
    assert context.activations.any()
    np.testing.assert_array_equal(found, context.activations[:, 0])


def test_score_cam_of_flat_channels_is_blank():
    """Masks of nothing make no difference, so that there is nothing to explain."""
    net = linear_head(np.ones((2, 3 * 8 * 10)), np.ones(2))
    net.parameters["0.weight"] *= 0
    net.parameters["0.bias"] = [0, 1, 2]
    found, _ = asked("scorecam", net.network(), np.ones((1, *SHAPE), "f"), [0])
    assert not found.any()


def test_ablation_cam_is_the_papers_formula(block, network, truth):
    """Eq. 3 and 4, one channel at a time through the rest of the network in float64.

    Logits in float32 would do for the truth no better than for what is tested: where channels all
    but cancel out, the rounding of both would show.
    """
    batch, targets = truth["batch"], truth["targets"]
    found, context = asked("ablationcam", network, batch, targets, "3")  # before its ReLU
    assert (context.activations < 0).any()
    hidden, last = (
        [block.parameters[f"{layer}.{kind}"].astype(float) for kind in ("weight", "bias")]
        for layer in (6, 8)
    )
    for n, target in enumerate(targets):
        activations = context.activations[n]

        def score(values, target=target):
            behind = np.maximum(values, 0).ravel().astype(float)  # the ReLU; it is flattened
            return (last[0] @ np.maximum(hidden[0] @ behind + hidden[1], 0) + last[1])[target]

        whole = score(activations)
        assert whole > 0
        expected = np.zeros((4, 5))
        for k in range(8):
            without = activations.copy()
            without[k] = 0
            expected += (whole - score(without)) / whole * activations[k].astype(float)
        np.testing.assert_allclose(found[n], np.maximum(expected, 0), **PASSES)


def test_ablation_cam_before_a_dense_layer_weighs_gradient_times_activation():
    """The score is linear in the layer then: y - y_k = Σ_ij dy/dA_k,ij A_k,ij.

    The second class is the first one's opposite, with a negative score where that is positive. What
    speaks for the one speaks against the other: dividing by y would give them the same map.
    """
    random = np.random.RandomState(6)
    weights = random.randn(3 * 8 * 10) / 9
    network = linear_head(np.stack([weights, -weights]), np.zeros(2)).network()
    batch = random.randn(1, *SHAPE).astype(np.float32)
    maps, context = zip(
        *[asked("ablationcam", network, batch, [t], "1") for t in (0, 1)], strict=True
    )
    activations = context[0].activations[0].astype(float)
    drops = (weights.reshape(3, 8, 10) * activations).sum(axis=(1, 2))
    score = abs(drops.sum())
    assert score == pytest.approx(abs(context[0].logits[0, 0]), rel=1e-5)
    expected = sum(drop / score * channel for drop, channel in zip(drops, activations, strict=True))
    assert (expected > 0).any()
    assert (expected < 0).any()
    np.testing.assert_allclose(maps[0][0], np.maximum(expected, 0), **PASSES)
    np.testing.assert_allclose(maps[1][0], np.maximum(-expected, 0), **PASSES)


def test_ablation_cam_of_a_score_of_zero_is_finite():
    """Two channels that cancel: the paper divides by zero."""
    weights = np.concatenate([np.ones(80), -np.ones(80)])[None]
    net = linear_head(np.concatenate([weights, weights]), np.zeros(2), kernels=2)
    net.parameters["0.weight"] *= 0
    net.parameters["0.bias"] = [1, 1]
    found, context = asked("ablationcam", net.network(), np.ones((1, *SHAPE), "f"), [0], "1")
    assert context.logits[0, 0] == 0
    # Weights 80 / 1e-6 and -80 / 1e-6 on activations of 1.
    assert np.isfinite(found).all()
    assert not found.any()


@pytest.mark.parametrize("layer", ["inner", "outer"])
def test_ablated_channel_is_a_network_without_that_filter(layer):
    """Inside a residual branch, so that the way past the layer has to be computed as well.

    Behind the outer layer is no ReLU of its own: a channel's least value is not the same as 0.
    """

    def residual(b: Builder, x):
        inner = b.relu(b.conv(x, 4, 3, padding=1, bias=True, name="inner"))
        outer = b.conv(inner, 3, 3, padding=1, bias=True, name="outer")
        return b.linear(b.flatten(b.relu(b.add(x, outer))), 4, name="dense")

    net = sequential(SHAPE, residual, draw=seeded.parameter)
    batch = np.random.RandomState(7).randn(3, *SHAPE).astype(np.float32)
    targets = [2, 0, 1]
    found, context = asked("ablationcam", net.network(), batch, targets, layer)

    def scores():
        return net.logits(batch)[np.arange(3), targets]

    whole = scores()
    expected = np.zeros(found.shape)
    kept = {name: net.parameters[name].copy() for name in (f"{layer}.weight", f"{layer}.bias")}
    for k in range(context.layer.shape[0]):
        for name, values in kept.items():
            net.parameters[name] = values.copy()
            net.parameters[name][k] = 0
        weights = (whole - scores()) / np.abs(whole)
        expected += weights[:, None, None] * context.activations[:, k].astype(float)
    assert (expected > 0).any()
    np.testing.assert_allclose(found, np.maximum(expected, 0), **PASSES)


def test_ablation_cam_of_a_score_near_zero_is_the_same_image(truth):
    """The last bias moves y and no difference: only the scale of the map may change."""
    batch, targets = truth["batch"][:1], truth["targets"][:1]
    net = build()
    plain, context = asked("ablationcam", net.network(), batch, targets, "4")
    assert plain.any()
    score = float(context.logits[0, targets[0]])
    net.parameters["8.bias"][targets[0]] -= score
    found, context = asked("ablationcam", net.network(), batch, targets, "4")
    assert abs(context.logits[0, targets[0]]) < 1e-6
    # What is divided by, 1e-6 instead of y.
    np.testing.assert_allclose(found * 1e-6, plain * score, rtol=1e-4, atol=1e-6)
