"""The difference of two classes' Grad-CAM: by its formula, and in sum."""

from __future__ import annotations

import numpy as np

from cnnviz.attribution import ModelQueries, collect
from cnnviz.attribution.cam import (
    grad_cam,
)
from cnnviz.attribution.contrast import grad_cam_difference
from cnnviz.engines.base import STANDARD
from tests.support.cam import SHAPE
from tests.support.networks import (
    conv,
    flatten,
    global_avg_pool,
    linear,
    relu,
    sequential,
)
from tests.support.seeded import seeded


def test_difference_of_two_classes_by_its_formula(arrays):
    """Σ_k (mean g_a,k - mean g_b,k) A_k in loops; with nothing against it, Grad-CAM before ReLU."""
    activations, gradients = arrays
    other = gradients[:, ::-1].copy()
    found = grad_cam_difference(activations, gradients, other)
    count, channels, height, width = activations.shape
    expected = np.zeros((count, height, width))
    for n, i, j in np.ndindex(count, height, width):
        for k in range(channels):
            weight = gradients[n, k].astype(float).mean() - other[n, k].astype(float).mean()
            expected[n, i, j] += weight * activations[n, k, i, j]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(grad_cam_difference(activations, other, gradients), -found)
    alone = grad_cam_difference(activations, gradients, np.zeros_like(gradients))
    np.testing.assert_allclose(np.maximum(alone, 0), grad_cam(activations, gradients))


def test_difference_adds_up_to_that_of_the_logits():
    """Behind a global average pooling y = w · mean(A) + b: the map's sum is y_a - b_a - y_b + b_b.

    That is what CAM (Zhou et al. 2016) rests on, and it needs none of Grad-CAM's code.
    """
    net = sequential(
        SHAPE,
        conv(5, 3, padding=1),
        relu(),
        global_avg_pool(),
        flatten(),
        linear(4),
        draw=seeded.parameter,
    )
    bias = net.parameters["4.bias"].astype(float)
    network = net.network()
    batch = np.random.RandomState(3).randn(2, *SHAPE).astype(np.float32)
    layer = network.layer("1")
    found = collect(ModelQueries(network), batch, [], [layer], [], extra_targets=[[1, 3], [2, 0]])
    a, b = (column[0] for column in found)
    difference = grad_cam_difference(
        a.activations, a.layer_gradients[STANDARD], b.layer_gradients[STANDARD]
    )
    rows, logits = np.arange(2), a.logits.astype(float)
    expected = (logits - bias)[rows, [1, 3]] - (logits - bias)[rows, [2, 0]]
    # float32 sums of 20 places: some 1e-6 of the terms.
    np.testing.assert_allclose(difference.sum(axis=(1, 2)), expected, rtol=1e-5, atol=1e-6)
