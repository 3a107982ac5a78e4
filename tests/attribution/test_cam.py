"""Each class activation map against its paper's formula, limiting cases, and pytorch-grad-cam."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cnnviz.attribution import ModelQueries, rounding
from cnnviz.attribution.cam import (
    eigen_cam,
    grad_cam,
    grad_cam_plus_plus,
    hires_cam,
    layer_cam,
    xgrad_cam,
)
from cnnviz.engines.base import STANDARD
from tests.support.cam import SHAPE, asked, linear_head
from tests.support.networks import (
    conv,
    global_avg_pool,
    linear,
    relu,
    sequential,
)
from tests.support.seeded import seeded

#: Computed in float64 and rounded once to float32: half a unit in the last place is 6e-8.
ONCE = {"rtol": 1e-7, "atol": 1e-9}
#: The expected value is made of logits of other float32 passes.
PASSES = {"rtol": 2e-5, "atol": 1e-6}
#: Relative L2 distance of two frameworks' float32.
FRAMEWORKS = 1e-5


@pytest.fixture(scope="module")
def network(block):
    return block.network()


def places(array):
    count, _, height, width = array.shape
    return [(n, i, j) for n in range(count) for i in range(height) for j in range(width)]


# --- gradients: formulas -------------------------------------------------------------------------


def test_grad_cam_plus_plus_is_the_papers_formula(arrays):
    """Eq. 19 as it is printed, ΣA and all, with loops."""
    activations, gradients = arrays
    a, g = activations.astype(float), gradients.astype(float)
    expected = np.zeros((2, 4, 5))
    for n in range(2):
        for k in range(3):
            total = sum(a[n, k, i, j] for i in range(4) for j in range(5))
            weight = 0.0
            for i in range(4):
                for j in range(5):
                    d = g[n, k, i, j]
                    alpha = d**2 / (2 * d**2 + total * d**3)
                    weight += alpha * max(d, 0.0)
            for i in range(4):
                for j in range(5):
                    expected[n, i, j] += weight * a[n, k, i, j]
    found = grad_cam_plus_plus(activations, gradients)
    np.testing.assert_allclose(found, np.maximum(expected, 0), **ONCE)


def test_grad_cam_plus_plus_by_hand():
    # ΣA+ = 4; only the first gradient is positive: alpha = 1 / (2 + 2·4) = 1/10, w = 2/10.
    found = grad_cam_plus_plus(
        np.array([[[[1, 3, -5]]]], np.float32), np.array([[[[2, -1, 0]]]], np.float32)
    )
    np.testing.assert_allclose(found, [[[0.2, 0.6, 0]]], rtol=1e-7)


def test_grad_cam_plus_plus_sees_what_passes_the_relu(arrays):
    """Channels that are negative where they are off do not take from those that are on."""
    activations, gradients = arrays
    before = np.where(activations > 0, activations, -np.abs(gradients))
    np.testing.assert_array_equal(
        grad_cam_plus_plus(before, gradients), grad_cam_plus_plus(activations, gradients)
    )


def test_grad_cam_plus_plus_has_the_alpha_of_the_exponential():
    """alpha = Y'' / (2 Y'' + ΣA Y''') for Y = exp(S), the derivatives by finite differences."""
    activation = np.array([0.3, 0.7, 0.2])
    slopes = np.array([0.5, 1.2, 0.8])
    step = 1e-3

    def score(place, by):
        moved = activation.copy()
        moved[place] += by
        return math.exp(moved @ slopes)

    weight = 0.0
    for place in range(3):
        far, near, here, behind, back = (score(place, by * step) for by in (2, 1, 0, -1, -2))
        second = (near - 2 * here + behind) / step**2
        third = (far - 2 * near + 2 * behind - back) / (2 * step**3)
        alpha = second / (2 * second + activation.sum() * third)
        weight += alpha * slopes[place]
    found = grad_cam_plus_plus(
        activation.reshape(1, 1, 1, 3).astype(np.float32),
        slopes.reshape(1, 1, 1, 3).astype(np.float32),
    )
    # Central differences are off by their step squared.
    np.testing.assert_allclose(found[0, 0], weight * activation, rtol=1e-5)


def test_grad_cam_plus_plus_of_weak_and_of_strong_gradients(arrays):
    """alpha is 1/2 where g ΣA << 2, however small g is; where g ΣA >> 2, g alpha is 1 / ΣA.

    The second is the paper's point: every place that speaks for the class counts the same.
    """
    activations, gradients = arrays
    a, rising = activations.astype(float), np.maximum(gradients.astype(float), 0)
    sums = np.where(a.sum(axis=(2, 3)) == 0, 1, a.sum(axis=(2, 3)))
    for power, weights in (
        (-40, rising.sum(axis=(2, 3)) / 2 * 2.0**-40),
        (40, (rising > 0).sum(axis=(2, 3)) / sums),
    ):
        found = grad_cam_plus_plus(activations, gradients * np.float32(2.0**power))
        expected = sum(weights[:, k, None, None] * a[:, k] for k in range(3))
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_nothing_speaks_for_the_target(arrays):
    """Gradients below zero: blank for the methods that only count what is above."""
    activations, gradients = arrays
    against = -np.abs(gradients)
    for cam in (grad_cam_plus_plus, layer_cam, xgrad_cam, grad_cam):
        assert not cam(activations, against).any()
    assert hires_cam(activations, against).min() < 0


def test_xgrad_cam_is_the_papers_formula(arrays):
    """Eq. 8 with loops; a channel of zeros has no weight."""
    activations, gradients = arrays
    a, g = activations.astype(float), gradients.astype(float)
    expected = np.zeros((2, 4, 5))
    for n in range(2):
        for k in range(3):
            total = sum(a[n, k, i, j] for i in range(4) for j in range(5))
            if total == 0:
                continue
            weight = sum(a[n, k, i, j] / total * g[n, k, i, j] for i in range(4) for j in range(5))
            for i in range(4):
                for j in range(5):
                    expected[n, i, j] += weight * a[n, k, i, j]
    assert (expected < 0).any()
    found = xgrad_cam(activations, gradients)
    np.testing.assert_allclose(found, np.maximum(expected, 0), **ONCE)


def test_xgrad_cam_keeps_the_sum(arrays):
    """The axiom of conservation: where nothing is cut off, Σ L = Σ A · dy/dA."""
    activations, gradients = arrays
    rising = np.abs(gradients)
    for n, heat in enumerate(xgrad_cam(activations, rising)):
        expected = sum(
            float(a) * float(g)
            for a, g in zip(activations[n].ravel(), rising[n].ravel(), strict=True)
        )
        # Twenty float32 values are summed.
        assert math.fsum(heat.ravel().tolist()) == pytest.approx(expected, rel=1e-6)


def test_place_by_place_methods_are_their_papers_formulas(arrays):
    activations, gradients = arrays
    signed, rising = np.zeros((2, 4, 5)), np.zeros((2, 4, 5))
    for n, i, j in places(activations):
        for k in range(3):
            a, g = float(activations[n, k, i, j]), float(gradients[n, k, i, j])
            signed[n, i, j] += g * a
            rising[n, i, j] += max(g, 0.0) * a
    assert (signed < 0).any()
    np.testing.assert_allclose(hires_cam(activations, gradients), signed, **ONCE)
    np.testing.assert_allclose(layer_cam(activations, gradients), rising, **ONCE)


def test_gradients_that_are_the_same_everywhere_give_grad_cam(arrays):
    """Then a channel's weight is its gradient, whichever way the places are averaged."""
    activations, _ = arrays
    gradients = np.broadcast_to(
        np.array([0.5, 2, -1], np.float32)[None, :, None, None], activations.shape
    )
    expected = grad_cam(activations, gradients)
    assert expected.any()
    np.testing.assert_allclose(xgrad_cam(activations, gradients), expected, **ONCE)
    signed = hires_cam(activations, gradients)
    np.testing.assert_allclose(np.maximum(signed, 0), expected, **ONCE)
    rising = np.maximum(gradients, 0)
    np.testing.assert_allclose(
        layer_cam(activations, gradients), grad_cam(activations, rising), **ONCE
    )


def test_hires_cam_sums_up_to_the_logit_without_its_bias():
    """The paper's guarantee, where a dense layer follows the layer."""
    random = np.random.RandomState(2)
    weights, bias = random.randn(2, 3 * 8 * 10) / 9, np.array([0.7, -1.1])
    network = linear_head(weights, bias).network()
    batch = random.randn(2, *SHAPE).astype(np.float32)
    maps, context = asked("hirescam", network, batch, [0, 1])
    for n, target in enumerate((0, 1)):
        expected = context.logits[n, target] - bias[target]
        # The logit is a sum of 240 float32 products.
        assert math.fsum(maps[n].ravel().tolist()) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_after_pooling_and_one_dense_layer_all_are_cam():
    """Zhou et al. 2016: with y = Σ_k v_k mean(A_k) + b, the gradient is v_k / (h w) everywhere.

    From the dense layer's weights alone follow the maps: CAM for Grad-CAM, XGrad-CAM and HiResCAM,
    CAM of what speaks for the class for LayerCAM, and w_k in closed form for the others.
    """
    net = sequential(
        SHAPE,
        conv(6, 3, padding=1),
        relu(),
        global_avg_pool(),
        linear(4),
        draw=seeded.parameter,
    )
    network = net.network()
    batch = np.random.RandomState(4).randn(4, *SHAPE).astype(np.float32)
    names = ("gradcam", "xgradcam", "hirescam", "layercam", "gradcam-plusplus", "ablationcam")
    maps = {name: asked(name, network, batch, range(4), "1")[0] for name in names}
    _, context = asked("gradcam", network, batch, range(4), "1")
    for n in range(4):
        channels = context.activations[n].astype(float)
        slopes = net.parameters["3.weight"][n].astype(float) / 80
        totals = [math.fsum(channel.ravel()) for channel in channels]
        score = abs(float(context.logits[n, n]))

        def cam(weights, channels=channels):
            return sum(weight * channel for weight, channel in zip(weights, channels, strict=True))

        rising = [max(slope, 0) for slope in slopes]
        expected = {
            "gradcam": np.maximum(cam(slopes), 0),
            "xgradcam": np.maximum(cam(slopes), 0),
            "hirescam": cam(slopes),
            "layercam": cam(rising),
            "gradcam-plusplus": cam(
                [80 * g / (2 + g * t) for g, t in zip(rising, totals, strict=True)]
            ),
            "ablationcam": np.maximum(
                cam([g * t / score for g, t in zip(slopes, totals, strict=True)]), 0
            ),
        }
        assert (expected["hirescam"] < 0).any()
        assert (expected["hirescam"] > 0).any()
        for name in names:
            np.testing.assert_allclose(maps[name][n], expected[name], **PASSES, err_msg=name)


# --- no class ------------------------------------------------------------------------------------


def test_eigen_cam_is_the_projection_on_the_first_principal_component(arrays):
    """The right singular vector by power iteration on OᵀO, without any linear algebra library."""
    activations, _ = arrays
    found = eigen_cam(activations)
    for n in range(2):
        rows = [
            [float(activations[n, k, i, j]) for k in range(3)] for i in range(4) for j in range(5)
        ]
        vector = [1.0, 1.0, 1.0]
        for _ in range(500):
            heights = [sum(a * v for a, v in zip(row, vector, strict=True)) for row in rows]
            vector = [
                sum(h * row[k] for h, row in zip(heights, rows, strict=True)) for k in range(3)
            ]
            norm = math.sqrt(sum(v * v for v in vector))
            vector = [v / norm for v in vector]
        expected = [sum(a * v for a, v in zip(row, vector, strict=True)) for row in rows]
        # The component is unique: all in one direction, since nothing is negative.
        np.testing.assert_allclose(found[n].ravel(), expected, rtol=1e-6, atol=1e-6)


def test_eigen_cam_of_one_pattern_is_that_pattern():
    """A_k = c_k P: the map is |c| P, here 13 P, and what is below zero counts as nothing."""
    pattern = np.array([[0, 1, 2], [4, 0, 3]], np.float32)
    strengths = np.array([3, 4, 12, -7], np.float32)
    activations = strengths[None, :, None, None] * pattern
    np.testing.assert_allclose(eigen_cam(activations), 13 * pattern[None], rtol=1e-6, atol=1e-6)


def test_eigen_cam_of_nothing_is_nothing():
    assert not eigen_cam(np.zeros((1, 3, 2, 2), np.float32)).any()
    assert not eigen_cam(np.full((1, 3, 2, 2), -1, np.float32)).any()


def test_eigen_cam_of_a_broken_image_leaves_the_next_alone(arrays):
    activations, _ = arrays
    broken = activations.copy()
    broken[0, 1, 2, 2] = np.nan
    found = eigen_cam(broken)
    assert np.isnan(found[0]).all()
    np.testing.assert_array_equal(found[1], eigen_cam(activations)[1])


# --- together ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["xgradcam", "layercam", "hirescam", "eigencam", "scorecam"])
def test_a_layer_before_its_relu_gives_the_map_of_the_relu(network, truth, name):
    """So that a VGG's default layer gives what the papers, who look behind the ReLU, would see."""
    maps = {}
    for layer in ("3", "4"):
        maps[layer], context = asked(name, network, truth["batch"], [0, 1, 2], layer)
        assert (context.activations < 0).any() == (layer == "3")
    assert maps["4"].any()
    np.testing.assert_allclose(maps["3"], maps["4"], **PASSES)


@pytest.mark.parametrize("name", ["scorecam", "ablationcam"])
def test_how_passes_are_put_together_changes_nothing(network, truth, name, monkeypatch):
    together, _ = asked(name, network, truth["batch"], [0, 1, 2])
    alone = []
    own = ModelQueries._concatenated

    def listen(self, parts, cache_key=None):
        return own(self, (alone.append(len(part)) or part for part in parts), cache_key)

    monkeypatch.setattr(ModelQueries, "_concatenated", listen)
    monkeypatch.setattr("cnnviz.attribution.queries._batch_size", lambda _layers: 1)
    found, _ = asked(name, network, truth["batch"], [0, 1, 2])
    assert alone == 3 * (8 + 1 + rounding.TIMES) * [1]
    np.testing.assert_allclose(found, together, **PASSES)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("xgradcam", "4"),
        ("layercam", "4"),
        ("hirescam", "4"),
        ("scorecam", "1"),
        ("ablationcam", "4"),
    ],
)
def test_pytorch_grad_cam_agrees(network, truth, name, layer):
    """See ``tests/reference/make_cam_fixtures.py``."""
    found, context = asked(name, network, truth["batch"], truth["targets"], layer)
    np.testing.assert_allclose(context.logits, truth["logits"], rtol=1e-5, atol=1e-5)
    expected = truth[name.replace("-", "_")]
    if name != "hirescam":
        expected = np.maximum(expected, 0)
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < FRAMEWORKS


def test_pytorch_grad_cam_agrees_on_strong_gradients(network, truth):
    """Its Grad-CAM++, where 1e-6 in alpha's denominator is nothing; on weak ones it differs."""
    _, context = asked("gradcam-plusplus", network, truth["batch"], truth["targets"], "4")
    gradients = context.layer_gradients[STANDARD]
    found = grad_cam_plus_plus(context.activations, 100 * gradients)
    expected = truth["gradcam_plusplus"]
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < FRAMEWORKS
